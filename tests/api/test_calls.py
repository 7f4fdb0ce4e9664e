"""Brief calls stay in the event loop's thread as long as they are brief."""

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import anyio
import pytest

from memory_service.api.calls import BRIEF_S, Calls


def busy() -> int:
    """Computes for a while; returns its thread."""
    end = time.thread_time() + 3 * BRIEF_S
    while time.thread_time() < end:
        pass
    return threading.get_ident()


async def threads_of(calls: Calls, *functions: object, brief: bool) -> list[int]:
    return [await calls.run(each, brief=brief) for each in functions]  # type: ignore[arg-type]


def test_short_ones_stay() -> None:
    async def main() -> None:
        calls = Calls(2, 0)
        own = threading.get_ident()
        first, *rest = await threads_of(calls, *[threading.get_ident] * 5, brief=True)
        assert first != own  # how long it takes is not known yet
        assert rest == [own] * 4

    anyio.run(main)


def test_long_ones_go_to_threads_and_come_back_when_they_are_short_again() -> None:
    async def main() -> None:
        calls = Calls(2, 0)
        own = threading.get_ident()
        assert own not in (await threads_of(calls, *[busy] * 5, brief=True))
        later = await threads_of(calls, *[threading.get_ident] * 100, brief=True)
        assert later[0] != own
        assert later[-1] == own

    anyio.run(main)


def test_others_never_stay() -> None:
    async def main() -> None:
        calls = Calls(2, 0)
        found = await threads_of(calls, *[threading.get_ident] * 5, brief=False)
        assert threading.get_ident() not in found

    anyio.run(main)


def test_what_no_future_takes_is_an_error_all_the_same() -> None:
    """asyncio refuses StopIteration as the outcome of a future, which then has none."""

    def raising() -> None:
        next(iter(()))

    async def main() -> None:
        calls = Calls(2, 0)
        with anyio.fail_after(10), pytest.raises(RuntimeError, match="StopIteration"):
            await calls.run(raising)
        assert await calls.run(threading.get_ident)

    anyio.run(main)


def test_what_would_end_the_event_loop_is_an_error_of_its_call() -> None:
    async def main() -> None:
        calls = Calls(1, 0)
        with anyio.fail_after(10), pytest.raises(RuntimeError, match="SystemExit"):
            await calls.run(sys.exit)
        assert await calls.run(lambda: 7) == 7

    anyio.run(main)


def test_nor_does_it_end_the_loop_where_that_does_it_itself() -> None:
    async def main() -> None:
        calls, own = Calls(1, 0), threading.get_ident()
        assert own in await threads_of(calls, *[threading.get_ident] * 2, brief=True)
        with pytest.raises(RuntimeError, match="SystemExit"):
            await calls.run(sys.exit, brief=True)

    anyio.run(main)


def test_what_there_is_no_further_thread_for_is_done_by_those_there_are(
    no_threads: Callable[[], AbstractContextManager[None]],
) -> None:
    async def main() -> None:
        calls, go = Calls(2, 0), threading.Event()
        first = asyncio.create_task(calls.run(lambda: go.wait(20)))
        await asyncio.sleep(0)
        with no_threads():
            second = asyncio.create_task(calls.run(lambda: 7))
            await asyncio.sleep(0)
        go.set()
        with anyio.fail_after(10):
            assert await asyncio.gather(first, second) == [True, 7]

    anyio.run(main)


def test_what_no_thread_could_be_started_for_is_not_done_later(
    no_threads: Callable[[], AbstractContextManager[None]],
) -> None:
    async def main() -> None:
        calls, done = Calls(1, 0), []
        with no_threads(), pytest.raises(RuntimeError, match="new thread"):
            await calls.run(lambda: done.append("late"))
        assert await calls.run(lambda: 7) == 7
        assert not done
        assert calls._present == 0

    anyio.run(main)


def test_an_observer_that_raises_keeps_no_answer_back() -> None:
    class Broken:
        def got_turn(self, seconds: float) -> None:
            raise RuntimeError("cannot count")

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        calls = Calls(2, 0, observer=Broken())  # type: ignore[arg-type]
        with anyio.fail_after(10):
            assert await calls.run(lambda: 7) == 7

    anyio.run(main)
