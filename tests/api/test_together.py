"""What comes while others are worked on is worked on together, and each gets its own answer."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
from fastapi import Request
from fastapi.testclient import TestClient
from starlette.requests import ClientDisconnect

from memory_service.api.together import Together
from memory_service.api.turns import BODY_READ, Call
from memory_service.errors import InvalidInput, Overloaded, TimedOut, WaitedTooLong
from memory_service.records import StoreOrder
from memory_service.services.storing import Storing

Text = {"modality": "text", "text": "a hen"}


class Works:
    """Doubles numbers; each call waits until it is let go."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.begun, self.go = threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, given: Sequence[int]) -> list[Any]:
        self.calls.append(list(given))
        self.begun.release()
        assert self.go.acquire(timeout=20)
        if -1 in given:
            raise RuntimeError("all is lost")
        if -2 in given:
            raise SystemExit
        return [2 * each if each else InvalidInput("nothing") for each in given]


def request(leave: asyncio.Event | None = None) -> Request:
    async def receive() -> dict[str, str]:
        await (leave or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    return Request({"type": "http", "headers": [], BODY_READ: True}, receive)


def together_of(
    works: Works,
    concurrent: int = 4,
    most_waiting: int = 10,
    timeout_s: float = 20.0,
    done: Callable[[int], None] = lambda answer: None,
    answering: Callable[[Sequence[tuple[Call, int]]], None] = lambda answers: None,
) -> Together[int, int]:
    limits = concurrent, most_waiting, timeout_s
    return Together(works, *limits, name="test", done=done, answering=answering)


async def begun(works: Works) -> None:
    assert await asyncio.to_thread(works.begun.acquire, timeout=20)


async def queued(together: Together[int, int], *given: int) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(together.one(each, request())) for each in given]
    await asyncio.sleep(0)
    return tasks


def test_what_waits_is_done_at_once() -> None:
    async def main() -> None:
        works = Works()
        together = together_of(works)
        tasks = await queued(together, 1)
        await begun(works)
        tasks += await queued(together, 2, 3, 0)
        works.go.release(2)
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert found[:3] == [2, 4, 6]
        assert isinstance(found[3], InvalidInput)
        assert works.calls == [[1], [2, 3, 0]]
        tasks = await queued(together, 5)
        works.go.release()
        assert await tasks[0] == 10
        together.close()

    anyio.run(main)


def test_what_the_function_raises_is_raised_by_all_and_the_next_are_done() -> None:
    async def main() -> None:
        works = Works()
        together = together_of(works)
        tasks = await queued(together, 1)
        await begun(works)
        tasks += await queued(together, 2, -1)
        works.go.release(2)
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert found[0] == 2
        assert [type(each) for each in found[1:]] == [RuntimeError] * 2
        tasks = await queued(together, 4, -2)
        works.go.release()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [str(each) for each in found] == ["a call raised SystemExit()"] * 2
        tasks = await queued(together, 5)
        works.go.release()
        assert await tasks[0] == 10
        together.close()

    anyio.run(main)


@pytest.mark.parametrize("answers", [[], [1, 2, 3, 4]])
def test_a_wrong_number_of_answers_is_an_error_and_the_next_are_done(answers: list[int]) -> None:
    async def main() -> None:
        wrong = [answers, [7]]
        together: Together[int, int] = Together(
            lambda given: wrong.pop(0),
            4,
            10,
            20.0,
            name="test",
            done=lambda answer: None,
            answering=lambda answers: None,
        )
        (task,) = await queued(together, 1)
        with pytest.raises(RuntimeError, match=f"{len(answers)} answers to 1 call"):
            await asyncio.wait_for(task, 5)
        (task,) = await queued(together, 2)
        assert await asyncio.wait_for(task, 5) == 7
        together.close()

    anyio.run(main)


def test_what_would_end_the_thread_while_it_tells_is_logged() -> None:
    async def main() -> None:
        def done(answer: int) -> None:
            if answer == 2:
                raise SystemExit

        works = Works()
        together = together_of(works, done=done)
        works.go.release(2)
        (task,) = await queued(together, 1)
        assert await asyncio.wait_for(task, 5) == 2
        (task,) = await queued(together, 2)
        assert await asyncio.wait_for(task, 5) == 4
        together.close()

    anyio.run(main)


def test_each_answer_is_told_in_the_context_of_its_call() -> None:
    whose: ContextVar[str] = ContextVar("whose")
    told: list[tuple[str, int]] = []

    async def ask(together: Together[int, int], name: str, given: int) -> int:
        whose.set(name)
        return await together.one(given, request())

    async def main() -> None:
        works = Works()
        together = together_of(works, done=lambda answer: told.append((whose.get(), answer)))
        works.go.release(2)
        tasks = [asyncio.create_task(ask(together, name, n)) for n, name in enumerate("abc")]
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert found[1:] == [2, 4]
        assert sorted(told) == [("b", 2), ("c", 4)]
        together.close()

    anyio.run(main)


def test_what_cannot_be_told_keeps_no_answer_back() -> None:
    async def main() -> None:
        works = Works()
        together = together_of(works, done=lambda answer: [][answer])
        tasks = await queued(together, 1)
        await begun(works)
        tasks += await queued(together, 2, 3)
        works.go.release(2)
        with anyio.fail_after(10):
            assert await asyncio.gather(*tasks) == [2, 4, 6]
        together.close()

    anyio.run(main)


