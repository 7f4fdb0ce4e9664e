"""Work that is done one at a time, in the order in which it came."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LOOK_S = 0.2  # so often who waits is asked whether to go on


class Turns:
    """Safe for use from several threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._present: deque[object] = deque()  # the first has its turn

    @contextmanager
    def turn(self, go_on: Callable[[], None]) -> Iterator[None]:
        """Waits until those that came before have ended; what `go_on` raises ends the waiting."""
        own = object()
        with self._changed:
            self._present.append(own)
        try:
            with self._changed:
                while self._present[0] is not own:
                    go_on()
                    self._changed.wait(LOOK_S)
            yield
        finally:
            with self._changed:
                self._present.remove(own)
                self._changed.notify_all()
