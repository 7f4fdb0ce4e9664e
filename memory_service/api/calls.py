"""How routes reach the application: its services run in threads, a bounded number at a time.

Calls that are over before a thread would have begun run at once instead: threads that all want the
interpreter, and each for a moment, spend most of their time handing it round.
"""

from __future__ import annotations

import contextvars
import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any, ParamSpec, TypeVar

from fastapi import Request

from memory_service import patience
from memory_service.api.turns import RECENT, Call, Ended, Observer, Turns, raisable
from memory_service.api.workers import Workers
from memory_service.app import Application
from memory_service.errors import NotReady

P = ParamSpec("P")
T = TypeVar("T")

BRIEF_S = 4e-3  # of computing, on average, up to which a brief call stays out of the threads
STAGES = "memory_service.stages"  # in the scope: milliseconds by stage


class Calls(Turns):
    """Runs functions in at most `concurrent` threads. What has begun, and nobody waits for any
    more, keeps its thread until its next stage."""

    def __init__(
        self,
        concurrent: int,
        most_waiting: int,
        timeout_s: float = math.inf,
        observer: Observer | None = None,
        *,
        name: str = "call",
    ) -> None:
        super().__init__(concurrent, most_waiting, timeout_s, observer)
        self._workers = Workers(concurrent, name)
        self._work_s = BRIEF_S  # running mean of brief calls, by what they computed
        # What takes long may have waited for a processor; only then is it asked what was computed:
        # that is a system call, at which Linux likes to let others have the processor.
        self._clock: Callable[[], float] = time.thread_time

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
            try:
                result, took_s = _timed(function, clock)
            except SystemExit as error:
                raise raisable(error) from error
        else:
            result, took_s = await self._run(partial(_timed, function, clock), request)
        brief = took_s < BRIEF_S
        if brief or clock is time.thread_time:
            self._work_s += RECENT * (took_s - self._work_s)
        self._clock = time.perf_counter if brief else time.thread_time
        return result

    def _submit(self, call: Call) -> None:
        self._workers.submit(partial(self._work, call))

    def _work(self, call: Call) -> None:
        if not call.begin():
            return
        began = time.perf_counter()
        result, error = _outcome(call.context, call.given_up, call.what)
        call.seconds = time.perf_counter() - began
        self._over([Ended(call, result, error)])


def _outcome(
    context: contextvars.Context, given_up: patience.GivenUp, function: Callable[[], Any]
) -> tuple[Any, BaseException | None]:
    """The function's result, or what it raised."""

    def run() -> Any:
        patience.wait_for(given_up)
        return function()

    try:
        return context.run(run), None
    except BaseException as error:
        return None, error


def _timed(function: Callable[[], T], clock: Callable[[], float]) -> tuple[T, float]:
    """The result, and the seconds that it took."""
    started = clock()
    result = function()
    return result, clock() - started


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
