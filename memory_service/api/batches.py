"""NDJSON in, NDJSON out: episodes stored a group at a time, from a body of any length.

Three steps overlap: reading, decoding and encoding, writing and answering. Each hands over one
group and waits until the next one takes it, so that a service that cannot keep up stops reading,
and no more is held than a few groups.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

import anyio
from anyio.streams.memory import MemoryObjectSendStream
from fastapi import Request, Response
from pydantic_core import to_json
from starlette.types import Message, Receive, Scope, Send

from memory_service import trail
from memory_service.api import problems, views
from memory_service.api.access import caller_of
from memory_service.api.batch_lines import Line, Lines
from memory_service.api.batch_places import Places
from memory_service.api.bodies import read_line
from memory_service.api.calls import application_of, call, count_stages
from memory_service.api.problems import HttpProblem
from memory_service.api.turns import ARRIVED
from memory_service.api.uploads import SHARE
from memory_service.errors import MemoryServiceError, Overloaded
from memory_service.records import StoreOrder
from memory_service.services.storing import Outcome, Prepared, Storing

NDJSON = "application/x-ndjson"
GROUP_LINES = 128  # most that are encoded together and share a transaction
GROUP_BYTES = 8 * 2**20  # more than that only where one line has more
PATIENCE_S = 60.0  # with what is too busy, before lines are answered with that
PAUSE_S = 0.05

T = TypeVar("T")
Write = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True)
class _Group:
    lines: Sequence[Line]
    orders: Sequence[StoreOrder | Exception]  # one per line
    prepared: Prepared | None  # of the orders


class BatchResponse(Response):
    """Answers while the body is still coming. What fails before that is a problem document."""

    media_type = NDJSON

    def __init__(self, request: Request, longest_line: int) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._request = request
        self._longest_line = longest_line

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def write(answers: bytes) -> None:
            nonlocal started
            if not started:
                await send(self._start())
                started = True
            message: Message = {"type": "http.response.body", "body": answers, "more_body": True}
            await send(message)

        request = self._request
        places: Places = request.app.state.batches
        lines = Lines(request.stream(), self._longest_line, request.scope[SHARE])
        async with aclosing(lines.read()) as read:
            first = await _first_lines(read)  # who says nothing yet needs no place
            try:
                with places.one(caller_of(request).key_id):
                    await _store(request, first, read, write)
            except BaseExceptionGroup as errors:  # of several steps, the one that ended the others
                raise _first(errors) from errors
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _start(self) -> Message:
        return {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }


async def _first_lines(read: AsyncIterator[list[Line]]) -> list[Line]:
    async for lines in read:
        if lines:
            return lines
    raise HttpProblem(400, problems.MALFORMED_JSON, "the body has no line")


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


async def _store(
    request: Request, first: list[Line], read: AsyncIterator[list[Line]], write: Write
) -> None:
    declared = request.headers.get("content-length", "")
    # Of a body that is one group, the rest is on its way: no need to begin with half of it.
    whole = declared.isdigit() and int(declared) <= GROUP_BYTES
    if whole:
        first = [*first, *[line async for lines in read for line in lines]]
        if len(first) <= GROUP_LINES:
            await write(await _at_once(request, first))
            for line in first:
                line.leave()
            return
    arrived = _Arrived(whole)
    give, groups = anyio.create_memory_object_stream[_Group](0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_read, first, read, arrived)
        tasks.start_soon(_prepare, request, arrived, give)
        async with groups:
            async for group in groups:
                await write(await _written(request, group))
                for line in group.lines:
                    line.leave()


class _Arrived:
    """Lines from the time that they are read until the next step takes them, as many as are there,
    up to a group. `whole`: a group is not begun before it is full, or all is there."""

    def __init__(self, whole: bool) -> None:
        self._whole = whole
        self._changed = anyio.Condition()
        self._lines: list[Line] = []
        self._ended = False

    async def put(self, lines: Sequence[Line]) -> None:
        """Waits until there is less than a group."""
        async with self._changed:
            while self._first_group()[1]:
                await self._changed.wait()
            self._lines += lines
            self._changed.notify_all()

    async def end(self) -> None:
        async with self._changed:
            self._ended = True
            self._changed.notify_all()

    async def take(self) -> list[Line]:
        """A group; an empty one is the end."""
        async with self._changed:
            while True:
                count, full = self._first_group()
                if full or self._ended or (count and not self._whole):
                    break
                await self._changed.wait()
            group, self._lines = self._lines[:count], self._lines[count:]
            self._changed.notify_all()
            return group

    def _first_group(self) -> tuple[int, bool]:
        """How many lines it has, and whether it is full."""
        size = 0
        for count, line in enumerate(self._lines[:GROUP_LINES], start=1):
            size += len(line.content)
            if size >= GROUP_BYTES or count == GROUP_LINES:
                return count, True
        return len(self._lines), False


async def _read(first: list[Line], read: AsyncIterator[list[Line]], arrived: _Arrived) -> None:
    await arrived.put(first)
    async for lines in read:
        if lines:
            await arrived.put(lines)
    await arrived.end()


async def _prepare(
    request: Request, arrived: _Arrived, give: MemoryObjectSendStream[_Group]
) -> None:
    storing = application_of(request).storing
    async with give:
        while lines := await arrived.take():
            await give.send(await _prepared(request, storing, lines))


async def _prepared(request: Request, storing: Storing, lines: Sequence[Line]) -> _Group:
    orders: list[StoreOrder | Exception] = []

    def prepare() -> Prepared:
        if not orders:
            orders.extend(_order(request, line) for line in lines)
        return storing.prepare([each for each in orders if isinstance(each, StoreOrder)])

    try:
        return _Group(lines, orders, await _patiently(request, prepare))
    except Overloaded as error:
        return _Group(lines, [error] * len(lines), None)


def _order(request: Request, line: Line) -> StoreOrder | Exception:
    if line.error is not None:
        return line.error
    try:
        return read_line(request, line.content, line.index)
    except (HttpProblem, MemoryServiceError) as error:
        return error


async def _written(request: Request, group: _Group) -> bytes:
    """The group's answers, one line each; what was stored is durable."""
    prepared, storing = group.prepared, application_of(request).storing
    if prepared is None:
        return _answers(group, [])
    try:
        return await _patiently(request, lambda: _answers(group, _noted(storing.write(prepared))))
    except Overloaded as error:
        return _answers(group, [error] * len(prepared.drafts))
    finally:
        count_stages(request, "store_batch", prepared.watch.timings_ms())


