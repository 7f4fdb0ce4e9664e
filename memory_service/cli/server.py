"""uvicorn, and how it stops: for a moment `/readyz` says so, and every answer ends its connection;
then nothing new is accepted, and what runs may end, within a bound.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from types import FrameType

import uvicorn
from fastapi import FastAPI

from memory_service.app import Application
from memory_service.settings import Settings


def run(app: FastAPI, settings: Settings, application: Application) -> None:
    """Serve until SIGTERM or SIGINT. Exits with code 1 when the address cannot be bound."""
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,  # ours
        access_log=False,  # ours names the request's id
        timeout_graceful_shutdown=math.ceil(settings.drain_s),
    )
    server = _Server(config, app, application, settings.drain_wait_s)
    server.run()
    if not server.started:
        raise SystemExit(1)


class _Server(uvicorn.Server):
    def __init__(
        self, config: uvicorn.Config, app: FastAPI, application: Application, wait_s: float
    ) -> None:
        super().__init__(config)
        self._app = app
        self._application = application
        self._wait_s = wait_s
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
        if self._leave_at is not None and time.monotonic() >= self._leave_at:
            return True
        return await super().on_tick(counter)
