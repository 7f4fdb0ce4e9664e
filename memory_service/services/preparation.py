"""Generators are loaded ahead, once the service is ready, so that no request waits for it.

They take a few seconds and several hundred megabytes. What cannot be loaded is told by the request
that needs it.
"""

from __future__ import annotations

import logging
import threading

from memory_service.services.active import ActiveModels

log = logging.getLogger(__name__)

WAIT_S = 1.0  # after the start: whoever waited for that comes first


class Preparation:
    """A thread from `start` to the last generator, or to `close`."""

    def __init__(self, active: ActiveModels, *, wanted: bool, wait_s: float = WAIT_S) -> None:
        self._active = active
        self._wanted = wanted
        self._wait_s = wait_s
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Returns at once. Does nothing where it is not wanted."""
        if self._wanted:
            self._thread = threading.Thread(target=self._run, name="preparation", daemon=True)
            self._thread.start()

    def wait(self) -> None:
        """Until all is loaded, or given up."""
        if self._thread is not None:
            self._thread.join()

    def close(self) -> None:
        """What is being loaded is loaded to its end."""
        self._closing.set()
        self.wait()

    def _run(self) -> None:
        self._closing.wait(self._wait_s)
        models = self._active.models
        for modality in list(models.generators):
            if self._closing.is_set():
                return
            try:
                models.generator(modality)
            except Exception:
                log.exception("the generator of %s could not be loaded ahead", modality)
