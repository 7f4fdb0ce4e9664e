"""A graph beside a segment's lists: the nearest of all rows, in less than half the time.

Each row is linked to rows near it, and a search walks along the links (HNSW, Malkov and Yashunin
2016). Distances are those of the segment's own vectors, so that links are all a graph takes. It is
for searches that leave out nothing, or hardly anything: a filter would cut it to pieces. How far to
walk is measured on the graph's own rows when it is built, by itself for the segment's lists where
walks find least: a small dense kind among many others has so many rows about as near that walks end
early. So is what queries need that are unlike the rows, and have their nearest all about: from
which cosine on a walk has to be deeper, and from which on none finds enough.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import faiss
import numpy as np
import numpy.typing as npt

from memory_service.storage.vectors.nearest import Cosines, Mask, Rows, Vectors
from memory_service.storage.vectors.parts import Interrupted, Stopped, decoded, fp16_index, reserve

Lists = npt.NDArray[np.uint16]  # (N,) the list of each row
Found = npt.NDArray[np.int64]  # (N, K) rows found for N queries
Likeness = npt.NDArray[np.float32]  # (N, K) and their cosines
Shares = npt.NDArray[np.float64]  # (N,)

NEIGHBOURS = 24  # of a row in each layer; twice as many in the lowest
BUILD_DEPTH = 80
LINKED_AT_ONCE = 1024  # rows
COMPARED_AT_ONCE = 64  # rows with all others, before it is looked whether to stop

PROBES = 256  # rows that a graph is measured with, and their neighbours
PROBE_NEIGHBOURS = 10
PROBE_RECALL = 0.995
SHALLOW = 16  # the depth at which lists differ most in what a walk finds
PER_LIST = 4  # rows of each list tell where it finds least
WORST = 1 / 16  # of the lists are measured by themselves, by queries beside their rows
WORST_PROBES = 40  # in each
WORST_RECALL = 0.99  # in each
BESIDE = 0.5  # of the distance to the tenth neighbour: so far are such queries from their rows
DEPTHS = (64, 96, 128, 160, 192, 256, 384)
MOST_DEPTH = 10**9
DEEPER = (3, 12)  # times the depth for queries unlike the rows
UNLIKE = (0.5, 1.0, 2.0, 4.0)  # of that distance: how far such queries are from their rows
ALIKE = 128  # queries with about the same cosine to their last hit: recall is told of so many
PER_HIT = 3  # rows looked at, at least
MOST_HITS = 128  # beyond, lists are as fast


@dataclass(frozen=True)
class Walk:
    """How many rows a walk keeps in sight. `deep`: lists where walks find less, and how many it
    takes there. `below`: cosines of the last of ten hits, falling, below which a query is so unlike
    the rows that it takes as many. 0: no walk finds enough."""

    depth: int
    deep: Sequence[tuple[int, int]] = ()
    below: Sequence[tuple[float, int]] = ()


class Graph:
    """Of all rows of `flat`, whose vectors it shares. `list_of`: the list that each lies in."""

    def __init__(
        self,
        index: faiss.IndexHNSW,
        flat: faiss.IndexScalarQuantizer,
        list_of: Lists,
        walk: Walk,
    ) -> None:
        index.storage = flat
        index.own_fields = False
        self.index, self.walk = index, walk
        self._flat = flat  # FAISS does not keep it alive
        self._list_of = list_of
        self._deep = np.full(int(list_of.max(initial=0)) + 1, walk.depth)
        for number, depth in walk.deep:
            self._deep[number] = depth or MOST_DEPTH

    def nearest(
        self, queries: Vectors, count: int, mask: Mask | None
    ) -> list[tuple[Rows, Cosines] | None]:
        """Of each of the queries (N, D) the nearest rows of the mask, best first; None where a walk
        may miss too many: for a query far from all rows, in a list where none suffices, or near
        what is left out."""
        walk, wanted = self.walk, count if mask is None else max(2 * count, self.walk.depth)
        wanted, depth = max(wanted, PROBE_NEIGHBOURS), max(walk.depth, PER_HIT * count)
        rows, cosines = self.walked(queries, wanted, depth)
        last = cosines[:, PROBE_NEIGHBOURS - 1]
        deeper = self._deep[self._list_of[rows[:, :PROBE_NEIGHBOURS]]].max(axis=1)
        for least, enough in walk.below:
            unlike = last < least
            deeper[unlike] = np.maximum(deeper[unlike], enough or MOST_DEPTH)
        for again in np.unique(deeper[(deeper > depth) & (deeper < MOST_DEPTH)]).tolist():
            some = np.flatnonzero(deeper == again)
            rows[some], cosines[some] = self.walked(queries[some], wanted, again)
        return [
            None if deep >= MOST_DEPTH else _left(each, near, count, wanted, mask)
            for each, near, deep in zip(rows, cosines, deeper.tolist(), strict=True)
        ]

    def walked(self, queries: Vectors, wanted: int, depth: int) -> tuple[Found, Likeness]:
        """(N, wanted) each; -1 and the least of cosines where a walk found fewer."""
        parameters = faiss.SearchParametersHNSW(efSearch=depth)  # type: ignore[attr-defined]
        cosines, rows = self.index.search(queries, wanted, params=parameters)
        return rows, cosines


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


def build(flat: faiss.IndexScalarQuantizer, list_of: Lists, stopped: Stopped) -> Graph | None:
    """`list_of`: which of the segment's lists each row lies in. None where no walk finds enough of
    the neighbours of the rows. Raises Interrupted.

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
    return _measured(index, flat, list_of, stopped)


