"""What a search gives, and the numbers that FAISS knows vectors by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

Sequences = npt.NDArray[np.int64]  # (N,)
Ids = npt.NDArray[np.int64]  # (N,) as `ids_of` makes them
Rows = npt.NDArray[np.int64]  # (N,) places within one part of an index
Vectors = npt.NDArray[np.float32]  # (N, D)
Query = npt.NDArray[np.float32]  # (D,), unit length
Cosines = npt.NDArray[np.float32]  # (N,)
Mask = npt.NDArray[np.bool_]  # (N,)

# A vector is known by one number: that of its memory, and in the lowest bits its segment.
SEGMENT_BITS = 20


class Nearest(NamedTuple):
    """Distinct memories, best first, each with its nearest vector."""

    sequences: Sequences  # (N,)
    cosines: Cosines  # (N,)
    segments: Sequences  # (N,) 0: the vector of the whole


NO_SEQUENCES: Sequences = np.empty(0, np.int64)
NO_COSINES: Cosines = np.empty(0, np.float32)
NOTHING = Nearest(NO_SEQUENCES, NO_COSINES, NO_SEQUENCES)


@dataclass(frozen=True)
class SubMemory:
    """Names one index: vectors of different spaces or fingerprints never share one."""

    namespace: str
    modality: str
    space_id: str
    fingerprint: str


def stacked(vectors: Sequence[Query]) -> Vectors:
    """Vectors (D,) as rows (N, D); of a single one without the copy, which most stores have."""
    return vectors[0][None] if len(vectors) == 1 else np.stack(vectors)


def ids_of(sequences: Sequences, segments: Sequences) -> Ids:
    ids: Ids = sequences << SEGMENT_BITS | segments
    return ids


def sequences_of(ids: Ids) -> Sequences:
    sequences: Sequences = ids >> SEGMENT_BITS
    return sequences


def segments_of(ids: Ids) -> Sequences:
    segments: Sequences = ids & ((1 << SEGMENT_BITS) - 1)
    return segments


def distinct(ids: Ids, cosines: Cosines) -> Nearest:
    """Of vectors, best first, the first one of each memory."""
    sequences, segments = sequences_of(ids), segments_of(ids)
    if segments.any():  # or else each is the only one of its memory
        first = np.sort(np.unique(sequences, return_index=True)[1])
        sequences, cosines, segments = sequences[first], cosines[first], segments[first]
    # fp16 rounds: a vector's cosine to itself may come out as 1.00003.
    return Nearest(sequences, np.minimum(np.maximum(cosines, -1.0), 1.0), segments)


class Allowed:
    """The memories that a search is restricted to. Never changed: `extended` makes another.

    Remembers which rows of a part it allows, since searches with the same filter follow each other.
    """

    def __init__(self, sequences: Sequences) -> None:
        self.sequences: Sequences = np.unique(np.asarray(sequences, np.int64))
        self._masks: WeakKeyDictionary[object, tuple[Mask, int]] = WeakKeyDictionary()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self.sequences)

    def __contains__(self, sequence: int) -> bool:
        place = int(np.searchsorted(self.sequences, sequence))
        return place < len(self.sequences) and int(self.sequences[place]) == sequence

    def extended(self, more: Sequences, behind: int) -> Allowed:
        """With further ones, all of them higher than `behind`."""
        extended = Allowed(np.concatenate([self.sequences, more]))
        with self._lock:
            for part, (mask, highest) in self._masks.items():
                if highest <= behind:  # none of the further ones can be in it
                    extended._masks[part] = mask, highest
        return extended

    @cached_property
    def _table(self) -> Mask:
        """True at every allowed sequence, counted from the lowest; False at both ends."""
        table = np.zeros(int(self.sequences[-1] - self.sequences[0]) + 3, np.bool_)
        table[self.sequences - self.sequences[0] + 1] = True
        return table

    def among(self, sequences: Sequences) -> Mask:
        """Which of `sequences` are allowed; in time proportional to their number. Not empty."""
        places = np.clip(sequences - self.sequences[0] + 1, 0, len(self._table) - 1)
        among: Mask = self._table[places]
        return among

    def rows(self, part: object, ids: Ids, *, remember: bool) -> Mask:
        """Which rows of a part are allowed; remembered where these will always be its rows."""
        with self._lock:
            known = self._masks.get(part)
        if known is not None and len(known[0]) == len(ids):
            return known[0]
        sequences = sequences_of(ids)
        mask = self.among(sequences)
        if remember:
            with self._lock:
                self._masks[part] = mask, int(sequences.max(initial=0))
        return mask
