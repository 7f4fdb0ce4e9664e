"""Searches of several retrievals at once, ahead of them. Knows no HTTP."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from memory_service.records import Vector
from memory_service.storage.vectors import Nearest, VectorIndex


@dataclass(frozen=True, eq=False)
class Search:
    """Which memories of an index are nearest to a vector (D,), nothing left out."""

    index: VectorIndex
    vector: Vector
    depth: int


Found = Mapping[Search, Nearest]


@dataclass(frozen=True)
class Ahead:
    """What the searches that a retrieval begins with have found already."""

    found: Found = field(default_factory=dict)
    seconds: float = 0.0  # that it took

    def of(self, index: VectorIndex, depth: int) -> Nearest | None:
        for search, nearest in self.found.items():
            if search.index is index and search.depth == depth:
                return nearest
        return None


NONE_AHEAD = Ahead()


def together(searches: Sequence[Search]) -> Found:
    """Those in one index are done in one call, in which the interpreter's lock is free."""
    alike: dict[tuple[VectorIndex, int], list[Search]] = defaultdict(list)
    for search in searches:
        alike[search.index, search.depth].append(search)
    found: dict[Search, Nearest] = {}
    for (index, depth), some in alike.items():
        vectors = np.stack([search.vector for search in some])
        found.update(zip(some, index.nearest_of_each(vectors, depth), strict=True))
    return found
