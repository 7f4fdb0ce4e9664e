"""Looks for what deleted rows left in the catalog's file.

`secure_delete` overwrites a row that is deleted, and a page that is freed. But where SQLite moved
rows from one page to a sibling, to make or to use up room, the bytes that they had before stay in
the unallocated part of the page (between its cell pointers and its cells) until something is
written there. Only a VACUUM is sure to clear them. Page format: https://sqlite.org/fileformat.html.
"""

from __future__ import annotations

import mmap
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from memory_service.records import Memory

_HEADER_BYTES = {2: 12, 5: 12, 10: 8, 13: 8}  # of a b-tree page, by its type
_FILE_HEADER_BYTES = 100  # before that of the first page
_START = 8  # bytes of a mark, by which it is looked for
_LOOKED_AT_ONCE = 2**20  # bytes
CONTENT_BYTES = slice(300, 364)  # likewise
VECTOR_BYTES = slice(16, 80)  # a part that lies on the row's own page, and behind its first bytes


def marks(memory: Memory, vectors: Iterable[Any]) -> list[bytes]:
    """Bytes by which the rows of a memory are told from all others, wherever they lie: of its own
    row two places, since new entries may have overwritten its beginning or its end. `vectors`: as
    they are in their rows."""
    return [
        f"{memory.id}{memory.namespace}{memory.episode_id}".encode(),
        f"{memory.media_type}{memory.blob}".encode(),
        *(each[VECTOR_BYTES] for each in vectors if _has(each, VECTOR_BYTES)),
    ]


def content_marks(digest: str, content: Any) -> list[bytes]:
    """The same of a content that lies in the catalog."""
    if not isinstance(content, bytes):  # damaged
        return [digest.encode()]
    return [
        digest.encode() + content[:16],
        *([content[CONTENT_BYTES]] if len(content) > 400 else []),
    ]


def _has(content: Any, part: slice) -> bool:
    """Whether there is something of its own to look for: a damaged one may be short, or zeros."""
    return isinstance(content, bytes) and len(content) >= part.stop and any(content[part])


def left(catalog: Path, wanted: Collection[bytes]) -> bool:
    """Whether any of `wanted`, of eight bytes at least, is in an unallocated part of a page. Reads
    the whole file; its log has to be folded in. A page that is changed meanwhile may be misread,
    which does no harm."""
    if not wanted:
        return False
    marks = set(wanted)
    lengths: dict[bytes, set[int]] = defaultdict(set)
    for each in marks:
        lengths[each[:_START]].add(len(each))
    starts = np.unique(np.frombuffer(b"".join(lengths), "<u8"))
    for part in _together(_unallocated(catalog)):
        for place in _places(part, starts):
            for length in lengths[part[place : place + _START]]:
                if part[place : place + length] in marks:
                    return True
    return False


def _places(part: bytes, starts: npt.NDArray[np.uint64]) -> list[int]:
    """Where eight bytes are as one of the marks begins: so many marks take as long as few."""
    each = np.lib.stride_tricks.sliding_window_view(np.frombuffer(part, np.uint8), _START)
    windows = np.ascontiguousarray(each).view("<u8")[:, 0]
    found = np.minimum(np.searchsorted(starts, windows), len(starts) - 1)
    places: list[int] = np.flatnonzero(starts[found] == windows).tolist()
    return places


def _together(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Some at a time, and a gap between them."""
    some, size = [], 0
    for part in parts:
        some.append(part)
        size += len(part)
        if size >= _LOOKED_AT_ONCE:
            yield bytes(_START).join([*some, b""])
            some, size = [], 0
    if some:
        yield bytes(_START).join([*some, b""])


def _unallocated(catalog: Path) -> Iterator[bytes]:
    with catalog.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages:
        size = int.from_bytes(pages[16:18], "big")
        size = 65_536 if size == 1 else size
        for start in range(0, len(pages), size):
            header = start + (_FILE_HEADER_BYTES if start == 0 else 0)
            length = _HEADER_BYTES.get(pages[header])
            if length is None:
                continue
            cells = int.from_bytes(pages[header + 3 : header + 5], "big")
            content = int.from_bytes(pages[header + 5 : header + 7], "big") or 65_536
            part = pages[header + length + 2 * cells : start + min(content, size)]
            if part.strip(b"\0"):
                yield part
