"""The lines of a body that is still coming, each with a part of the room for bodies."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial

from memory_service.api.uploads import Share
from memory_service.errors import NotReady, Overloaded, SlowUpload, TooLarge

LONG_LINE = 2**20  # from here on there must be room for it


@dataclass(frozen=True)
class Line:
    index: int
    content: bytes
    error: Exception | None = None
    leave: Callable[[], None] = lambda: None  # to be called once it was answered


class Lines:
    """The lines of a body. Of one that is too long, or for which there is no room, nothing is kept;
    those behind it are read as ever."""

    def __init__(self, chunks: AsyncIterator[bytes], longest: int, share: Share) -> None:
        self._chunks = chunks
        self._longest = longest
        self._share = share
        self._index = 0
        self._rest = bytearray()  # of the line that has not ended
        self._taken = 0  # of the room
        self._error: Exception | None = None

    async def read(self) -> AsyncGenerator[list[Line], None]:
        """Those that each chunk ends, blank ones left out. Where the rest is too slow to come, or
        the service stops before, the last line says so; raises SlowUpload or NotReady when there
        was none before."""
        try:
            async for chunk in self._chunks:
                found: list[Line] = []
                *ends, last = chunk.split(b"\n")
                for end in ends:
                    self._add(end)
                    found += self._ended()
                self._add(last)
                yield found
        except (SlowUpload, NotReady) as error:
            if not self._index:
                raise
            self._error = self._error or error
        yield self._ended()

    def _add(self, piece: bytes) -> None:
        if self._error is None:
            self._rest += piece
            if len(self._rest) > self._longest:
                self._error = TooLarge(
                    f"the line has more than the {self._longest} bytes that are accepted",
                    found=len(self._rest),
                    accepted=self._longest,
                )
            elif len(self._rest) > LONG_LINE:
                self._hold()
        if self._error is not None:
            self._rest.clear()

    def _hold(self) -> None:
        try:
            self._share.take(len(self._rest) - self._taken)
            self._taken = len(self._rest)
        except Overloaded as error:
            self._error = error

    def _ended(self) -> list[Line]:
        content, error, taken = bytes(self._rest), self._error, self._taken
        self._rest.clear()
        self._error, self._taken = None, 0
        if error is None and not content.strip():
            self._share.give_back(taken)
            return []
        if error is not None:
            self._share.give_back(taken)
            taken = 0
        self._index += 1
        return [Line(self._index - 1, content, error, partial(self._share.give_back, taken))]
