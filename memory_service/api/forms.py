"""Multipart bodies, read more strictly than Starlette does: whole, and in the charset they name."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from fastapi import Request
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser

from memory_service.api.problems import HttpProblem
from memory_service.errors import TooLarge

MALFORMED_BODY = "malformed_body"
MAX_FILES = 64
MAX_FIELDS = 64


class _FileTooLarge(MultiPartException):
    """Of this kind, so that the parser closes its files."""


class _StrictParser(MultiPartParser):
    """Refuses what Starlette's parser mends in silence.

    Starlette drops a last part that no boundary ends, so that a cut body would be stored in part
    and acknowledged; and it reads a field that is not in the charset named as Latin-1.
    """

    complete = False
    max_file_size = 0  # bytes of one file

    def on_part_begin(self) -> None:
        self._size = 0
        super().on_part_begin()

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._size += end - start
        if self._current_part.file is not None and self._size > self.max_file_size:
            raise _FileTooLarge(f"a file has more than {self.max_file_size} bytes")
        super().on_part_data(data, start, end)

    def on_part_end(self) -> None:
        part = self._current_part
        if part.file is None:
            try:
                part.data.decode(self._charset)
            except (UnicodeDecodeError, LookupError) as error:
                message = f"field {part.field_name!r} is not {self._charset}: {error}"
                raise MultiPartException(message) from error
        super().on_part_end()

    def on_end(self) -> None:
        self.complete = True


@asynccontextmanager
async def read_form(
    request: Request, max_part_size: int, max_file_size: int
) -> AsyncIterator[FormData]:
    """The form of a request; its temporary files are removed on leaving.

    `max_part_size`, in bytes, is for fields, `max_file_size` for files. Raises HttpProblem (400)
    for a body that is broken, cut, or of too many parts, and TooLarge as soon as a file is.
    """

    async def whole(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        async for chunk in chunks:
            yield chunk
        if not parser.complete:  # raised from within the parser, so that it closes its files
            raise MultiPartException("the body ends before its last boundary")

    try:
        async with aclosing(request.stream()) as stream, aclosing(whole(stream)) as checked:
            parser = _StrictParser(
                request.headers,
                checked,
                max_files=MAX_FILES,
                max_fields=MAX_FIELDS,
                max_part_size=max_part_size,
            )
            parser.max_file_size = max_file_size
            form = await parser.parse()
    except _FileTooLarge as error:
        raise TooLarge(error.message, accepted=max_file_size) from error
    except MultiPartException as error:
        raise HttpProblem(400, MALFORMED_BODY, error.message) from error
    try:
        yield form
    finally:
        await form.close()
