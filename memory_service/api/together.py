"""Calls of one function that come while it is at work are its next work, all at once.

Each keeps what `Turns` promises: its turn, its time limit, and that nothing is begun for a client
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
from typing import Generic, TypeVar

from fastapi import Request

from memory_service.api.turns import Call, Ended, Observer, Turns

log = logging.getLogger(__name__)

Given = TypeVar("Given")
Got = TypeVar("Got")

MOST_TOGETHER = 128  # as many as a group of a batch has at most


class Together(Turns, Generic[Given, Got]):
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
        answering: Callable[[Sequence[tuple[Call, Got]]], None],
    ) -> None:
        """`concurrent`: so many are not said to be waiting. `done` is told each answer that is no
        exception, in the context of its call; then `answering`, by the event loop, all of those of
        a group that somebody waits for, before anybody has one."""
        super().__init__(concurrent, most_waiting, timeout_s, observer)
        self._function = function
        self._done = done
        self._answering = answering
        self._name = name
        self._next: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None  # started when it is needed

    async def one(self, given: Given, request: Request) -> Got:
        """The function's answer for this; raises as `run`."""
        self.require_room()
        found: Got = await self._run(given, request)
        return found

    def close(self) -> None:
        self._next.put(None)

    def _submit(self, call: Call) -> None:
        self._next.put(call)
        if self._thread is None:
            thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            thread.start()  # may fail: then it is tried again with what comes next
            self._thread = thread

    def _work(self) -> None:
        while group := self._taken():
            if begun := [call for call in group if call.begin()]:
                # The last that it does for a group: who waits for that wants the interpreter.
                self._over(self._do(begun))
            del group, begun  # a waiting thread must not keep a request alive

    def _taken(self) -> list[Call]:
        """What is there, at least one; nothing when it was closed."""
        group = []
        while (each := self._next.get()) is not None:
            group.append(each)
            if len(group) == MOST_TOGETHER or self._next.empty():
                return group
        self._next.put(None)  # for the next time, if there is a group still
        return group

    def _do(self, group: Sequence[Call]) -> list[Ended]:
        began = time.perf_counter()
        answers = self._answers([call.what for call in group])
        seconds = time.perf_counter() - began
        ended = []
        for call, answer in zip(group, answers, strict=True):
            call.seconds = seconds
            if isinstance(answer, BaseException):
                ended.append(Ended(call, None, answer))
            else:
                self._tell(call, answer)
                ended.append(Ended(call, answer))
        return ended

    def _answers(self, given: Sequence[Given]) -> Sequence[Got | BaseException]:
        try:
            answers = contextvars.Context().run(self._function, given)
            if len(answers) != len(given):
                raise RuntimeError(f"there are {len(answers)} answers to {len(given)} calls")
            return answers
        except BaseException as error:
            return [error] * len(given)

    def _tell(self, call: Call, answer: Got) -> None:
        try:
            call.context.run(self._done, answer)
        except BaseException:  # it is done all the same, and the others wait for theirs
            log.exception("an answer could not be told")

    def _answer(self, ended: Sequence[Ended]) -> None:
        waiting = [(each.call, each.result) for each in ended if each.is_waited_for]
        try:
            self._answering(waiting)
        except Exception:
            log.exception("a group of answers could not be told")
        super()._answer(ended)
