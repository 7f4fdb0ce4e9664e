"""How much work it is to embed memories: by their number, and by how large they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memory_service.storage.standby import Targets
from memory_service.storage.store import Store

PAGE = 4096  # memories whose sizes are read at once


@dataclass(frozen=True)
class Sizes:
    """Of the memories to embed; each array is (N,)."""

    sequences: NDArray[np.int64]
    # Vectors that the store has of each, or bytes where it has one of all.
    work: NDArray[np.float64]

    def by_sequence(self) -> Sizes:
        order = np.argsort(self.sequences)
        return Sizes(self.sequences[order], self.work[order])

    def of(self, sequences: Sequence[int]) -> float:
        """Work of these, as far as they are among them; they are ordered `by_sequence`."""
        places = np.searchsorted(self.sequences, sequences)
        known = places < len(self.sequences)
        known[known] = self.sequences[places[known]] == np.asarray(sequences)[known]
        return float(self.work[places[known]].sum())


@dataclass(frozen=True)
class Group:
    """What was measured on memories that were embedded together."""

    memories: int
    work: float
    seconds: float
    vectors: int
    failed: int


def sizes_of(store: Store, modality: str, targets: Targets, go_on: Callable[[], None]) -> Sizes:
    """Of all memories that lack a vector, from the smallest to the largest work."""
    pages = [np.empty((0, 3), np.int64)]
    after = 0
    while found := store.standby.extents(modality, targets, after, PAGE):
        go_on()
        after = found[-1][0]
        pages.append(np.array(found, np.int64))
    sequences, size_bytes, vectors = np.concatenate(pages).T
    order = np.lexsort((size_bytes, vectors))
    # Seconds of sound tell more than bytes, which depend on how it is packed.
    work = vectors if len(vectors) and vectors.max() > 1 else size_bytes
    return Sizes(sequences[order], work[order].astype(np.float64))


def extrapolated(
    groups: Sequence[Group], values: Sequence[float], memories: int, work: float
) -> float:
    """What `values`, one per group, come to for all memories.

    So much per memory and so much per unit of work, neither below zero, such that the relative
    errors over the groups are least: the many small memories count as the few large ones do.
    """
    known = [(each, value) for each, value in zip(groups, values, strict=True) if value > 0]
    if not known:
        return 0.0
    parts = np.array([(each.memories / value, each.work / value) for each, value in known])
    parts = parts / (scale := parts.max(axis=0))  # bytes and memories differ by orders
    best, least = np.zeros(2), math.inf
    for columns in ([0, 1], [0], [1]):
        rates = np.zeros(2)
        rates[columns] = np.linalg.lstsq(parts[:, columns], np.ones(len(parts)), rcond=None)[0]
        error = float(np.square(parts @ rates - 1).sum())
        if (rates >= 0).all() and error < least - 1e-12:
            best, least = rates, error
    return float(best / scale @ (memories, work))
