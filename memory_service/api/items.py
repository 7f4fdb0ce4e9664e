"""Items and query parts of JSON as what the services take: base64, data URIs, vectors."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from contextlib import suppress

import numpy as np

from memory_service.api.schemas import ItemIn, QueryPartIn
from memory_service.app import MODALITIES
from memory_service.errors import InvalidInput, InvalidVector
from memory_service.records import QueryPart, Upload, Vector

PIECE = 1 << 20  # characters of base64 that are decoded at once
_BLANKS = dict.fromkeys(b" \t\r\n")
_DATA_URI = re.compile(
    r"data:(?P<type>[\w.+-]+/[\w.+-]+)?(?:;[\w=.+-]+)*;base64,", re.ASCII | re.IGNORECASE
)


def upload(item: ItemIn, number: int) -> Upload:
    if (item.data is None) == (item.text is None):
        raise InvalidInput(f"item {number} needs either data or text", item=number)
    if item.text is not None:
        if item.modality != "text":
            raise InvalidInput(
                f"item {number}: text is for modality text, not {item.modality[:40]!r}; "
                "all others come as data",
                item=number,
                accepted=list(MODALITIES),
            )
        content, found = item.text.encode(), None
    else:
        assert item.data is not None
        content, found = _bytes(item.data, f"item {number}")
    vector = None if item.vector is None else _vector(item.vector, f"the vector of item {number}")
    declared = item.media_type or found
    return Upload(item.modality, content, declared, vector=vector, space=item.space)


def query_part(part: QueryPartIn, number: int) -> QueryPart:
    given = [name for name in (*MODALITIES, "vector") if getattr(part, name) is not None]
    if len(given) != 1:
        raise InvalidInput(
            f"query part {number} needs exactly one of its kinds",
            found=given,
            accepted=[*MODALITIES, "vector"],
        )
    if part.vector is not None:
        return QueryPart(
            vector=_vector(part.vector, "the vector"), weight=part.weight, space=part.space
        )
    if part.space is not None:
        raise InvalidInput(f"query part {number} names a space, but has no vector", part=number)
    if part.text is not None:
        return QueryPart("text", part.text.encode(), "text/plain", weight=part.weight)
    content, declared = _bytes(getattr(part, given[0]), f"query part {number}")
    return QueryPart(given[0], content, declared, weight=part.weight)


def _bytes(value: str, where: str) -> tuple[bytes, str | None]:
    """The bytes of base64 or of a data URI, and the type that the URI declares."""
    declared = None
    if value[:5].lower() == "data:":
        head = _DATA_URI.match(value)
        if head is None:
            raise InvalidInput(
                f"{where} is not a base64 data URI", accepted="data:<media type>;base64,<data>"
            )
        declared, value = head["type"], value[head.end() :]
    try:
        return _decoded(value), declared
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(f"{where} is not base64: {error}", accepted="base64") from error


def _decoded(value: str) -> bytes:
    """Raises binascii.Error or ValueError."""
    if len(value) <= PIECE:
        with suppress(ValueError):  # there are blanks in it, or it is none
            return binascii.a2b_base64(value, strict_mode=True)
    return b"".join(_pieces(value))


def _pieces(value: str) -> Iterator[bytes]:
    """Piece by piece: in one piece, 64 MB would keep every other thread waiting for half a second.
    Raises binascii.Error or ValueError."""
    left, ended = "", False
    for at in range(0, len(value), PIECE):
        piece = value[at : at + PIECE]
        if not piece.isalnum():  # `base64 FILE` prints lines
            piece = piece.translate(_BLANKS)
        piece = left + piece
        whole = len(piece) if at + PIECE >= len(value) else len(piece) & ~3
        if ended and piece:
            raise binascii.Error("Excess data after padding")
        yield base64.b64decode(piece[:whole], validate=True)
        left, ended = piece[whole:], piece[:whole].endswith("=")


def _vector(value: Vector | str, where: str) -> Vector:
    if not isinstance(value, str):
        return value
    content, _ = _bytes(value, where)
    return float32(content, where)


def float32(content: bytes, where: str) -> Vector:
    if len(content) % 4:
        raise InvalidVector(
            f"{where} has {len(content)} bytes, no multiple of 4",
            found=len(content),
            accepted="little-endian float32",
        )
    return np.frombuffer(content, dtype="<f4")