async def _at_once(request: Request, lines: Sequence[Line]) -> bytes:
    """The answers to a body that is one group: nothing is left for its steps to overlap with, so
    all is done in one turn of a thread."""
    storing = application_of(request).storing
    orders: list[StoreOrder | Exception] = []

    def store() -> tuple[bytes, Prepared]:
        if not orders:
            orders.extend(_order(request, line) for line in lines)
        prepared = storing.prepare([each for each in orders if isinstance(each, StoreOrder)])
        outcomes = _noted(storing.write(prepared))
        return _answers(_Group(lines, orders, prepared), outcomes), prepared

    try:
        answers, prepared = await _patiently(request, store)
    except Overloaded as error:
        return _answers(_Group(lines, [error] * len(lines), None), [])
    count_stages(request, "store_batch", prepared.watch.timings_ms())
    return answers


def _noted(outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
    """The group has a line of its own in the audit log: the end of the request may be far."""
    if (committed := trail.current()) is not None:
        committed.hand_over()
    return outcomes


async def _patiently(request: Request, function: Callable[[], T]) -> T:
    """`call`, with all of the time limit: each group has it anew, however long ago the body came.
    Where others take up all there is, it waits, for a while."""
    give_up = time.monotonic() + PATIENCE_S
    while True:
        request.scope[ARRIVED] = asyncio.get_running_loop().time()
        try:
            return await call(request, function)
        except Overloaded:
            if time.monotonic() > give_up:
                raise
            await anyio.sleep(PAUSE_S)


def _answers(group: _Group, outcomes: Sequence[Outcome]) -> bytes:
    stored = iter(outcomes)
    answers = []
    for line, order in zip(group.lines, group.orders, strict=True):
        outcome = order if isinstance(order, Exception) else next(stored)
        if isinstance(outcome, Exception):
            answers.append(to_json({"index": line.index, **problems.members_of(outcome)}))
        else:
            answers.append(to_json(views.batch_line(line.index, outcome)))
        answers.append(b"\n")
    return b"".join(answers)
