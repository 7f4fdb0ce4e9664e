"""A sealed segment: many rows that are found by lists and short codes, then compared exactly.

The rows lie in lists around centroids (IVF). A search looks into the lists whose centroids are
nearest, estimates cosines from one bit per dimension there (RaBitQ, Gao and Long 2024), and
compares the best of these with the fp16 vectors themselves. How many lists that takes depends on
the data: each segment measures it on its own rows when it is built. Where the estimates turn out to
be too coarse for a query (in the hole that a deleted cluster leaves, say), all rows are compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import faiss
import numpy as np
import numpy.typing as npt

from memory_service.storage.vectors import graph, linking
from memory_service.storage.vectors.nearest import Cosines, Ids, Mask, Query, Rows, Vectors
from memory_service.storage.vectors.parts import (
    Best,
    Codes,
    Interrupted,
    Part,
    Stopped,
    add_codes,
    codes_in,
    decoded,
    fp16_index,
    reserve,
    scan,
    selector,
)

ROWS_PER_LIST = 256  # about; from LISTS_AT_LEAST
LISTS = (16, 512)  # at least, at most
TRAINING_ROWS_PER_LIST = 64
TRAINING_ROUNDS = 10
ENCODED_AT_ONCE = 16_384  # rows as float32 beside the rest
QUERY_BITS = 4  # that RaBitQ rounds a query to

PROBES = 128  # rows that a segment is measured with, and their neighbours
PROBE_NEIGHBOURS = 10
TURNED_AT_ONCE = 1024  # rows of products, which stay in a cache meanwhile
PROBE_RECALL = 0.995
LEAST_SHARE = 1 / 16  # of the lists is looked into in any case: queries are unlike what is stored
LEAST_LISTS = 16  # are as good as that share of more
CANDIDATES = 200  # are compared exactly
CANDIDATES_PER_HIT = 4  # at least
AS_USUAL = (
    0.8  # of the rows allowed on the whole; fewer near the query: what is allowed lies elsewhere
)
UNLIKELY = 3.0  # standard deviations that a row is estimated too low by
TELLING = 48  # rows are compared in any case, and tell how wrong estimates are
FEWEST = 32  # tell it at all
LATE = 0.7  # of the lists that are looked into are not late
DEEPER = 2  # times as many lists, when there may be more behind them
CLEAR = 2.0  # standard deviations of the estimates between what is found and what is left out
SELECTED_BELOW = 0.08  # of the rows allowed: others are left out while lists are looked into
SPARE = 1.2  # times as many as are wanted on the average
MOSTLY = 0.8  # of the rows are allowed: then the graph is walked, where there is one


# Inner products (1, L) of the centroids that a query is nearest to, and their numbers (1, L).
Near = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]


@dataclass(frozen=True)
class Depth:
    """What a search looks at: the share of the lists, and how many rows are compared exactly."""

    lists: int
    candidates: int


@dataclass(frozen=True)
class Candidates:
    """Rows that were compared exactly, best first, and what had been estimated of each."""

    rows: Rows  # (N,)
    cosines: Cosines  # (N,)
    estimates: Cosines  # (N,)
    left_out: float  # the estimate of the last row that was looked at, compared or not

    @cached_property
    def error(self) -> float | None:
        """The standard deviation of estimates; None of too few rows, which tell nothing."""
        if len(self.rows) < FEWEST:
            return None
        off = self.estimates - self.cosines
        off -= off.mean()
        return math.sqrt(float(off @ off) / len(off))  # in half the time of NumPy's own

    def clear(self, hits: int, best: Best) -> bool:
        """Whether the nearest of all stand out from what was left out here, given how wrong
        estimates are. A query that is unlike all that is stored has its nearest all about and all
        about as far: estimates cannot tell then which of the rows to compare."""
        error = self.error
        if error is None:
            return False
        return best.least(hits, self.cosines) - self.left_out >= CLEAR * error


class Segment(Part):
    """`flat`: all rows in fp16, exact; `lists`: the same rows, in the same order. Ids rise."""

    def __init__(
        self,
        ids: Ids,
        flat: faiss.IndexScalarQuantizer,
        lists: faiss.IndexIVFRaBitQ,
        depth: Depth,
    ) -> None:
        self.dimension = int(flat.d)
        self.count = len(ids)
        self.ids = ids
        self.alive = np.ones(len(ids), np.bool_)
        self.flat, self.lists, self.depth = flat, lists, depth
        self.codes = codes_in(flat, self.count)
        self.list_of = _list_of(lists)
        self._list_sizes = np.bincount(self.list_of, minlength=int(lists.nlist))
        self.stored_as: str | None = None  # the name of its files, where there are any
        self.graph: graph.Graph | None = None
        self.linked = False  # or it was tried

    @property
    def size_bytes(self) -> int:
        listed = int(self.lists.code_size) + self.ids.itemsize + self.list_of.itemsize
        linked = 0 if self.graph is None else self.graph.size_bytes
        return super().size_bytes + self.count * listed + linked

    def link(self, stopped: Stopped) -> None:
        """Make the graph; searches go on meanwhile. Raises Interrupted."""
        self.graph = linking.build(self.flat, self.list_of, stopped)
        self.linked = True

    def search(
        self, queries: Vectors, depth: int, mask: Mask | None, left: int, best: Sequence[Best]
    ) -> list[tuple[Rows, Cosines]]:
        depth = min(depth, left)
        found: list[tuple[Rows, Cosines] | None]
        if self.graph is not None and left >= MOSTLY * self.count and depth <= graph.MOST_HITS:
            found = self.graph.nearest(queries, depth, mask)
        else:
            found = [
                self._by_lists(query, depth, mask, left, so_far)
                for query, so_far in zip(queries, best, strict=True)
            ]
        missed = [place for place, each in enumerate(found) if each is None]
        exact = iter(scan(self.flat, queries[missed], depth, mask) if missed else ())
        return [next(exact) if each is None else each for each in found]

    def _by_lists(
        self, query: Query, depth: int, mask: Mask | None, left: int, best: Best
    ) -> tuple[Rows, Cosines] | None:
        """None where estimates cannot tell which rows are nearest."""
        wanted = self._wanted(depth)
        if 2 * wanted >= left or not self._as_usual(query, mask, left):
            return None
        least = best.least(depth)
        found = self.candidates(query, wanted, mask, left, least)
        if len(found.rows) < depth and least == -np.inf:
            return None
        if not found.clear(min(depth, PROBE_NEIGHBOURS), best):
            return None
        return found.rows[:depth], found.cosines[:depth]

    def _wanted(self, depth: int) -> int:
        return max(self.depth.candidates, CANDIDATES_PER_HIT * depth)

    def candidates(
        self,
        query: Query,
        wanted: int,
        mask: Mask | None,
        left: int,
        least: float = -np.inf,
    ) -> Candidates:
        """About as many rows as wanted, the best by their estimated cosines; of these only such
        as may reach the cosine `least`, and some that tell how wrong estimates are."""
        # Among fewer rows, the nearest lie farther from each other.
        every, share = int(self.lists.nlist), left / self.count
        looked = min(every, int(self.depth.lists / share**0.5) + 1)
        while True:
            near = self.lists.quantizer.search(query[None], looked)
            rows, estimates = self._estimate(query, near, wanted, mask, share)
            found = self._compared(query, rows, estimates, least)
            late = near[1][0, int(looked * LATE) :]
            if looked == every or not self._more_behind(late, found.rows, len(rows) < wanted):
                return found
            looked = min(every, DEEPER * looked)

    def _compared(self, query: Query, rows: Rows, estimates: Cosines, least: float) -> Candidates:
        """Of rows, the best by their estimates first, those that may reach the cosine `least`. How
        wrong estimates are differs from segment to segment, and the first of them tell it."""
        left_out = float(estimates[-1]) if len(estimates) else -np.inf
        first = len(rows) if least == -np.inf else min(TELLING, len(rows))
        places, cosines = self.ranked(query, rows[:first], first)
        found = Candidates(rows[places], cosines, estimates[places], left_out)
        error = found.error
        if first == len(rows) or error is None:
            return found
        hopeful = int(np.count_nonzero(estimates >= least - UNLIKELY * error))
        if hopeful <= first:
            return found
        more, further = self.ranked(query, rows[first:hopeful], hopeful - first)
        places = np.concatenate([places, first + more])
        cosines = np.concatenate([cosines, further])
        order = np.argsort(-cosines, kind="stable")
        places = places[order]
        return Candidates(rows[places], cosines[order], estimates[places], left_out)

    def _more_behind(self, late: Rows, best: Rows, few: bool) -> bool:
        """Whether too few rows were found, or one of the best in a list that was among the last to
        be looked into: a query that is unlike what is stored has its nearest all about."""
        if few:
            return True
        lately = np.zeros(int(self.lists.nlist), np.bool_)
        lately[late] = True
        return bool(lately[self.list_of[best[:PROBE_NEIGHBOURS]]].any())

    def _as_usual(self, query: Query, mask: Mask | None, left: int) -> bool:
        """Whether a mask leaves near the query about what it leaves on the whole.

        What is allowed lies elsewhere otherwise, far from the query and all about as far: then
        estimates cannot tell which of it is nearest.
        """
        if mask is None:
            return True
        near = np.zeros(int(self.lists.nlist), np.bool_)
        near[self.lists.quantizer.search(query[None], self.depth.lists)[1][0]] = True
        shut_out = np.count_nonzero(near[self.list_of[np.flatnonzero(~mask)]])
        rows = max(1, int(self._list_sizes[near].sum()))
        return bool(1 - shut_out / rows >= AS_USUAL * left / self.count)

    def _estimate(
        self, query: Query, near: Near, wanted: int, mask: Mask | None, share: float
    ) -> tuple[Rows, Cosines]:
        """The best rows of these lists that a mask leaves, by their estimated cosines."""
        chosen, asked = None, wanted
        if mask is not None and share < SELECTED_BELOW:
            chosen = selector(mask)
        elif mask is not None:  # a selector takes longer than what is left out
            asked = int(wanted / share * SPARE)
        parameters = faiss.IVFRaBitQSearchParameters(  # type: ignore[call-arg]
            nprobe=near[1].shape[1], qb=QUERY_BITS, sel=chosen
        )
        rows, estimates = np.empty(asked, np.int64), np.empty(asked, np.float32)
        query = np.ascontiguousarray(query)
        pointers = [faiss.swig_ptr(each) for each in (near[1], near[0], estimates, rows)]
        # The wrapper of FAISS takes no parameters.
        self.lists.search_preassigned_c(  # type: ignore[attr-defined]
            1, faiss.swig_ptr(query), asked, *pointers, False, parameters
        )
        there = rows >= 0
        rows, estimates = rows[there], estimates[there]
        if mask is not None:
            allowed = np.flatnonzero(mask[rows])[:wanted]
            rows, estimates = rows[allowed], estimates[allowed]
        return rows, estimates


def _list_of(lists: faiss.IndexIVFRaBitQ) -> npt.NDArray[np.uint16]:
    """The list that each row lies in, (count,)."""
    found = np.zeros(int(lists.ntotal), np.uint16)
    inverted = lists.invlists
    assert inverted is not None
    for number in range(int(lists.nlist)):
        size = int(inverted.list_size(number))
        if size:
            found[faiss.rev_swig_ptr(inverted.get_ids(number), size)] = number
    return found


def build(ids: Ids, chunks: Iterable[Codes], dimension: int, stopped: Stopped) -> Segment:
    """Seal rows whose ids rise; `chunks` are their vectors, in the same order. Raises Interrupted.

    The interpreter's lock is free in nearly all of the time that it takes.
    """
    flat = _collected(chunks, len(ids), dimension)
    count = len(ids)
    rng = np.random.default_rng(count)
    number = int(np.clip(count // ROWS_PER_LIST, *LISTS))
    centroids = faiss.IndexFlatIP(dimension)
    lists = faiss.IndexIVFRaBitQ(centroids, dimension, number, faiss.METRIC_INNER_PRODUCT)
    lists.own_fields = True
    centroids.this.disown()  # type: ignore[attr-defined]
    lists.cp.niter = TRAINING_ROUNDS
    lists.cp.max_points_per_centroid = TRAINING_ROWS_PER_LIST
    lists.cp.min_points_per_centroid = 1
    sample = np.sort(rng.permutation(count)[: number * TRAINING_ROWS_PER_LIST])
    lists.train(decoded(flat, sample))
    probes = rng.permutation(count)[:PROBES]
    queries = decoded(flat, probes)
    neighbours = _Neighbours(queries)
    for start in range(0, count, ENCODED_AT_ONCE):
        if stopped():
            raise Interrupted
        vectors = decoded(flat, np.arange(start, min(start + ENCODED_AT_ONCE, count)))
        lists.add(vectors)
        neighbours.look(vectors)
    segment = Segment(ids, flat, lists, Depth(1, 1))
    segment.depth = _measured(segment, probes, queries, neighbours, stopped)
    return segment


class _Neighbours:
    """The nearest rows of each query (N, D), and itself where it is one, among all that it is shown
    of them in their order. A product of matrices takes a quarter of what FAISS takes for that; by
    FAISS, since NumPy's would not keep to the threads that were set for the calling thread."""

    def __init__(self, queries: Vectors) -> None:
        self._seen = 0
        self._product = faiss.LinearTransform(queries.shape[1], len(queries), False)
        faiss.copy_array_to_vector(np.ascontiguousarray(queries).ravel(), self._product.A)
        self._product.is_trained = True
        self._cosines = np.empty((len(queries), 0), np.float32)
        self.rows = np.empty((len(queries), 0), np.int64)  # (N, PROBE_NEIGHBOURS + 1), in no order

    def look(self, vectors: Vectors) -> None:
        cosines = np.empty((len(self.rows), len(vectors)), np.float32)
        for start in range(0, len(vectors), TURNED_AT_ONCE):
            here = slice(start, start + TURNED_AT_ONCE)
            cosines[:, here] = self._product.apply(vectors[here]).T
        rows = _highest(cosines)
        cosines = np.take_along_axis(cosines, rows, axis=1)
        cosines = np.concatenate([self._cosines, cosines], axis=1)
        rows = np.concatenate([self.rows, rows + self._seen], axis=1)
        best = _highest(cosines)
        self._cosines = np.take_along_axis(cosines, best, axis=1)
        self.rows = np.take_along_axis(rows, best, axis=1)
        self._seen += len(vectors)


