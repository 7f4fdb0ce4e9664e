"""The parts that an index is made of: blocks that grow, and segments that are sealed.

A part never moves its rows, and what it publishes it never takes back: a search needs no lock
beside an addition or a removal. Whoever changes a part sees to it that nobody else does.
"""

from __future__ import annotations

import ctypes
import mmap
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from weakref import finalize, ref

import faiss
import numpy as np
import numpy.typing as npt

from memory_service.storage.vectors.nearest import (
    NO_COSINES,
    NO_SEQUENCES,
    SEGMENT_BITS,
    Allowed,
    Cosines,
    Ids,
    Mask,
    Query,
    Rows,
    Sequences,
    Vectors,
    segments_of,
)

Codes = npt.NDArray[np.uint8]  # (N, 2 D): vectors in fp16

# Up to so many allowed rows are copied together and compared one by one; see docs/experiments.md.
GATHERED = 4096
TABLE_FROM = 32  # a filter that allows more than 1 / so many of the rows is looked up by a table
KEPT_SHARE = 8  # one of so many of a part's rows are kept copied together, for filters asked again
KEPT = 16  # filters at most: so many are gone through for each search
HUGE_PAGE = 2 * 2**20  # bytes; one by one, rows in such are compared in two thirds of the time

Stopped = Callable[[], bool]


class Interrupted(Exception):
    """Building was given up: the service closes, or there is something else to do first."""


def fp16_index(dimension: int) -> faiss.IndexScalarQuantizer:
    """An empty exact index. fp16 halves the memory and keeps recall@10 above 0.999."""
    return faiss.IndexScalarQuantizer(
        dimension, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )


def reserve(index: faiss.IndexScalarQuantizer, rows: int) -> None:
    """Take the addresses for so many rows at once; the index stays empty."""
    # A vector keeps its memory when it shrinks, and takes no other as long as it suffices.
    index.codes.resize(rows * int(index.code_size))
    index.codes.resize(0)
    # Pages are left to others until they are written to: a block is long before it is full.
    _advise(codes_in(index, rows), "MADV_DONTNEED", mmap.PAGESIZE)


def _advise(codes: Codes, advice: str, page: int) -> None:
    """For the pages that the codes fill; without effect where the system knows no such advice."""
    start = -(-codes.ctypes.data // page) * page
    size = (codes.ctypes.data + codes.nbytes) // page * page - start
    if size > 0:
        with suppress(OSError, AttributeError):  # another C library
            madvise = ctypes.CDLL(None).madvise
            madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), getattr(mmap, advice))


def add_codes(index: faiss.IndexScalarQuantizer, codes: Codes) -> None:
    codes = np.ascontiguousarray(codes)
    index.add_sa_codes(codes)


def codes_in(index: faiss.IndexScalarQuantizer, capacity: int) -> Codes:
    """The memory of an index' vectors as an array (capacity, 2 D), without a copy."""
    size = int(index.code_size)
    codes = faiss.rev_swig_ptr(index.codes.data(), capacity * size)
    return np.asarray(codes).reshape(capacity, size)


def decoded(index: faiss.IndexScalarQuantizer, rows: Rows) -> Vectors:
    """Some of an index' rows (N, D) in float32."""
    codes = np.ascontiguousarray(codes_in(index, int(index.ntotal))[rows])
    vectors: Vectors = index.sa_decode(codes)
    return vectors


def selector(mask: Mask) -> faiss.IDSelectorBitmap:
    return faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))  # type: ignore[call-arg, arg-type]


class Best:
    """What a search has found so far, in the parts that it has been through.

    Knows what a row has to reach to be among the `depth` best of all.
    """

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._found: list[Cosines] = []  # most indexes have one part, and nobody asks

    def add(self, cosines: Cosines) -> None:
        self._found.append(cosines)

    def least(self, hits: int, more: Cosines = NO_COSINES) -> float:
        """The cosine of the last of so many hits, with `more` among them; -inf with fewer."""
        if len(self._found) > 1:
            self._found = [np.sort(np.concatenate(self._found))[::-1][: self._depth]]
        every = np.concatenate([*self._found, more])
        return float(np.sort(every)[-hits]) if len(every) >= hits else -np.inf


@dataclass(frozen=True)
class _Copied:
    """Rows that a filter allows, copied together, and how many had been removed of the part. Only
    the very same mask finds them: where it is gone, they are of no use."""

    mask: ref[Mask]
    removed: int
    rows: Rows
    index: faiss.IndexScalarQuantizer