@dataclass(frozen=True)
class _Probes:
    """Queries whose nearest rows are known."""

    queries: Vectors  # (N, D)
    last: Cosines  # (N,) of the last of those that are to be found
    itself: int = 0  # 1: a query is a row, which does not count

    @staticmethod
    def rows(flat: faiss.IndexScalarQuantizer, rows: Rows, stopped: Stopped) -> _Probes:
        queries = decoded(flat, rows)
        return _Probes(queries, _last(flat, queries, PROBE_NEIGHBOURS + 1, stopped), 1)

    def beside(
        self,
        flat: faiss.IndexScalarQuantizer,
        rng: np.random.Generator,
        stopped: Stopped,
        share: float = BESIDE,
    ) -> _Probes:
        """As far from their rows as a query may be that is none of them: a walk from a row to its
        own neighbours has links to go by, and finds more."""
        distance = share * np.sqrt(np.maximum(2 - 2 * self.last, 0.0))
        noise = rng.standard_normal(self.queries.shape, np.float32)
        queries = self.queries + distance[:, None] * noise / np.sqrt(noise.shape[1])
        queries = (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32)
        return _Probes(queries, _last(flat, queries, PROBE_NEIGHBOURS, stopped))

    def depth(self, graph: Graph, recall: float, stopped: Stopped) -> int:
        """How deep walks have to be; 0 where no depth suffices."""
        for depth in DEPTHS:
            if self.found(graph, depth, stopped).mean() >= recall:
                return depth
        return 0

    def found(self, graph: Graph, depth: int, stopped: Stopped) -> Shares:
        """Of the neighbours of each, the share that a walk finds; equally near are as good. (N,)"""
        found = np.empty(len(self.queries))
        wanted = PROBE_NEIGHBOURS + self.itself
        for start in range(0, len(found), COMPARED_AT_ONCE):
            if stopped():
                raise Interrupted
            some = slice(start, start + COMPARED_AT_ONCE)
            cosines = graph.walked(self.queries[some], wanted, depth)[1]
            near = np.count_nonzero(cosines >= self.last[some, None] - 1e-6, axis=1)
            found[some] = (near - self.itself) / PROBE_NEIGHBOURS
        return found


def _last(
    flat: faiss.IndexScalarQuantizer, queries: Vectors, wanted: int, stopped: Stopped
) -> Cosines:
    """The cosine of each query's last of so many nearest rows."""
    last = np.empty(len(queries), np.float32)
    for start in range(0, len(queries), COMPARED_AT_ONCE):
        if stopped():
            raise Interrupted
        some = slice(start, start + COMPARED_AT_ONCE)
        last[some] = flat.search(queries[some], wanted)[0][:, -1]
    return last


def _measured(
    index: faiss.IndexHNSW, flat: faiss.IndexScalarQuantizer, list_of: Lists, stopped: Stopped
) -> Graph | None:
    """With the shortest walk that finds the neighbours of some of the rows, themselves left out,
    and of rows in the lists where walks find least."""
    count = int(flat.ntotal)
    rng = np.random.default_rng(count)
    some = _Probes.rows(flat, rng.permutation(count)[:PROBES], stopped)
    shallow = Graph(index, flat, list_of, Walk(SHALLOW))
    depth = some.depth(shallow, PROBE_RECALL, stopped)
    if not depth:
        return None
    worst = _worst(shallow, flat, list_of, rng, stopped)
    measured = ((each, probes.depth(shallow, WORST_RECALL, stopped)) for each, probes in worst)
    deep = [(each, own) for each, own in measured if not own or own > depth]
    unlike = [some, *(some.beside(flat, rng, stopped, share) for share in UNLIKE)]
    below = _below(shallow, depth, unlike, stopped)
    return Graph(index, flat, list_of, Walk(depth, deep, below))


def _below(
    graph: Graph, depth: int, probes: Sequence[_Probes], stopped: Stopped
) -> list[tuple[float, int]]:
    """From which cosine of their last hit on queries find too few by a walk of this depth, and by
    deeper ones."""
    last = np.concatenate([each.last for each in probes])
    order = np.argsort(-last, kind="stable")
    below = []
    for times, next_depth in zip((1, *DEEPER), (*(t * depth for t in DEEPER), 0), strict=True):
        found = np.concatenate([each.found(graph, times * depth, stopped) for each in probes])
        for start in range(0, len(order), ALIKE):
            alike = order[start : start + ALIKE]
            if found[alike].mean() < PROBE_RECALL:
                below.append((float(last[alike].max()), next_depth))
                break
    return below


def _worst(
    graph: Graph,
    flat: faiss.IndexScalarQuantizer,
    list_of: Lists,
    rng: np.random.Generator,
    stopped: Stopped,
) -> Iterator[tuple[int, _Probes]]:
    """The lists where short walks find least, each with queries beside its rows."""
    order = rng.permutation(len(list_of))
    order = order[np.argsort(list_of[order], kind="stable")]  # at random within each list
    lists, first, sizes = np.unique(list_of[order], return_index=True, return_counts=True)
    place = np.arange(len(order)) - np.repeat(first, sizes)
    asked = order[place < PER_LIST]
    found = _Probes.rows(flat, asked, stopped).beside(flat, rng, stopped)
    shares = found.found(graph, SHALLOW, stopped)
    means = np.bincount(list_of[asked], shares)[lists] / np.minimum(sizes, PER_LIST)
    for place in np.argsort(means, kind="stable")[: max(1, int(len(lists) * WORST))].tolist():
        own = order[first[place] : first[place] + sizes[place]]
        # Not by those that chose the list, where there are others.
        own = own[PER_LIST : PER_LIST + WORST_PROBES] if len(own) > PER_LIST else own
        yield int(lists[place]), _Probes.rows(flat, own, stopped).beside(flat, rng, stopped)