def test_a_group_is_told_of_before_any_of_it_is_answered() -> None:
    told: list[list[tuple[Any, int]]] = []
    answered: list[int] = []

    async def ask(together: Together[int, int], given: int, leave: asyncio.Event) -> None:
        answered.append(await together.one(given, request(leave)))

    def answering(answers: Sequence[tuple[Call, int]]) -> None:
        told.append([(call.what, answer) for call, answer in answers])
        assert len(answered) == len(told) - 1
        assert not any(call.answer.done() for call, _ in answers)
        if len(told) == 2:
            raise RuntimeError("cannot tell")  # which keeps no answer back

    async def main() -> None:
        works = Works()
        together = together_of(works, 1, answering=answering)
        here, leave = asyncio.Event(), asyncio.Event()
        tasks = [asyncio.create_task(ask(together, 1, here))]
        await begun(works)
        tasks += [
            asyncio.create_task(ask(together, each, here if each != 4 else leave))
            for each in (2, 0, 3, 4)
        ]
        await asyncio.sleep(0)
        works.go.release()
        await begun(works)
        leave.set()
        await asyncio.wait([tasks[4]], timeout=20)
        works.go.release()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(each) for each in found] == [
            type(None), type(None), InvalidInput, type(None), ClientDisconnect
        ]  # fmt: skip
        assert told == [[(1, 2)], [(2, 4), (3, 6)]]
        assert answered == [2, 4, 6]
        together.close()

    anyio.run(main)


def test_too_many_are_turned_away_and_late_ones_are_not_begun() -> None:
    async def main() -> None:
        works = Works()
        together = together_of(works, 1, 2, 0.2)
        tasks = await queued(together, 1)
        await begun(works)
        tasks += await queued(together, 2, 3)
        with pytest.raises(Overloaded):
            await together.one(4, request())
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(each) for each in found] == [TimedOut, WaitedTooLong, WaitedTooLong]
        works.go.release(2)
        tasks = await queued(together, 5)
        assert await tasks[0] == 10
        assert works.calls == [[1], [5]]
        together.close()

    anyio.run(main)


def test_nothing_is_done_for_who_has_gone() -> None:
    async def main() -> None:
        works = Works()
        together = together_of(works, 1)
        tasks = await queued(together, 1)
        await begun(works)
        leave = asyncio.Event()
        gone = asyncio.create_task(together.one(2, request(leave)))
        tasks += await queued(together, 3)
        leave.set()
        with pytest.raises(ClientDisconnect):
            await gone
        works.go.release(2)
        assert await asyncio.gather(*tasks) == [2, 6]
        assert works.calls == [[1], [3]]
        together.close()

    anyio.run(main)


def test_what_waits_when_it_is_closed_is_done_and_the_thread_ends() -> None:
    async def main() -> None:
        works = Works()
        together = together_of(works)
        tasks = await queued(together, 1)
        await begun(works)
        tasks += await queued(together, 2)
        together.close()
        works.go.release(2)
        assert await asyncio.gather(*tasks) == [2, 4]
        assert together._thread is not None
        await asyncio.to_thread(together._thread.join, 20)
        assert not together._thread.is_alive()

    anyio.run(main)


def test_what_no_thread_could_be_started_for_is_not_done_later(
    no_threads: Callable[[], AbstractContextManager[None]],
) -> None:
    async def main() -> None:
        works = Works()
        together = together_of(works)
        with no_threads(), pytest.raises(RuntimeError, match="new thread"):
            await together.one(1, request())
        works.go.release()
        with anyio.fail_after(10):
            assert await together.one(2, request()) == 4
        assert works.calls == [[2]]
        together.close()

    anyio.run(main)


def test_stores_of_vectors_share_their_writing(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = client.get("/models").json()["encoders"][0]["space"]
    (dimension,) = {e["dimension"] for e in client.get("/models").json()["encoders"]}
    first, go = threading.Event(), threading.Event()
    groups: list[int] = []
    real = Storing.store_all

    def slow(self: Storing, orders: Sequence[StoreOrder]) -> Any:
        groups.append(len(orders))
        first.set()
        assert go.wait(20)
        return real(self, orders)

    monkeypatch.setattr(Storing, "store_all", slow)
    bodies = [
        {"items": [Text | {"vector": [1.0] * dimension, "space": space}], "metadata": {"n": n}}
        for n in range(6)
    ]
    bodies[4]["namespace"] = "no name"
    answers: dict[int, Any] = {}

    def store(number: int) -> None:
        answers[number] = client.post("/store", json=bodies[number])

    threads = [threading.Thread(target=store, args=[number]) for number in range(6)]
    threads[0].start()
    assert first.wait(20)
    for each in threads[1:]:
        each.start()
    writes = client.app.state.writes  # type: ignore[attr-defined]
    while writes._next.qsize() < 5:
        threading.Event().wait(0.01)
    go.set()
    for each in threads:
        each.join()
    assert groups == [1, 5]
    statuses = {number: answer.status_code for number, answer in answers.items()}
    assert statuses == {0: 201, 1: 201, 2: 201, 3: 201, 4: 422, 5: 201}
    for number in (0, 1, 2, 3, 5):
        (memory,) = answers[number].json()["episode"]["memories"]
        assert memory["metadata"] == {"n": number}
        assert client.get(f"/memories/{memory['id']}").json()["metadata"] == {"n": number}
