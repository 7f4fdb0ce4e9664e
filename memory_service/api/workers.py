"""A fixed number of threads that take functions in the order of their coming.

Unlike those of `concurrent.futures`, the threads do not keep the process from ending: what hangs in
a library must not make a service that was told to stop hang, too.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


class Workers:
    def __init__(self, threads: int, name: str) -> None:
        self._waiting: queue.SimpleQueue[tuple[Future[object], Callable[[], object]] | None] = (
            queue.SimpleQueue()
        )
        self._most = threads
        self._name = name
        self._threads: list[threading.Thread] = []  # started as they are needed
        self._idle = threading.Semaphore(0)

    def submit(self, function: Callable[[], T]) -> Future[T]:
        """To be called from one thread only. A future that is cancelled before its turn never
        runs."""
        future: Future[T] = Future()
        self._waiting.put((future, function))  # type: ignore[arg-type]
        if len(self._threads) < self._most and not self._idle.acquire(blocking=False):
            name = f"{self._name}-{len(self._threads)}"
            thread = threading.Thread(target=self._work, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()
        return future

    def close(self) -> None:
        """End the threads once they have nothing to do."""
        for _ in self._threads:
            self._waiting.put(None)

    def _work(self) -> None:
        while (item := self._next()) is not None:
            future, function = item
            if future.set_running_or_notify_cancel():
                try:
                    result = function()
                except BaseException as error:
                    future.set_exception(error)
                else:
                    future.set_result(result)
            del item, future, function  # a waiting thread must not keep a request alive

    def _next(self) -> tuple[Future[object], Callable[[], object]] | None:
        try:
            return self._waiting.get_nowait()
        except queue.Empty:
            if len(self._threads) < self._most:  # or else nobody looks any more
                self._idle.release()
            return self._waiting.get()
