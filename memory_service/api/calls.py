"""How routes reach the application: its services run in threads, a bounded number at a time; a
bounded number of requests waits for one, and none of them for ever.

Calls that are over before a thread would have begun run at once instead: threads that all want the
interpreter, and each for a moment, spend most of their time handing it round.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any, ParamSpec, Protocol, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from memory_service import patience
from memory_service.api.workers import Workers
from memory_service.app import Application
from memory_service.errors import NotReady, Overloaded, TimedOut, WaitedTooLong

P = ParamSpec("P")
T = TypeVar("T")

RECENT = 0.1  # weight of the last call in the running mean of their duration
BRIEF_S = 4e-3  # of computing, on average, up to which a brief call stays out of the threads
MOST_RETRY_S = 60
WATCH_AFTER_S = 1.0  # from when on it is looked whether the client of a running call is still there
STAGES = "memory_service.stages"  # in the scope: milliseconds by stage
# In the scope: when the request had come, by the loop's clock, and whether its body has.
ARRIVED = "memory_service.arrived"
BODY_READ = "memory_service.body_read"


class Observer(Protocol):
    """Is told of calls; must be quick."""

    def turned_away(self) -> None:
        """A request found the queue full."""

    def got_turn(self, seconds: float) -> None:
        """A request got its turn after so long."""

    def given_up(self, reason: str, begun: bool) -> None:
        """The client of a request is gone (`disconnect`), or its time was up (`timeout`)."""


class Call:
    """One function to be run, or what else is to be done, and whether it has begun."""

    def __init__(self, what: Any, context: contextvars.Context) -> None:
        self.what = what
        self.context = context
        self.given_up = patience.GivenUp()
        self.came = time.perf_counter()
        self.began: float | None = None
        self.seconds = 0.0

    def __call__(self) -> Any:
        self.began = time.perf_counter()
        try:
            return self.context.run(self._run)
        finally:
            self.seconds = time.perf_counter() - self.began

    def _run(self) -> Any:
        patience.wait_for(self.given_up)
        return self.what()


class Calls:
    """Runs functions in at most `concurrent` threads; at most `most_waiting` more wait for one.

    A call whose time is up (`timeout_s` from when the request had come), or whose client is gone,
    ends at once; what of it has not begun by then is not done. What has begun keeps its thread
    until its next stage. Belongs to one event loop; only `waiting` may be read from elsewhere.
    """

    def __init__(
        self,
        concurrent: int,
        most_waiting: int,
        timeout_s: float = math.inf,
        observer: Observer | None = None,
        *,
        name: str = "call",
    ) -> None:
        self._workers = Workers(concurrent, name)
        self._concurrent = concurrent
        self._most_waiting = most_waiting
        self._timeout_s = timeout_s
        self._observer = observer
        self._present = 0  # running or waiting
        self._call_s = 0.0  # running mean
        self._work_s = BRIEF_S  # the same of brief calls, by what they computed
        # What takes long may have waited for a processor; only then is it asked what was computed:
        # that is a system call, at which Linux likes to let others have the processor.
        self._clock: Callable[[], float] = time.thread_time

    @property
    def waiting(self) -> int:
        return max(0, self._present - self._concurrent)

    def close(self) -> None:
        self._workers.close()

    async def run(
        self, function: Callable[[], T], request: Request | None = None, *, brief: bool = False
    ) -> T:
        """Raises, before anything is done, Overloaded when too many wait already and WaitedTooLong
        when its turn did not come in time; TimedOut when it did not end in time, and
        ClientDisconnect when nobody waits for the answer any more.

        A `brief` call does not wait for others; as long as such calls are as short as that word
        says, it runs in the thread of the event loop.
        """
        self.require_room()
        result: T
        if not brief:
            result = await self._run(function, request)
            return result
        clock = self._clock
        if self._work_s < BRIEF_S:
            result, took_s = _timed(function, clock)
        else:
            result, took_s = await self._run(partial(_timed, function, clock), request)
        brief = took_s < BRIEF_S
        if brief or clock is time.thread_time:
            self._work_s += RECENT * (took_s - self._work_s)
        self._clock = time.perf_counter if brief else time.thread_time
        return result

    def require_room(self) -> None:
        """Raises Overloaded."""
        if self._present >= self._concurrent + self._most_waiting:
            raise self._overloaded()

    def _submit(self, call: Call) -> Future[Any]:
        return self._workers.submit(call)

    async def _run(self, what: Any, request: Request | None) -> Any:
        loop = asyncio.get_running_loop()
        call = Call(what, contextvars.copy_context())
        answer: asyncio.Future[Any] = loop.create_future()
        queued = self._present >= self._concurrent
        future: Future[Any] | None = None

        def ended(done: Future[Any]) -> None:
            with suppress(RuntimeError):  # the loop is closed: the service has ended
                loop.call_soon_threadsafe(self._ended, call, done, answer)

        def give_up(reason: str) -> None:
            if future is not None and not answer.done():
                call.given_up.set()
                begun = not future.cancel()
                self._tell_given_up(reason, begun)
                answer.set_exception(self._refusal(reason, begun))

        whole = request is None or _body_is_read(request)
        after_s = 0.0 if queued else WATCH_AFTER_S
        watch = _Watch(loop, request if whole else None, partial(give_up, "disconnect"), after_s)
        left_s = self._left_s(loop, request if whole else None)
        timer = None if left_s is None else loop.call_later(left_s, give_up, "timeout")
        try:
            # Last: the thread that it wakes wants the interpreter, which is about to be free.
            future = self._submit(call)
            self._present += 1
            future.add_done_callback(ended)
            return await answer
        finally:
            if timer is not None:
                timer.cancel()
            watch.close()
            call.given_up.set()  # cancelled: by a server that is shutting down
            if future is not None:
                future.cancel()

    def _ended(self, call: Call, done: Future[Any], answer: asyncio.Future[Any]) -> None:
        self._present -= 1
        if call.began is not None:
            self._call_s += RECENT * (call.seconds - self._call_s)
        if answer.done():
            if not done.cancelled():
                done.exception()  # nobody asks for it any more
        elif done.cancelled():
            answer.cancel()
        elif isinstance(error := done.exception(), StopIteration):  # which no future takes
            answer.set_exception(RuntimeError(f"a call raised {error!r}"))
        elif error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(done.result())
        if call.began is not None and self._observer is not None:  # last: the caller has its answer
            self._observer.got_turn(call.began - call.came)

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

    def _tell_given_up(self, reason: str, begun: bool) -> None:
        if self._observer is not None:
            self._observer.given_up(reason, begun)


def _timed(function: Callable[[], T], clock: Callable[[], float]) -> tuple[T, float]:
    """The result, and the seconds that it took."""
    started = clock()
    result = function()
    return result, clock() - started


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


def application_of(request: Request) -> Application:
    application: Application | None = getattr(request.app.state, "application", None)
    if application is None:
        raise NotReady("the service is starting")
    return application


async def probe(request: Request, function: Callable[[], T]) -> T:
    """Like `call`, for what tells operators how it is: does not queue behind the work of others."""
    probes: Calls = request.app.state.probes
    return await probes.run(function, request)


async def call(request: Request, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a service's method in a worker thread, as `Calls.run`."""
    calls: Calls = request.app.state.calls
    return await calls.run(partial(function, *args, **kwargs), request)


async def call_briefly(
    request: Request, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """`call`, of what is mostly over before a thread would have begun, and waits for nobody."""
    calls: Calls = request.app.state.calls
    return await calls.run(partial(function, *args, **kwargs), request, brief=True)


def replayed(was: bool) -> dict[str, str]:
    """The header of an answer that a request with the same idempotency key had before."""
    return {"Idempotency-Replayed": "true"} if was else {}


def count_stages(request: Request, name: str, timings_ms: Any) -> None:
    request.app.state.metrics.stages(name, timings_ms)
    request.scope[STAGES] = timings_ms
