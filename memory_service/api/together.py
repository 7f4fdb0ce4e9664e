"""Calls of one function that come while it is at work are its next work, all at once.

Each keeps what `Calls` promises: its turn, its time limit, and that nothing is begun for a client
that has gone. What it does not take is a thread of its own, that waits for the interpreter among
all the others.
"""

from __future__ import annotations

import contextvars
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from fastapi import Request

from memory_service.api.calls import Call, Calls, Observer

log = logging.getLogger(__name__)

Given = TypeVar("Given")
Got = TypeVar("Got")

_Waiting = tuple[Future[Any], Call]

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
        super().__init__(concurrent, most_waiting, timeout_s, observer, name=name)
        self._function = function
        self._done = done
        self._name = name
        self._next: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None  # started when it is needed

    async def one(self, given: Given, request: Request) -> Got:
        """The function's answer for this; raises as `run`."""
        self.require_room()
        found: Got = await self._run(given, request)
        return found

    def close(self) -> None:
        super().close()
        self._next.put(None)

    def _submit(self, call: Call) -> Future[Any]:
        future: Future[Any] = Future()
        self._next.put((future, call))
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        return future

    def _work(self) -> None:
        # The last that it does for a group is to answer: who waits for that wants the interpreter.
        while group := self._taken():
            running = [each for each in group if each[0].set_running_or_notify_cancel()]
            try:
                if running:
                    self._do(running)
            except BaseException as error:  # nobody else would do what comes next
                log.exception("not all of a group of calls were answered")
                for future, _ in running:
                    if not future.done():
                        future.set_exception(RuntimeError(f"there was no answer: {error!r}"))
            del group, running  # a waiting thread must not keep a request alive

    def _taken(self) -> list[_Waiting]:
        """What is there, at least one; nothing when it was closed."""
        group = []
        while (each := self._next.get()) is not None:
            group.append(each)
            if len(group) == MOST_TOGETHER or self._next.empty():
                return group
        self._next.put(None)  # for the next time, if there is a group still
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
