"""A lock that many may share, or one hold alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition


class SharedLock:
    """Many readers or one writer; a waiting writer goes before new readers."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._reading = 0
        self._writing = False
        self._writers_waiting = 0

    def share(self) -> None:
        """Until `unshare`. Not to be nested."""
        with self._changed:
            while self._writing or self._writers_waiting:
                self._changed.wait()
            self._reading += 1

    def unshare(self) -> None:
        with self._changed:
            self._reading -= 1
            if self._writers_waiting:
                self._changed.notify_all()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        with self._changed:
            self._writers_waiting += 1
            self._changed.wait_for(lambda: not (self._writing or self._reading))
            self._writers_waiting -= 1
            self._writing = True
        try:
            yield
        finally:
            with self._changed:
                self._writing = False
                self._changed.notify_all()
