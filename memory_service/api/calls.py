"""How routes reach the application: its services run in threads, a bounded number at a time, and a
bounded number of requests waits for one.

Calls that are over before a thread would have begun run at once instead: threads that all want the
interpreter, and each for a moment, spend most of their time handing it round.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any, ParamSpec, TypeVar

import anyio.to_thread
from anyio import CapacityLimiter
from fastapi import Request

from memory_service.app import Application
from memory_service.errors import NotReady, Overloaded

P = ParamSpec("P")
T = TypeVar("T")

RECENT = 0.1  # weight of the last call in the running mean of their duration
BRIEF_S = 2e-3  # of computing, on average, up to which a brief call stays out of the threads
MOST_RETRY_S = 60


class Calls:
    """Runs functions in at most `concurrent` threads; at most `most_waiting` more wait for one.

    Belongs to one event loop; only `waiting` may be read from elsewhere.
    """

    def __init__(
        self, concurrent: int, most_waiting: int, on_rejected: Callable[[], None] = lambda: None
    ) -> None:
        self._limiter = CapacityLimiter(concurrent)
        self._concurrent = concurrent
        self._most_waiting = most_waiting
        self._on_rejected = on_rejected
        self._present = 0  # running or waiting; the limiter counts only what has reached it
        self._call_s = 0.0  # running mean
        self._work_s = BRIEF_S  # the same of brief calls, by what they computed

    @property
    def waiting(self) -> int:
        return max(0, self._present - self._concurrent)

    async def run(self, function: Callable[[], T], *, brief: bool = False) -> T:
        """Raises Overloaded, before anything is done, when too many wait already.

        A `brief` call does not wait for others; as long as such calls are as short as that word
        says, it runs in the thread of the event loop.
        """
        self._require_room()
        if brief and self._work_s < BRIEF_S:
            result, _, worked_s = _timed(function)
        else:
            self._present += 1
            try:
                result, seconds, worked_s = await anyio.to_thread.run_sync(
                    _timed, function, limiter=self._limiter
                )
            finally:
                self._present -= 1
            self._call_s += RECENT * (seconds - self._call_s)
        if brief:
            self._work_s += RECENT * (worked_s - self._work_s)
        return result

    def _require_room(self) -> None:
        if self._present >= self._concurrent + self._most_waiting:
            self._on_rejected()
            turns = self._present / self._concurrent
            raise Overloaded(
                f"{self.waiting} of at most {self._most_waiting} requests wait already",
                retry_after_s=min(max(1, math.ceil(turns * self._call_s)), MOST_RETRY_S),
                accepted=self._most_waiting,
            )


def _timed(function: Callable[[], T]) -> tuple[T, float, float]:
    """The result, and the seconds that it took: in all, and computing."""
    started, worked = time.perf_counter(), time.thread_time()
    result = function()
    return result, time.perf_counter() - started, time.thread_time() - worked


def application_of(request: Request) -> Application:
    application: Application | None = getattr(request.app.state, "application", None)
    if application is None:
        raise NotReady("the service is starting")
    return application


async def probe(request: Request, function: Callable[[], T]) -> T:
    """Like `call`, for what tells operators how it is: does not queue behind the work of others."""
    probes: Calls = request.app.state.probes
    return await probes.run(function)


async def call(request: Request, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a service's method in a worker thread; raises Overloaded when too many wait for one."""
    calls: Calls = request.app.state.calls
    return await calls.run(partial(function, *args, **kwargs))


async def call_briefly(
    request: Request, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """`call`, of what is mostly over before a thread would have begun, and waits for nobody."""
    calls: Calls = request.app.state.calls
    return await calls.run(partial(function, *args, **kwargs), brief=True)


def count_stages(request: Request, name: str, timings_ms: Any) -> None:
    request.app.state.metrics.stages(name, timings_ms)