def _highest(cosines: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Where the highest of each row are, PROBE_NEIGHBOURS + 1 of them, in no order."""
    wanted = min(PROBE_NEIGHBOURS + 1, cosines.shape[1])
    highest: npt.NDArray[np.int64] = np.argpartition(cosines, -wanted, axis=1)[:, -wanted:]
    return highest


def _collected(chunks: Iterable[Codes], count: int, dimension: int) -> faiss.IndexScalarQuantizer:
    flat = fp16_index(dimension)
    reserve(flat, count)
    for chunk in chunks:
        add_codes(flat, chunk)
    return flat


def _measured(
    segment: Segment, probes: Rows, queries: Vectors, exact: _Neighbours, stopped: Stopped
) -> Depth:
    """The least depth that finds the neighbours of some of the rows, themselves left out."""
    every, wanted = int(segment.lists.nlist), PROBE_NEIGHBOURS + 1
    for candidates in (CANDIDATES, 4 * CANDIDATES, 16 * CANDIDATES):
        number = max(1, min(int(every * LEAST_SHARE), LEAST_LISTS))
        while True:
            if stopped():
                raise Interrupted
            segment.depth = Depth(min(number, every), candidates)
            found = [
                set(segment.candidates(query, candidates, None, segment.count).rows[:wanted])
                for query in queries
            ]
            recalled = sum(
                len(each & set(best) - {row}) / PROBE_NEIGHBOURS
                for each, best, row in zip(found, exact.rows, probes, strict=True)
            )
            if recalled >= PROBE_RECALL * len(probes):
                return segment.depth
            if number >= every:
                break
            number = int(number * 1.5) + 1
    return Depth(every, 64 * CANDIDATES)
