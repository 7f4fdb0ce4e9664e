"""One range of bytes of a file (RFC 9110, section 14), read while it is sent.

The file is open already: one that is deleted meanwhile is answered to its end. Starlette's
FileResponse opens it by its path after the headers have been sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from starlette.responses import StreamingResponse

from memory_service.api.problems import RANGE_NOT_SATISFIABLE, HttpProblem

CHUNK_BYTES = 1 << 18
_RANGE = re.compile(r"bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.IGNORECASE | re.ASCII)


def asked(headers: Mapping[str, str], etag: str, size: int) -> tuple[int, int] | None:
    """From which byte up to which (not with it) the request wants; None: all of them.

    As the RFC allows, several ranges, other units and what is malformed are answered by the whole,
    and so is a range of what has changed since (If-Range). Raises HttpProblem 416.
    """
    found = _RANGE.fullmatch(headers.get("range", ""))
    if found is None or headers.get("if-range", etag) != etag:
        return None
    first, last = found.groups()
    if not (first or last) or (first and last and int(last) < int(first)):
        return None
    start = int(first) if first else max(size - int(last), 0)
    end = min(int(last) + 1, size) if first and last else size
    if start >= end:
        raise HttpProblem(
            416,
            RANGE_NOT_SATISFIABLE,
            f"the content has {size} bytes, and none of them is in {headers['range'][:80]!r}",
            {"Content-Range": f"bytes */{size}"},
            found=headers["range"][:80],
            accepted=[0, size],
        )
    return start, end


def answer(
    file: BinaryIO, size: int, wanted: tuple[int, int] | None, kind: str, headers: Mapping[str, str]
) -> StreamingResponse:
    """200 with the whole file, or 206 with the part that is `wanted`; closes it."""
    start, end = wanted or (0, size)
    more = {"Accept-Ranges": "bytes", "Content-Length": str(end - start)}
    if wanted:
        more["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return StreamingResponse(
        _read(file, start, end), 206 if wanted else 200, {**headers, **more}, media_type=kind
    )


def _read(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    with file:
        file.seek(start)
        while start < end:
            chunk = file.read(min(CHUNK_BYTES, end - start))
            if not chunk:
                raise OSError(f"the file ends at byte {start}, before {end}")
            start += len(chunk)
            yield chunk