class Part(ABC):
    """Vectors in rows 0 ... count - 1, some of them removed."""

    dimension: int
    count: int  # rows, those removed among them
    removed: int = 0
    ids: Ids  # (count or more,)
    codes: Codes  # (count or more, 2 D)
    alive: Mask  # (count or more,) False: removed
    rising: bool = True  # the ids rise from row to row
    _kept: tuple[_Copied, ...] = ()  # those asked last first

    @property
    def full(self) -> bool:
        """No row is added any more."""
        return True

    @property
    def size_bytes(self) -> int:
        """That its rows take, in memory or mapped from a file, with all that finds them."""
        row = 2 * self.dimension + self.ids.itemsize
        copied = sum(len(each.rows) for each in self._kept)
        return self.count * (row + self.alive.itemsize) + copied * row

    def rows_of(self, sequences: Sequences) -> Rows:
        """The rows of these memories that are not removed, those of a memory together."""
        ids, order = self.ids[: self.count], None
        if not self.rising:
            order = np.argsort(ids, kind="stable")
            ids = ids[order]
        first = np.searchsorted(ids, sequences << SEGMENT_BITS)
        behind = np.searchsorted(ids, (sequences + 1) << SEGMENT_BITS)
        lengths = behind - first
        starts = np.repeat(first - np.cumsum(lengths) + lengths, lengths)
        rows = starts + np.arange(len(starts))
        if order is not None:
            rows = order[rows]
        there: Rows = rows[self.alive[rows]]
        return there

    def remove(self, rows: Rows) -> None:
        self.alive[rows] = False
        self.removed += len(rows)
        self._kept = ()  # what is removed is not to stay in them

    def living(self) -> Rows:
        return np.flatnonzero(self.alive[: self.count])

    def wholes(self) -> int:
        """How many memories have their vector of the whole here."""
        return int(np.count_nonzero(segments_of(self.ids[self.living()]) == 0))

    def nearest_of_each(
        self, queries: Vectors, depth: int, best: Sequence[Best]
    ) -> list[tuple[Ids, Cosines]]:
        """For each of the queries (N, D) the `depth` nearest rows, in no order; fewer only when
        there are fewer, or when others are not among the best of all. Adds to `best`."""
        mask = self.alive[: self.count] if self.removed else None
        left = self.count if mask is None else int(np.count_nonzero(mask))
        found = self.search(queries, depth, mask, left, best)
        return [self._found(*each, so_far) for each, so_far in zip(found, best, strict=True)]

    def nearest(
        self, query: Query, depth: int, allowed: Allowed | None, best: Best
    ) -> tuple[Ids, Cosines]:
        """The same of the allowed rows."""
        if allowed is None:
            return self.nearest_of_each(query[None], depth, [best])[0]
        full = self.full  # before the rows are counted: what is full then, stays as it is
        count = self.count
        if len(allowed) * TABLE_FROM <= count:
            rows = self.rows_of(allowed.sequences)
            if len(rows) <= self.gathered():
                return self._found(*self.gather(query, rows, depth), best)
            rows = rows[rows < count]  # or they came meanwhile
            there = np.zeros(count, np.bool_)
            there[rows] = True
            found = self.search(query[None], depth, there, len(rows), [best])
            return self._found(*found[0], best)
        mask = allowed.rows(self, self.ids[:count], remember=full)
        copied = self._copied_before(mask) if full else None
        if copied is None:
            removed = self.removed
            there = mask & self.alive[:count]
            left = int(np.count_nonzero(there))
            if left > self.gathered():
                return self._found(*self.search(query[None], depth, there, left, [best])[0], best)
            rows = np.flatnonzero(there)
            copied = _Copied(ref(mask), removed, rows, self._together(rows))
        if full:
            self._keep(copied)
        places, cosines = _ranked(copied.index, query, depth)
        return self._found(copied.rows[places], cosines, best)

    def _copied_before(self, mask: Mask) -> _Copied | None:
        """What was copied for this very mask, unless something was removed since."""
        for copied in self._kept:
            if copied.mask() is mask and copied.removed == self.removed:
                return copied
        return None

    def _keep(self, copied: _Copied) -> None:
        """Before the others, of which those asked for least recently make room."""
        before = self._kept
        if before and before[0] is copied:
            return
        room = self.count // KEPT_SHARE
        if not 0 < len(copied.rows) <= room:  # none take no time without
            return
        others = [
            each
            for each in before
            if each.removed == copied.removed
            and (mask := each.mask()) is not None
            and mask is not copied.mask()
        ]
        kept: list[_Copied] = []
        for each in [copied, *others][:KEPT]:
            room -= len(each.rows)
            if room < 0:
                break
            kept.append(each)
        self._kept = tuple(kept)
        if self.removed != copied.removed:  # since the rows were chosen
            self._kept = ()

    def _found(self, rows: Rows, cosines: Cosines, best: Best) -> tuple[Ids, Cosines]:
        best.add(cosines)
        return self.ids[rows], cosines

    def gathered(self) -> int:
        return GATHERED

    def gather(self, query: Query, rows: Rows, depth: int) -> tuple[Rows, Cosines]:
        """Compare just these rows, exactly."""
        places, cosines = self.ranked(query, rows, depth)
        return rows[places], cosines

    def ranked(self, query: Query, rows: Rows, depth: int) -> tuple[Rows, Cosines]:
        """Places among `rows`, best first, and cosines."""
        return _ranked(self._together(rows), query, depth)

    def _together(self, rows: Rows) -> faiss.IndexScalarQuantizer:
        copied = fp16_index(self.dimension)
        if len(rows):
            add_codes(copied, self.codes[rows])
        return copied

    @abstractmethod
    def search(
        self, queries: Vectors, depth: int, mask: Mask | None, left: int, best: Sequence[Best]
    ) -> list[tuple[Rows, Cosines]]:
        """For each query the nearest rows of `mask`, which leaves so many; of all without one."""


