"""Graphs are made, and it is measured how far to walk in them.

By queries beside the graph's own rows, the farther half of which the usual walks are to suffice
for; by themselves for the segment's lists where walks find least: a small dense kind among many
others has so many rows about as near that walks end early. And by queries ever less like the rows,
which have their nearest all about: from which cosine on a walk has to be deeper, and from which on
none finds enough.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import faiss
import numpy as np
import numpy.typing as npt

from memory_service.storage.vectors.graph import HITS, LARGEST, Graph, Lists, Walk, codes_index
from memory_service.storage.vectors.nearest import Cosines, Mask, Rows, Vectors
from memory_service.storage.vectors.parts import Interrupted, Stopped, decoded, reserve

Shares = npt.NDArray[np.float64]  # (N,)

NEIGHBOURS = 16  # of a row in each layer; twice as many in the lowest
BUILD_DEPTH = 200
LINKED_AT_ONCE = 1024  # rows
COMPARED_AT_ONCE = 64  # queries with all rows, before it is looked whether to stop

PROBES = 512  # rows that queries to measure with are beside
PROBE_RECALL = 0.995
# Of a row's distance to its last hit, as far from it is a query: as most are, and ever less like
# the rows.
BESIDE, *UNLIKE = 0.5, 1.0, 2.0, 4.0
UNLIKE_PROBES = 128  # for each of these
DEPTHS = (48, 64, 80, 96, 112, 128, 160, 192, 256, 384)
MARGIN = 1.8  # real queries need deeper walks than such, which lie all about rows
DEEPER = (3, 12)  # times the depth for queries unlike the rows
ALIKE = 128  # queries with about the same cosine to their last hit: recall is told of so many
NEARBY = 64  # depth that tells about how far a row's own hits are
SHALLOW = 16  # the depth at which lists differ most in what a walk finds
PER_LIST = 4  # rows of each list tell where it finds least
WORST = 1 / 16  # of the lists are measured by themselves
WORST_PROBES = 40  # in each
WORST_RECALL = 0.99  # in each


def build(flat: faiss.IndexScalarQuantizer, list_of: Lists, stopped: Stopped) -> Graph | None:
    """`list_of`: which of the segment's lists each row lies in. None where no walk finds enough of
    what is near the rows. Raises Interrupted.

    The interpreter's lock is free in nearly all of the time that it takes.
    """
    count = int(flat.ntotal)
    own = codes_index(int(flat.d))
    reserve(own, count)
    index = faiss.IndexHNSW(own, NEIGHBOURS)  # type: ignore[arg-type]
    index.hnsw.efConstruction = BUILD_DEPTH
    # None is cut off: a few rows that outweigh all others in one dimension would become alike.
    scale = LARGEST / max(float(np.abs(vectors).max()) for vectors in _all(flat, stopped))
    for vectors in _all(flat, stopped):
        index.add(np.rint(vectors * scale))
    walk = _Measuring(Graph(index, flat, list_of, Walk(SHALLOW)), flat, list_of, stopped).walk()
    return None if walk is None else Graph(index, flat, list_of, walk)


def _all(flat: faiss.IndexScalarQuantizer, stopped: Stopped) -> Iterator[Vectors]:
    """All rows, some at a time. Raises Interrupted."""
    count = int(flat.ntotal)
    for start in range(0, count, LINKED_AT_ONCE):
        if stopped():
            raise Interrupted
        yield decoded(flat, np.arange(start, min(start + LINKED_AT_ONCE, count)))


@dataclass(frozen=True)
class _Probes:
    """Queries whose nearest rows are known."""

    queries: Vectors  # (N, D)
    last: Cosines  # (N,) of the last hit

    def among(self, chosen: Mask) -> _Probes:
        return _Probes(self.queries[chosen], self.last[chosen])


class _Measuring:
    def __init__(
        self, graph: Graph, flat: faiss.IndexScalarQuantizer, list_of: Lists, stopped: Stopped
    ) -> None:
        self._graph, self._flat, self._list_of, self._stopped = graph, flat, list_of, stopped
        self._rng = np.random.default_rng(int(flat.ntotal))

    def walk(self) -> Walk | None:
        """The shortest walks that find what is near queries; None where none is long enough."""
        rows = self._rng.permutation(int(self._flat.ntotal))[:PROBES]
        usual = self._beside(rows, BESIDE)
        least = self._depth(usual.among(usual.last < np.median(usual.last)), PROBE_RECALL)
        if not least:
            return None
        depth = int(MARGIN * least)
        measured = ((each, self._depth(probes, WORST_RECALL)) for each, probes in self._worst())
        deep = [(each, own) for each, own in measured if not own or own > depth]
        unlike = [self._beside(rows[:UNLIKE_PROBES], share) for share in UNLIKE]
        return Walk(depth, deep, self._below(least, [usual, *unlike]))

    def _beside(self, rows: Rows, share: float) -> _Probes:
        """As far from their rows as queries may be that are none of them: a walk from a row to its
        own neighbours has links to go by, and finds more."""
        vectors = decoded(self._flat, rows)
        near = np.empty(len(rows), np.float32)
        for some in self._some(len(rows)):
            near[some] = self._graph.walked(vectors[some], HITS + 1, NEARBY)[1][:, -1]
        distance = share * np.sqrt(np.maximum(2 - 2 * near, 0.0))
        noise = self._rng.standard_normal(vectors.shape, np.float32)
        queries = vectors + distance[:, None] * noise / np.sqrt(noise.shape[1])
        queries = (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32)
        last = np.empty(len(queries), np.float32)
        for some in self._some(len(queries)):
            last[some] = self._flat.search(queries[some], HITS)[0][:, -1]
        return _Probes(queries, last)

    def _some(self, count: int) -> Iterator[slice]:
        """Raises Interrupted."""
        for start in range(0, count, COMPARED_AT_ONCE):
            if self._stopped():
                raise Interrupted
            yield slice(start, start + COMPARED_AT_ONCE)

    def _found(self, probes: _Probes, depth: int) -> Shares:
        """Of the nearest of each, the share that a walk finds; equally near are as good. (N,)"""
        found = np.empty(len(probes.queries))
        for some in self._some(len(found)):
            cosines = self._graph.walked(probes.queries[some], HITS, depth)[1]
            near = cosines >= probes.last[some, None] - 1e-6
            found[some] = np.count_nonzero(near, axis=1) / HITS
        return found

    def _depth(self, probes: _Probes, recall: float) -> int:
        """How deep walks have to be; 0 where no depth suffices."""
        for depth in DEPTHS:
            if self._found(probes, depth).mean() >= recall:
                return depth
        return 0

    def _below(self, depth: int, probes: Sequence[_Probes]) -> list[tuple[float, int]]:
        """The cosines of the last hit below which queries find too few by a walk of this depth, and
        by deeper ones; each with the depth that is next, by the margin deeper."""
        last = np.concatenate([each.last for each in probes])
        order = np.argsort(-last, kind="stable")
        below = []
        for own, following in itertools.pairwise([depth, *(n * depth for n in DEEPER), 0]):
            found = np.concatenate([self._found(each, own) for each in probes])
            for start in range(0, len(order), ALIKE):
                alike = order[start : start + ALIKE]
                if found[alike].mean() < PROBE_RECALL:
                    below.append((float(last[alike].max()), int(MARGIN * following)))
                    break
        return below

    def _worst(self) -> Iterator[tuple[int, _Probes]]:
        """The lists where short walks find least, each with queries beside its rows."""
        order = self._rng.permutation(len(self._list_of))
        order = order[np.argsort(self._list_of[order], kind="stable")]  # at random in each list
        lists, first, sizes = np.unique(self._list_of[order], return_index=True, return_counts=True)
        place = np.arange(len(order)) - np.repeat(first, sizes)
        asked = order[place < PER_LIST]
        shares = self._found(self._beside(asked, BESIDE), SHALLOW)
        means = np.bincount(self._list_of[asked], shares)[lists] / np.minimum(sizes, PER_LIST)
        for place in np.argsort(means, kind="stable")[: max(1, int(len(lists) * WORST))].tolist():
            own = order[first[place] : first[place] + sizes[place]]
            # Not by those that chose the list, where there are others.
            own = own[PER_LIST : PER_LIST + WORST_PROBES] if len(own) > PER_LIST else own
            yield int(lists[place]), self._beside(own, BESIDE)
