"""How routes reach the application: its services run in threads, a bounded number at a time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ParamSpec, TypeVar

import anyio.to_thread
from fastapi import Request

from memory_service.app import Application
from memory_service.errors import NotReady

P = ParamSpec("P")
T = TypeVar("T")


def application_of(request: Request) -> Application:
    application: Application | None = getattr(request.app.state, "application", None)
    if application is None:
        raise NotReady("the service is starting")
    return application


async def probe(request: Request, function: Callable[[], T]) -> T:
    """Like `call`, for what tells operators how it is: does not queue behind the work of others."""
    return await anyio.to_thread.run_sync(function, limiter=request.app.state.probe_limiter)


async def call(request: Request, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a service's method in a worker thread."""
    work: Callable[[], T] = partial(function, *args, **kwargs)
    return await anyio.to_thread.run_sync(work, limiter=request.app.state.limiter)


def count_stages(request: Request, name: str, timings_ms: Any) -> None:
    request.app.state.metrics.stages(name, timings_ms)
