"""uvicorn, and how it stops: for a moment `/readyz` says so, and every answer ends its connection;
then nothing new is accepted, and what runs may end, within a bound.
"""

from __future__ import annotations

import asyncio
import gc
import math
import signal
import threading
import time
from contextlib import suppress
from functools import partial
from types import FrameType

import uvicorn
from fastapi import FastAPI

from memory_service.app import Application
from memory_service.cli import connections
from memory_service.settings import Settings

TICKS_PER_LOOK = 10  # of uvicorn's: a second
FILES_BESIDE = 256  # that are open besides connections: catalog, indexes, workers, contents
# Of the cyclic garbage collector. By Python's own, 700, a few dozen requests at once have all that
# they are made of looked through again and again: a twelfth of a query's time.
COLLECT_AFTER = (10_000, 20, 20)


def run(app: FastAPI, settings: Settings, application: Application) -> None:
    """Serve until SIGTERM or SIGINT. Exits with code 1 when the address cannot be bound."""
    _collect_rarely()
    server = Server(app, settings, application)
    server.run()
    if not server.started:
        raise SystemExit(1)


def _collect_rarely() -> None:
    """What is there when serving begins stays, and is not looked through any more."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


def _files_for(wanted: int) -> int:
    """How many connections may be open: `wanted`, or what the system allows beside the files that
    the store needs. Raises the process's own limit where it may."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        needed = wanted + FILES_BESIDE
        if soft != resource.RLIM_INFINITY and soft < needed:
            soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            return min(wanted, max(soft - FILES_BESIDE, soft // 2))
    return wanted


class Server(uvicorn.Server):
    def __init__(self, app: FastAPI, settings: Settings, application: Application) -> None:
        bounds = connections.Bounds(
            head_s=settings.head_timeout_s,
            unread_s=settings.unread_timeout_s,
            connections=_files_for(settings.connections),
            refused=app.state.metrics.connection_refused,
        )
        config = uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            http=partial(connections.Connection, bounds=bounds),  # type: ignore[arg-type]
            ws="none",
            log_config=None,  # ours
            access_log=False,  # ours names the request's id
            server_header=False,
            timeout_graceful_shutdown=math.ceil(settings.drain_s),
        )
        super().__init__(config)
        self._app = app
        self._application = application
        self._wait_s = settings.drain_wait_s
        self._leave_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Unlike uvicorn's own, does not have the process end by the signal: the application has
        to be closed after the server."""
        if self._leave_at is not None:  # told a second time
            self.force_exit = self.should_exit and sig == signal.SIGINT
            self.should_exit = True
            return
        self._app.state.draining = True
        # Not here: a signal may come while this very thread holds the lock of the jobs.
        threading.Thread(target=self._application.jobs.interrupt, daemon=True).start()
        self._leave_at = time.monotonic() + self._wait_s

    async def on_tick(self, counter: int) -> bool:
        if counter % TICKS_PER_LOOK == 0:
            connections.look(self.server_state.connections, asyncio.get_running_loop().time())
        if self._leave_at is not None and time.monotonic() >= self._leave_at:
            return True
        return await super().on_tick(counter)
