"""A bounded number of calls has its turn at a time; a bounded number waits for one, and none of
them for ever. Knows nothing of who does their work.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

from fastapi import Request
from starlette.requests import ClientDisconnect

from memory_service import patience
from memory_service.errors import Overloaded, TimedOut, WaitedTooLong

RECENT = 0.1  # weight of the last call in the running mean of their duration
MOST_RETRY_S = 60
WATCH_AFTER_S = 1.0  # from when on it is looked whether the client of a running call is still there
# In the scope: when the request had come, by the loop's clock, and whether its body has.
ARRIVED = "memory_service.arrived"
BODY_READ = "memory_service.body_read"

_lock = threading.Lock()  # held for a moment at a time: one for all is enough


class Observer(Protocol):
    """Is told of calls; must be quick."""

    def turned_away(self) -> None:
        """A request found the queue full."""

    def got_turn(self, seconds: float) -> None:
        """A request got its turn after so long."""

    def given_up(self, reason: str, begun: bool) -> None:
        """The client of a request is gone (`disconnect`), or its time was up (`timeout`)."""


def raisable(error: BaseException) -> Exception:
    """Itself, or what stands for it where no future takes it, or it would end the event loop."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    return RuntimeError(f"a call raised {error!r}")


class Call:
    """What is to be done for a request. A thread begins it, or who asked gives it up before."""

    __slots__ = (
        "answer",
        "begun",
        "came",
        "context",
        "given_up",
        "request",
        "seconds",
        "waited_s",
        "what",
    )

    def __init__(self, what: Any, request: Request | None, answer: asyncio.Future[Any]) -> None:
        self.what = what
        self.request = request
        self.answer = answer  # the event loop's
        self.context = contextvars.copy_context()
        self.given_up = patience.GivenUp()
        self.came = time.perf_counter()
        self.begun = False
        self.waited_s = 0.0  # until it was begun
        self.seconds = 0.0  # that it took then

    def begin(self) -> bool:
        """False where nobody waits for it any more: it is not to be done."""
        with _lock:
            self.begun = not self.given_up.is_set()
        self.waited_s = time.perf_counter() - self.came
        return self.begun

    def give_up(self) -> bool:
        """Nobody waits for it any more; True where it would have begun but for that."""
        with _lock:
            spared = not self.begun and not self.given_up.is_set()
            self.given_up.set()
        return spared


class Ended:
    """What came of a call that was begun."""

    __slots__ = ("call", "error", "result")

    def __init__(self, call: Call, result: Any, error: BaseException | None = None) -> None:
        self.call = call
        self.result = result
        self.error = error

    @property
    def is_waited_for(self) -> bool:
        """A result, and somebody is to have it."""
        return self.error is None and not self.call.answer.done()

    def answer(self) -> None:
        """Unless nobody waits for it."""
        answer, error = self.call.answer, self.error
        if answer.done():
            return
        if error is None:
            answer.set_result(self.result)
        else:
            answer.set_exception(raisable(error))