def _ranked(copied: faiss.IndexScalarQuantizer, query: Query, depth: int) -> tuple[Rows, Cosines]:
    """Rows of an index, best first, and cosines."""
    if not copied.ntotal:
        return NO_SEQUENCES, NO_COSINES
    cosines, places = copied.search(query[None], min(depth, int(copied.ntotal)))
    return places[0], cosines[0]


def scan(
    index: faiss.IndexScalarQuantizer, queries: Vectors, depth: int, mask: Mask | None
) -> list[tuple[Rows, Cosines]]:
    """Compare all rows of the mask, exactly."""
    if depth <= 0:  # everything is removed
        return [(NO_SEQUENCES, NO_COSINES)] * len(queries)
    parameters = None
    if mask is not None:
        chosen = selector(mask)
        parameters = faiss.SearchParameters(sel=chosen)  # type: ignore[call-arg]
    cosines, rows = index.search(queries, depth, params=parameters)
    return [(each[each >= 0], near[each >= 0]) for each, near in zip(rows, cosines, strict=True)]


class Block(Part):
    """Grows up to a capacity that is reserved at once, so that nothing is ever moved. Exact."""

    def __init__(self, dimension: int, capacity: int) -> None:
        self.dimension = dimension
        self.capacity = capacity
        self.count = 0
        self.ids = np.zeros(capacity, np.int64)
        self.alive = np.ones(capacity, np.bool_)
        self._index = fp16_index(dimension)
        reserve(self._index, capacity)
        self.codes = codes_in(self._index, capacity)
        if self.codes.nbytes >= 2 * HUGE_PAGE:
            _advise(self.codes, "MADV_HUGEPAGE", HUGE_PAGE)
            # The C library may give the same memory to others, a few bytes at a time.
            finalize(self, _advise, self.codes, "MADV_NOHUGEPAGE", HUGE_PAGE).atexit = False

    @property
    def room(self) -> int:
        return self.capacity - self.count

    @property
    def full(self) -> bool:
        return not self.room

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """Rows (N, D); N at most `room`."""
        self._announce(ids)
        self._index.add(np.ascontiguousarray(vectors, np.float32))
        self.count += len(ids)

    def add_codes(self, ids: Ids, codes: Codes) -> None:
        self._announce(ids)
        add_codes(self._index, codes)
        self.count += len(ids)

    def _announce(self, ids: Ids) -> None:
        """Everything that a search reads of the rows, before it can find them."""
        start = self.count
        if self.rising and len(ids):
            follows = not start or ids[0] > self.ids[start - 1]
            self.rising = bool(follows and (len(ids) == 1 or (ids[1:] > ids[:-1]).all()))
        self.ids[start : start + len(ids)] = ids

    def remove(self, rows: Rows) -> None:
        super().remove(rows)
        self.codes[rows] = 0  # what is deleted is gone at once where it can be

    def close(self) -> None:
        """No row is added any more."""
        self.capacity = self.count

    def gathered(self) -> int:
        return max(GATHERED // 8, self.count // 4)

    def search(
        self, queries: Vectors, depth: int, mask: Mask | None, left: int, best: Sequence[Best]
    ) -> list[tuple[Rows, Cosines]]:
        return scan(self._index, queries, min(depth, left), mask)


def block_of(ids: Ids, chunks: Iterable[Codes], dimension: int) -> Block:
    """A block of just these rows, to which nothing is added."""
    block = Block(dimension, len(ids))
    for chunk in chunks:
        block.add_codes(ids[block.count : block.count + len(chunk)], chunk)
    return block
