"""Group commit: works that arrive together are done by one of their callers, at one price.

Knows neither SQLite nor what the works are.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Generic, TypeVar

Work = TypeVar("Work")
Answer = TypeVar("Answer")

MOST_TOGETHER = 512  # works


class _Turn(Generic[Work, Answer]):
    """One caller with its works."""

    def __init__(self, works: Sequence[Work]) -> None:
        self.works = works
        self.woken: threading.Event | None = None  # set when it is done, or to lead; leads at once
        self.answers: Sequence[Answer] | None = None
        self.error: BaseException | None = None

    def wake(self) -> None:
        if self.woken is not None:
            self.woken.set()

    def done(self) -> bool:
        return self.answers is not None or self.error is not None


class GroupCommit(Generic[Work, Answer]):
    """Safe for use from several threads.

    The first caller leads: it takes the lock, then all that wait by then, itself included. What
    arrives while it commits is the next group, led by the first of them. So a lone caller never
    waits for company, and under load the groups grow by themselves.
    """

    def __init__(
        self,
        lock: AbstractContextManager[object],
        commit: Callable[[Sequence[Work]], Sequence[Answer]],
    ) -> None:
        """`commit` gives an answer for each work, in their order; what it raises is raised by all
        callers of the group. `lock` is held around it."""
        self._lock = lock
        self._commit = commit
        self._queue = threading.Lock()
        self._waiting: deque[_Turn[Work, Answer]] = deque()
        self._leader: _Turn[Work, Answer] | None = None

    def do(self, works: Sequence[Work]) -> Sequence[Answer]:
        """Returns when the works are done, whoever did them."""
        turn: _Turn[Work, Answer] = _Turn(works)
        with self._queue:
            self._waiting.append(turn)
            if self._leader is None:
                self._leader = turn
            else:
                turn.woken = threading.Event()
        try:
            if turn.woken is not None:
                turn.woken.wait()
            if not turn.done():
                self._lead()
        finally:
            self._leave(turn)
        if turn.error is not None:
            raise turn.error
        assert turn.answers is not None
        return turn.answers

    def _lead(self) -> None:
        group: list[_Turn[Work, Answer]] = []
        try:
            with self._lock:
                group = self._take()
                self._do(group)
        finally:
            for turn in group:
                turn.wake()

    def _leave(self, turn: _Turn[Work, Answer]) -> None:
        """Hand over to the first that waits, also where this caller was interrupted before it came
        to commit: the others must not wait for it."""
        if turn.done() and self._leader is not turn:
            return
        with self._queue:
            if turn in self._waiting:
                self._waiting.remove(turn)
            if self._leader is turn:
                self._leader = self._waiting[0] if self._waiting else None
                if self._leader is not None:
                    self._leader.wake()

    def _take(self) -> list[_Turn[Work, Answer]]:
        with self._queue:
            group = [self._waiting.popleft()]  # the leader's own
            total = len(group[0].works)
            while self._waiting and total + len(self._waiting[0].works) <= MOST_TOGETHER:
                group.append(self._waiting.popleft())
                total += len(group[-1].works)
        return group

    def _do(self, group: Sequence[_Turn[Work, Answer]]) -> None:
        try:
            answers = list(self._commit([work for turn in group for work in turn.works]))
            for turn in group:
                turn.answers, answers = answers[: len(turn.works)], answers[len(turn.works) :]
        except BaseException as error:
            for turn in group:
                turn.error = error
