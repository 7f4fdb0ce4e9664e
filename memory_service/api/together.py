"""Calls of one function that come while it is at work are its next work, all at once.

Each keeps what `Calls` promises: its turn, its time limit, and that nothing is begun for a client
that has gone. What it does not take is a thread of its own, that waits for the interpreter among
all the others.
"""

from __future__ import annotations

import contextvars
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Lock
from typing import Any, Generic, TypeVar

from fastapi import Request

from memory_service.api.calls import Call, Calls, Observer

log = logging.getLogger(__name__)

Given = TypeVar("Given")
Got = TypeVar("Got")

MOST_TOGETHER = 128  # as many as a group of a batch has at most


class Together(Calls, Generic[Given, Got]):
    """`function` answers for each of what it is given, in their order; exceptions among the answers
    are raised to whom they concern, and what it raises itself to all."""

    def __init__(
        self,
        function: Callable[[Sequence[Given]], Sequence[Got | Exception]],
        concurrent: int,
        most_waiting: int,
        timeout_s: float,
        observer: Observer | None = None,
        *,
        name: str,
        done: Callable[[Got], None],
    ) -> None:
        """`concurrent`: so many are not said to be waiting. `done` is told each answer that is no
        exception, in the context of its call."""
        super().__init__(concurrent, most_waiting, timeout_s, observer, name=name, threads=1)
        self._function = function
        self._done = done
        self._lock = Lock()
        self._next: deque[tuple[Future[Any], Call]] = deque()
        self._at_work = False

    async def one(self, given: Given, request: Request) -> Got:
        """The function's answer for this; raises as `run`."""
        self.require_room()
        found: Got = await self._run(given, request)
        return found

    def _submit(self, call: Call) -> Future[Any]:
        future: Future[Any] = Future()
        with self._lock:
            self._next.append((future, call))
            begins, self._at_work = not self._at_work, True
        if begins:
            self._workers.submit(self._work)
        return future

    def _work(self) -> None:
        while group := self._taken():
            running = [each for each in group if each[0].set_running_or_notify_cancel()]
            if running:
                self._do(running)

    def _taken(self) -> list[tuple[Future[Any], Call]]:
        with self._lock:
            group = [self._next.popleft() for _ in range(min(MOST_TOGETHER, len(self._next)))]
            self._at_work = bool(group)
            return group

    def _do(self, group: Sequence[tuple[Future[Any], Call]]) -> None:
        began = time.perf_counter()
        for _, call in group:
            call.began = began
        answers: Sequence[Any]
        try:
            answers = contextvars.Context().run(self._function, [call.what for _, call in group])
        except BaseException as error:
            answers = [error] * len(group)
        seconds = time.perf_counter() - began
        for (future, call), answer in zip(group, answers, strict=True):
            call.seconds = seconds
            if isinstance(answer, BaseException):
                future.set_exception(answer)
            else:
                self._tell(call, answer)
                future.set_result(answer)

    def _tell(self, call: Call, answer: Got) -> None:
        try:
            call.context.run(self._done, answer)
        except Exception:  # it is done all the same, and the others wait for theirs
            log.exception("an answer could not be told")
