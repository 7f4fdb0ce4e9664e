"""A graph beside a segment's lists: the nearest of all rows, in less than half the time.

Each row is linked to rows near it, and a search walks along the links (HNSW, Malkov and Yashunin
2016). It goes by copies of the vectors in 8 bits, which are half as many bytes to be read and are
compared as integers; the best of what it finds are compared with the segment's own vectors. It is
for searches that leave out nothing, or hardly anything: a filter would cut it to pieces. How far to
walk is measured on the graph's own rows when it is built, by itself for the segment's lists where
walks find least: a small dense kind among many others has so many rows about as near that walks end
early. So is what queries need that are unlike the rows, and have their nearest all about: from
which cosine on a walk has to be deeper, and from which on none finds enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import faiss
import numpy as np
import numpy.typing as npt

from memory_service.storage.vectors.nearest import Cosines, Mask, Rows, Vectors

Lists = npt.NDArray[np.uint16]  # (N,) the list of each row
Found = npt.NDArray[np.int64]  # (N, K) rows found for N queries
Likeness = npt.NDArray[np.float32]  # (N, K) and their cosines

HITS = 10  # that it is told by how much a query is like the rows, and by whose lists it is near
MOST_DEPTH = 10**9
PER_HIT = 3  # rows looked at, at least
MOST_HITS = 128  # beyond, lists are as fast
COMPARED = 2  # rows for each that is wanted, with the vectors themselves
LARGEST = 127  # number of 8 bits, with its sign
LINK_BYTES = 4


@dataclass(frozen=True)
class Walk:
    """How many rows a walk keeps in sight. `deep`: lists where walks find less, and how many it
    takes there. `below`: cosines of the last of ten hits, falling, below which a query is so unlike
    the rows that it takes as many. 0: no walk finds enough."""

    depth: int
    deep: Sequence[tuple[int, int]] = ()
    below: Sequence[tuple[float, int]] = ()


class Graph:
    """Of all rows of `flat`; `index` has them in 8 bits. `list_of`: the list that each lies in."""

    def __init__(
        self,
        index: faiss.IndexHNSW,
        flat: faiss.IndexScalarQuantizer,
        list_of: Lists,
        walk: Walk,
    ) -> None:
        self.index, self.walk = index, walk
        self.stored_as: str | None = None  # the name of its file, where there is one
        self._compared = faiss.IndexRefine(index, flat)
        self._list_of = list_of
        self._deep = np.full(int(list_of.max(initial=0)) + 1, walk.depth)
        for number, depth in walk.deep:
            self._deep[number] = depth or MOST_DEPTH

    @property
    def size_bytes(self) -> int:
        """Of links and codes."""
        links = self.index.hnsw.neighbors.size() * LINK_BYTES  # type: ignore[attr-defined]
        return int(links) + int(self.index.ntotal) * int(self.index.storage.sa_code_size())

    def nearest(
        self, queries: Vectors, count: int, mask: Mask | None
    ) -> list[tuple[Rows, Cosines] | None]:
        """Of each of the queries (N, D) the nearest rows of the mask, best first; None where a walk
        may miss too many: for a query far from all rows, in a list where none suffices, or near
        what is left out."""
        walk, wanted = self.walk, count if mask is None else max(2 * count, self.walk.depth)
        wanted, depth = max(wanted, HITS), max(walk.depth, PER_HIT * count)
        rows, cosines = self.walked(queries, wanted, depth)
        last = cosines[:, HITS - 1]
        deeper = self._deep[self._list_of[rows[:, :HITS]]].max(axis=1)
        for least, enough in walk.below:
            unlike = last < least
            if unlike.any():
                deeper[unlike] = np.maximum(deeper[unlike], enough or MOST_DEPTH)
        depths = deeper.tolist()
        for again in {each for each in depths if depth < each < MOST_DEPTH}:
            some = np.flatnonzero(deeper == again)
            rows[some], cosines[some] = self.walked(queries[some], wanted, again)
        return [
            None if deep >= MOST_DEPTH else _left(each, near, count, wanted, mask)
            for each, near, deep in zip(rows, cosines, depths, strict=True)
        ]

    def walked(self, queries: Vectors, wanted: int, depth: int) -> tuple[Found, Likeness]:
        """(N, wanted) each; -1 and the least of cosines where a walk found fewer."""
        # Queries are cut to 8 bits for the walk: the largest number of each has to be near the
        # largest there is. By a power of two, which leaves cosines as they are.
        peaks = np.abs(queries).max(axis=1, keepdims=True)
        scales = np.exp2(np.floor(np.log2(LARGEST / peaks)))
        parameters = _parameters(depth, max(1.0, min(COMPARED, depth / wanted)))
        cosines, rows = self._compared.search(queries * scales, wanted, params=parameters)
        return rows, cosines / scales


def codes_index(dimension: int) -> faiss.IndexScalarQuantizer:
    """An empty index of vectors in whole numbers up to LARGEST. Queries are cut to such, too."""
    return faiss.IndexScalarQuantizer(
        dimension, faiss.ScalarQuantizer.QT_8bit_direct_signed, faiss.METRIC_INNER_PRODUCT
    )


@lru_cache(64)
def _parameters(depth: int, factor: float) -> faiss.IndexRefineSearchParameters:
    walk = faiss.SearchParametersHNSW(efSearch=depth)  # type: ignore[attr-defined]
    return faiss.IndexRefineSearchParameters(k_factor=factor, base_index_params=walk)  # type: ignore[call-arg]


def _left(
    rows: Rows, cosines: Cosines, count: int, wanted: int, mask: Mask | None
) -> tuple[Rows, Cosines] | None:
    """What the mask leaves of a walk; None where that is too little."""
    there = rows >= 0 if mask is None else (rows >= 0) & mask[rows]
    if not there.all():
        rows, cosines = rows[there], cosines[there]
    if mask is not None and len(rows) < max(count, wanted // 2):
        return None
    return rows[:count], cosines[:count]
