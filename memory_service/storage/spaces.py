"""Spaces by their names, and a memory's vectors in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from memory_service.records import Vector

SpaceKey = tuple[str, str]  # space id, fingerprint
Role = Literal["new", "old"]  # of a space that is not searched: see storage.standby


@dataclass(frozen=True)
class Embedding:
    """A vector of a memory: one of the whole per space that the memory lives in, segment 0.

    A long sound has further ones in the same space: segments 1, 2, 3 ... without a gap, where
    `start_s` and `end_s` say which part of it each is.
    """

    space: SpaceKey
    vector: Vector  # (D,), unit length
    segment: int = 0
    start_s: float | None = None
    end_s: float | None = None