class Turns(ABC):
    """`concurrent` calls have their turn; at most `most_waiting` more wait for it.

    A call whose time is up (`timeout_s` from when the request had come), or whose client is gone,
    ends at once; what of it has not begun by then is not done. What has begun keeps its turn
    until it ends. Belongs to one event loop; only `waiting` may be read from elsewhere.
    """

    def __init__(
        self,
        concurrent: int,
        most_waiting: int,
        timeout_s: float = math.inf,
        observer: Observer | None = None,
    ) -> None:
        self._concurrent = concurrent
        self._most_waiting = most_waiting
        self._timeout_s = timeout_s
        self._observer = observer
        self._present = 0  # running or waiting
        self._call_s = 0.0  # running mean

    @abstractmethod
    def _submit(self, call: Call) -> None:
        """Have a thread do it, in the order of coming, if it may begin: see `_over`."""

    @property
    def waiting(self) -> int:
        return max(0, self._present - self._concurrent)

    def require_room(self) -> None:
        """Raises Overloaded."""
        if self._present >= self._concurrent + self._most_waiting:
            raise self._overloaded()

    async def _run(self, what: Any, request: Request | None) -> Any:
        loop = asyncio.get_running_loop()
        call = Call(what, request, loop.create_future())
        queued = self._present >= self._concurrent
        watched = request if request is None or _body_is_read(request) else None
        after_s = 0.0 if queued else WATCH_AFTER_S
        watch = _Watch(loop, watched, partial(self._give_up, call, "disconnect"), after_s)
        left_s = self._left_s(loop, watched)
        timer = None if left_s is None else loop.call_later(left_s, self._give_up, call, "timeout")
        self._present += 1
        try:
            # Last: the thread that it wakes wants the interpreter, which is about to be free.
            self._submit(call)
            return await call.answer
        finally:
            if timer is not None:
                timer.cancel()
            watch.close()
            self._leave(call)  # it may be cancelled: by a server that is shutting down

    def _leave(self, call: Call) -> None:
        if call.give_up():
            self._present -= 1

    def _give_up(self, call: Call, reason: str) -> None:
        if call.answer.done():
            return
        self._leave(call)
        if self._observer is not None:
            self._observer.given_up(reason, call.begun)
        call.answer.set_exception(self._refusal(reason, call.begun))

    def _over(self, ended: Sequence[Ended]) -> None:
        """To be called by the thread that did what they are of, all at once: each time that the
        event loop is told something, it wants the interpreter."""
        with suppress(RuntimeError):  # the loop is closed: the service has ended
            ended[0].call.answer.get_loop().call_soon_threadsafe(self._answer, ended)

    def _answer(self, ended: Sequence[Ended]) -> None:
        for each in ended:
            self._present -= 1
            self._call_s += RECENT * (each.call.seconds - self._call_s)
            each.answer()
        if self._observer is not None:  # last: the callers have their answers
            for each in ended:
                self._observer.got_turn(each.call.waited_s)

    def _left_s(self, loop: asyncio.AbstractEventLoop, request: Request | None) -> float | None:
        if math.isinf(self._timeout_s):
            return None
        now = loop.time()
        arrived = now if request is None else request.scope.get(ARRIVED, now)
        return max(0.0, float(arrived) + self._timeout_s - now)

    def _retry_after_s(self) -> int:
        turns = self._present / self._concurrent
        return min(max(1, math.ceil(turns * self._call_s)), MOST_RETRY_S)

    def _overloaded(self) -> Overloaded:
        if self._observer is not None:
            self._observer.turned_away()
        return Overloaded(
            f"{self.waiting} of at most {self._most_waiting} requests wait already",
            retry_after_s=self._retry_after_s(),
            accepted=self._most_waiting,
        )

    def _refusal(self, reason: str, begun: bool) -> Exception:
        if reason == "disconnect":
            return ClientDisconnect()
        if begun:
            return TimedOut(
                f"the answer was not there within {self._timeout_s:g} s; what had begun may yet be "
                "done",
                accepted=self._timeout_s,
            )
        return WaitedTooLong(
            f"the request waited for {self._timeout_s:g} s and was not begun",
            retry_after_s=self._retry_after_s(),
            accepted=self._timeout_s,
        )


def _body_is_read(request: Request) -> bool:
    """Or else what comes next is more of it, and its end is not known."""
    if request.scope.get(BODY_READ, False):
        return True
    return not {"content-length", "transfer-encoding"} & set(request.headers)


class _Watch:
    """Calls `on_gone` when the client of a request, whose body has been read, has gone."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        request: Request | None,
        on_gone: Callable[[], None],
        after_s: float,
    ) -> None:
        self._loop = loop
        self._on_gone = on_gone
        self._task: asyncio.Task[None] | None = None
        self._timer = None if request is None else loop.call_later(after_s, self._begin, request)

    def _begin(self, request: Request) -> None:
        self._task = self._loop.create_task(self._look(request))

    async def _look(self, request: Request) -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        self._on_gone()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
