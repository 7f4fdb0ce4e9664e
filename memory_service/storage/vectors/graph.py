"""A graph beside a segment's lists: the nearest of all rows, in less than half the time.

Each row is linked to rows near it, and a search walks along the links (HNSW, Malkov and Yashunin
2016). Distances are those of the segment's own vectors, so that links are all a graph takes. It is
for searches that leave out nothing, or hardly anything: a filter would cut it to pieces. How far to
walk is measured on the graph's own rows when it is built, and from what cosine on a query is unlike
them: such a query has its nearest all about, and a walk does not find them.
"""

from __future__ import annotations

from dataclasses import dataclass

import faiss
import numpy as np

from memory_service.storage.vectors.nearest import Cosines, Mask, Query, Rows, Vectors
from memory_service.storage.vectors.parts import Interrupted, Stopped, decoded, fp16_index, reserve

NEIGHBOURS = 24  # of a row in each layer; twice as many in the lowest
BUILD_DEPTH = 80
LINKED_AT_ONCE = 1024  # rows

PROBES = 256  # rows that a graph is measured with, and their neighbours
PROBE_NEIGHBOURS = 10
PROBE_RECALL = 0.995
DEPTHS = (32, 48, 64, 80, 96, 128, 160, 192, 256, 384)
UNUSUAL, FAR = 0.4, 0.1  # of the probes are as far from their neighbours as such a query
DEEPER = 3  # times the depth for an unusual query
PER_HIT = 3  # rows looked at, at least
MOST_HITS = 128  # beyond, lists are as fast


@dataclass(frozen=True)
class Walk:
    """How many rows a walk keeps in sight, and the cosines of the last of ten hits below which a
    query is unusual, and far from all there is."""

    depth: int
    unusual: float = -1.0
    far: float = -1.0


class Graph:
    """Of all rows of `flat`, whose vectors it shares."""

    def __init__(
        self, index: faiss.IndexHNSW, flat: faiss.IndexScalarQuantizer, walk: Walk
    ) -> None:
        index.storage = flat
        index.own_fields = False
        self.index, self.walk = index, walk
        self._flat = flat  # FAISS does not keep it alive

    def nearest(self, query: Query, count: int, mask: Mask | None) -> tuple[Rows, Cosines] | None:
        """The nearest rows of the mask, best first; None where a walk may miss too many: for a
        query far from all rows, or near those that are left out."""
        walk, wanted = self.walk, count if mask is None else max(2 * count, self.walk.depth)
        depth = max(walk.depth, PER_HIT * count)
        rows, cosines = self.walked(query, max(wanted, PROBE_NEIGHBOURS), depth)
        tenth = cosines[PROBE_NEIGHBOURS - 1] if len(rows) >= PROBE_NEIGHBOURS else -1.0
        if tenth < walk.far:
            return None
        if tenth < walk.unusual:
            rows, cosines = self.walked(query, wanted, DEEPER * depth)
        if mask is not None:
            there = mask[rows]
            rows, cosines = rows[there], cosines[there]
            if len(rows) < max(count, wanted // 2):
                return None
        return rows[:count], cosines[:count]

    def walked(self, query: Query, wanted: int, depth: int) -> tuple[Rows, Cosines]:
        parameters = faiss.SearchParametersHNSW(efSearch=depth)  # type: ignore[attr-defined]
        cosines, rows = self.index.search(query[None], wanted, params=parameters)
        if rows[0, -1] < 0:
            there = rows[0] >= 0
            return rows[0][there], cosines[0][there]
        return rows[0], cosines[0]


def build(flat: faiss.IndexScalarQuantizer, stopped: Stopped) -> Graph | None:
    """None where no walk finds enough of the neighbours of the rows. Raises Interrupted.

    The interpreter's lock is free in nearly all of the time that it takes.
    """
    count = int(flat.ntotal)
    own = fp16_index(int(flat.d))
    reserve(own, count)
    index = faiss.IndexHNSW(own, NEIGHBOURS)  # type: ignore[arg-type]
    index.hnsw.efConstruction = BUILD_DEPTH
    for start in range(0, count, LINKED_AT_ONCE):
        if stopped():
            raise Interrupted
        index.add(decoded(flat, np.arange(start, min(start + LINKED_AT_ONCE, count))))
    return _measured(index, flat, stopped)


def _measured(
    index: faiss.IndexHNSW, flat: faiss.IndexScalarQuantizer, stopped: Stopped
) -> Graph | None:
    """With the shortest walk that finds the neighbours of some of the rows, themselves left out."""
    count = int(flat.ntotal)
    wanted = PROBE_NEIGHBOURS + 1
    rows = np.random.default_rng(count).permutation(count)[:PROBES]
    queries = decoded(flat, rows)
    last = flat.search(queries, wanted)[0][:, -1]
    unusual, far = (float(each) for each in np.quantile(last, (UNUSUAL, FAR)))
    for depth in DEPTHS:
        if stopped():
            raise Interrupted
        graph = Graph(index, flat, Walk(depth, unusual, far))
        if _recall(graph, queries, last) >= PROBE_RECALL:
            return graph
    return None


def _recall(graph: Graph, queries: Vectors, last: Cosines) -> float:
    """Of the neighbours of each query, the share that is found; equally near ones are as good."""
    wanted, found = PROBE_NEIGHBOURS + 1, 0.0
    for query, least in zip(queries, last, strict=True):
        cosines = graph.walked(query, wanted, graph.walk.depth)[1]
        found += (np.count_nonzero(cosines >= least - 1e-6) - 1) / PROBE_NEIGHBOURS
    return found / len(queries)
