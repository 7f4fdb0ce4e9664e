"""Whether anybody still waits for the work of this thread: set by who asked, seen between stages.

Work that runs cannot be stopped in its midst; what it has not begun yet, it need not begin.
"""

from __future__ import annotations

from contextvars import ContextVar

from memory_service.errors import TimedOut


class GivenUp:
    """Whether it is so. Nobody waits for it, as for an event, which takes twenty times as long to
    make: each request has one."""

    __slots__ = ("_is",)

    def __init__(self) -> None:
        self._is = False

    def set(self) -> None:
        self._is = True

    def is_set(self) -> bool:
        return self._is


_given_up: ContextVar[GivenUp | None] = ContextVar("given_up", default=None)


def wait_for(given_up: GivenUp) -> None:
    """From now on, work in this context is done for who may set `given_up`."""
    _given_up.set(given_up)


def go_on() -> None:
    """To be called before each stage. Raises TimedOut when nobody waits any more."""
    given_up = _given_up.get()
    if given_up is not None and given_up.is_set():
        raise TimedOut("nobody waits for the answer any more: the rest was not done")
