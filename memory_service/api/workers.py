"""A fixed number of threads that take functions in the order of their coming.

Unlike those of `concurrent.futures`, the threads do not keep the process from ending: what hangs in
a library must not make a service that was told to stop hang, too.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class Workers:
    def __init__(self, threads: int, name: str) -> None:
        self._waiting: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._most = threads
        self._name = name
        self._threads: list[threading.Thread] = []  # started as they are needed
        self._idle = threading.Semaphore(0)

    def submit(self, function: Callable[[], object]) -> None:
        """To be called from one thread only. The function tells by itself what came of it. Raises
        RuntimeError where the system has not one thread for it; it is done later, if at all."""
        self._waiting.put(function)
        if len(self._threads) < self._most and not self._idle.acquire(blocking=False):
            name = f"{self._name}-{len(self._threads)}"
            thread = threading.Thread(target=self._work, name=name, daemon=True)
            try:
                thread.start()
            except RuntimeError:
                if not self._threads:
                    raise  # it is tried again with what comes next
            else:
                self._threads.append(thread)

    def close(self) -> None:
        """End the threads once they have nothing to do."""
        for _ in self._threads:
            self._waiting.put(None)

    def _work(self) -> None:
        while (function := self._next()) is not None:
            try:
                function()
            except BaseException:  # nobody else would do what comes next
                log.exception("a worker's function failed")
            del function  # a waiting thread must not keep a request alive

    def _next(self) -> Callable[[], object] | None:
        try:
            return self._waiting.get_nowait()
        except queue.Empty:
            if len(self._threads) < self._most:  # or else nobody looks any more
                self._idle.release()
            return self._waiting.get()
