"""What work commits, told where that is done, so that the audit log names it whoever still waits
for an answer. Knows neither who asked nor where it is written; imports nothing of ours.

Whoever begins work opens a trail in its context, which threads that work for it inherit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextvars import ContextVar

Made = dict[str, list[str]]  # by kind: ids, or names of namespaces, each once

MOST = 256  # ids that are kept until the end: what commits more is noted in several lines
_lock = threading.Lock()  # held for a moment at a time: one for all is enough


class AuditTrail:
    """Gathers what was committed until it is taken; what is committed later goes to `late` at once,
    and so does more than `MOST` of it. Safe for use from several threads."""

    __slots__ = ("_at_once", "_count", "_late", "_made")

    def __init__(self, late: Callable[[Made], None], *, at_once: bool = False) -> None:
        self._late = late
        self._at_once = at_once
        self._made: dict[str, dict[str, None]] = {}
        self._count = 0

    def told(self, committed: dict[str, Iterable[str]]) -> None:
        with _lock:
            for kind, ids in committed.items():
                known = self._made.setdefault(kind, {})
                before = len(known)
                known.update(dict.fromkeys(ids))
                self._count += len(known) - before
            made = self._all() if self._at_once or self._count >= MOST else None
        if made:
            self._late(made)

    def hand_over(self) -> None:
        """What was gathered goes to `late` now."""
        if self._count and (made := self._taken()):
            self._late(made)

    def end(self) -> Made:
        """What was gathered; from now on there is no end to wait for."""
        self._at_once = True
        return self._taken() if self._count else {}

    def _taken(self) -> Made:
        with _lock:
            return self._all()

    def _all(self) -> Made:
        made = {kind: list(ids) for kind, ids in self._made.items() if ids}
        self._made, self._count = {}, 0
        return made


_current: ContextVar[AuditTrail | None] = ContextVar("audit_trail", default=None)


def open_trail(late: Callable[[Made], None], *, at_once: bool = False) -> AuditTrail:
    """The trail of all that this context, and those that are copied from it, commits from now."""
    trail = AuditTrail(late, at_once=at_once)
    _current.set(trail)
    return trail


def follow(trail: AuditTrail | None) -> None:
    """Another thread's, in a thread that works on for it."""
    _current.set(trail)


def current() -> AuditTrail | None:
    return _current.get()


def told(**committed: Iterable[str]) -> None:
    """To be called once it is durable: ids by kind."""
    trail = _current.get()
    if trail is not None:
        trail.told(committed)
