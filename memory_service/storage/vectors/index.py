"""One sub-memory's vectors: few are searched exactly, many in sealed segments."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock

import faiss
import numpy as np

from memory_service.storage.vectors.nearest import (
    NO_COSINES,
    NO_SEQUENCES,
    NOTHING,
    Allowed,
    Cosines,
    Ids,
    Nearest,
    Query,
    Rows,
    Sequences,
    Vectors,
    distinct,
    ids_of,
    segments_of,
    sequences_of,
)
from memory_service.storage.vectors.parts import Best, Block, Codes, Part, Stopped, block_of
from memory_service.storage.vectors.sealed import ENCODED_AT_ONCE, Segment, build
from memory_service.storage.vectors.snapshots import Snapshot

GROWTH = 4  # a segment is sealed again with at least a quarter as many rows
CALM_GROWTH = 8  # the same where little comes, up to the size of a graph
DEEPER = 8  # times as many vectors, when those found are of too few memories


@dataclass(frozen=True)
class Sizes:
    """When what is done; measured, see docs/experiments.md. All in rows.

    Raises ValueError where what waits in blocks could never be sealed.
    """

    exact: int = 24_576  # are searched one by one, as long as nothing is sealed
    buffer: int = 16_384  # the same beside sealed segments
    buffers: int = 4  # times as many, at most an eighth, while much comes
    segment: int = 262_144  # at most in one
    least_segment: int = 4_096  # fewer go back into a block, and are not sealed at rest
    linked: int = 131_072  # at most in a segment that gets a graph
    first_block: int = 64
    block: int = 16_384  # at most in one
    unsaved: int = 16_384  # changed since the last snapshot
    linked_per_s: int = 2_000  # about, with other work beside; rarely less
    removed_share: float = 1 / 16  # of a segment, from which it is built anew

    def __post_init__(self) -> None:
        waiting = max(self.exact, self.buffer * self.buffers)
        if self.segment < waiting + self.block:
            raise ValueError(
                f"a segment of {self.segment} rows has no room for the {waiting} that wait in"
                f" blocks (exact, buffer x buffers), and one more block of {self.block}"
            )
        if self.least_segment > min(self.exact, self.buffer):
            raise ValueError(
                f"segments of at least {self.least_segment} rows, but {self.exact} and"
                f" {self.buffer} (exact, buffer) are to be sealed"
            )


class VectorIndex:
    """Inner-product search over fp16 vectors, addressed by memory sequence.

    Vectors are of unit length, so inner products are cosines. A memory has one vector, or besides
    that of the whole (segment 0) those of its segments 1 ... n; it is found, counted and removed as
    one. Safe for use from several threads: those that search wait for nobody.
    """

    def __init__(
        self,
        dimension: int,
        *,
        threads: int = 1,
        sizes: Sizes | None = None,
        snapshot: Snapshot | None = None,
    ) -> None:
        self.dimension = dimension
        self._threads = threads
        self._sizes = sizes or Sizes()
        self._snapshot = snapshot
        self._changes = self._saved = 0  # vectors added or memories removed in all, and saved
        self._dropped = False
        self._parts: tuple[Part, ...] = ()  # replaced, never changed
        self._wholes = 0
        self._writing = Lock()  # held for as long as an addition or a removal takes
        self._merging = Lock()
        # Called when there is something to merge or to save.
        self.when_due: Callable[[VectorIndex], None] = lambda index: None

    def __len__(self) -> int:
        """Number of memories."""
        return self._wholes

    @property
    def vectors(self) -> int:
        """How many there are, those of segments among them."""
        return sum(part.count - part.removed for part in self._parts)

    @property
    def size_bytes(self) -> int:
        """That all its parts take, in memory or mapped from files."""
        return sum(part.size_bytes for part in self._parts)

    @property
    def removed(self) -> int:
        """Vectors that no search finds any more, but that are not yet out of memory and files."""
        return sum(part.removed for part in self._parts)

    @property
    def parts(self) -> tuple[Part, ...]:
        return self._parts

    def add(
        self, sequences: Sequences, vectors: Vectors, segments: Sequences | None = None
    ) -> None:
        """Add rows (N, D) of unit length; without `segments`, each is of a whole memory."""
        ids = ids_of(sequences, np.zeros_like(sequences) if segments is None else segments)
        wholes = len(ids) if segments is None else len(ids) - int(np.count_nonzero(segments))
        with self._writing:
            start = 0
            while start < len(ids):
                block = self._open_block(len(ids) - start)
                end = min(start + block.room, len(ids))
                block.add(ids[start:end], vectors[start:end])
                start = end
            self._wholes += wholes
            self._changes += len(ids)
            due = self._due()
        if due:
            self.when_due(self)

    def _open_block(self, wanted: int) -> Block:
        """The block that rows are added to."""
        last = self._parts[-1] if self._parts else None
        if isinstance(last, Block) and last.room:
            return last
        sizes = self._sizes
        # The more there are, the more are reserved: small indexes stay small, blocks stay few.
        capacity = max(sizes.first_block, 4 * (last.count if last else 0), wanted)
        block = Block(self.dimension, min(capacity, sizes.block))
        self._parts = (*self._parts, block)
        return block

    def remove(self, sequences: Sequences) -> int:
        """Remove what is there of `sequences`; returns how many memories were.

        No search that begins afterwards finds them.
        """
        sequences = np.unique(sequences)
        before = self._wholes
        with self._writing:
            for part in self._parts:
                rows = part.rows_of(sequences)
                if len(rows):
                    self._wholes -= int(np.count_nonzero(segments_of(part.ids[rows]) == 0))
                    part.remove(rows)
            gone = before - self._wholes
            self._changes += gone
            due = self._due()
        if due:
            self.when_due(self)
        return gone

    def search(
        self, query: Query, k: int, allowed: Sequences | Allowed | None = None
    ) -> tuple[Sequences, Cosines]:
        """Sequences and cosines of `nearest`."""
        found = self.nearest(query, k, allowed)
        return found.sequences, found.cosines

    def nearest(self, query: Query, k: int, allowed: Sequences | Allowed | None = None) -> Nearest:
        """The k nearest memories, each by its nearest vector; fewer when there are fewer.

        `query` (D,) of unit length. `allowed`: search only these sequences. Exact as long as there
        is no sealed segment, and where few rows are allowed.
        """
        if allowed is not None:
            allowed = allowed if isinstance(allowed, Allowed) else Allowed(allowed)
            if not len(allowed):
                return NOTHING
        # OpenMP's number of threads is a setting of the calling thread.
        faiss.omp_set_num_threads(self._threads)
        parts = self._parts
        total = sum(part.count - part.removed for part in parts)
        k = depth = min(k, self._wholes, total)
        if k <= 0:
            return NOTHING
        while True:
            best = Best(depth)
            every = [part.nearest(query, depth, allowed, best) for part in parts if part.count]
            found, more = _best(every, k, depth)
            if not more or depth >= total:
                return found
            # One long memory may have more near vectors than were looked at.
            depth = min(DEEPER * depth, total)

    def nearest_of_each(self, queries: Vectors, k: int) -> list[Nearest]:
        """`nearest` of each of the queries (N, D), among all memories. The interpreter's lock is
        free nearly all of the time, where it is asked for again after each of single searches."""
        faiss.omp_set_num_threads(self._threads)
        parts = self._parts
        depth = min(k, self._wholes, sum(part.count - part.removed for part in parts))
        if depth <= 0:
            return [NOTHING] * len(queries)
        best = [Best(depth) for _ in queries]
        every = [part.nearest_of_each(queries, depth, best) for part in parts if part.count]
        of_all = [_best(found, depth, depth) for found in zip(*every, strict=True)]
        return [
            self.nearest(query, k) if more else found
            for query, (found, more) in zip(queries, of_all, strict=True)
        ]

    def ids(self) -> Ids:
        """The ids of all vectors, in rising order."""
        with self._writing:
            ids: Ids = np.concatenate(
                [NO_SEQUENCES, *(part.ids[part.living()] for part in self._parts)]
            )
        return np.sort(ids)

    def sequences(self) -> Sequences:
        """The memories that the index holds, in rising order."""
        return np.unique(sequences_of(self.ids()))

    # Merging.

    def _blocks(self) -> list[Block]:
        return [part for part in self._parts if isinstance(part, Block)]

    def _segments(self) -> list[Segment]:
        return [part for part in self._parts if isinstance(part, Segment)]

    def _limit(self) -> int:
        """Rows in blocks, until they are to be merged. Where much comes, a large index waits for
        more, or each row would be sealed four times; where little does, they are sealed before."""
        if not self._segments():
            return self._sizes.exact
        most = self._sizes.buffer * self._sizes.buffers
        return min(max(self._sizes.buffer, self.vectors // 8), most)

    def _due(self) -> bool:
        return (
            self._blocks_due()
            or any(self._worn(segment) for segment in self._segments())
            or self._changes - self._saved > self._sizes.unsaved
        )

    def _blocks_due(self, calm: bool = False) -> bool:
        blocks, least = self._blocks(), self._sizes.least_segment
        rows = sum(block.count for block in blocks)
        removed = sum(block.removed for block in blocks)
        limit = least - 1 if calm and self._segments() else self._limit()
        return rows > limit or removed > max(least, rows // 2)

    @property
    def changes(self) -> int:
        """Vectors added and memories removed in all."""
        return self._changes

    def calm_s(self, per_s: float) -> float:
        """At so many changes a second, how long it takes until blocks are to be merged."""
        room = self._limit() - sum(block.count for block in self._blocks())
        return max(room, 0) / per_s if per_s > 0 else float("inf")

    def _worn(self, segment: Segment) -> bool:
        return segment.removed > segment.count * self._sizes.removed_share

    def merge(
        self, *, purge: bool = False, calm: bool = False, stopped: Stopped = lambda: False
    ) -> bool:
        """Seal what has gathered in blocks, and build worn segments anew; returns whether anything
        was. With `purge`, every segment that a vector was removed from, however few. `calm`: little
        comes, so that what is in blocks beside segments would stay there, compared one by one.

        Searches, additions and removals go on meanwhile. Raises sealed.Interrupted.
        """
        faiss.omp_set_num_threads(self._threads)
        merged = False
        with self._merging:
            while pool := self._pool(purge, calm):
                self._replace(pool, calm, lambda: self._dropped or stopped())
                merged = True
        if merged:
            _give_back_memory()
        return merged

    def _pool(self, purge: bool, calm: bool) -> list[Part]:
        """Parts to be made one of, to which nothing is added from now on."""
        with self._writing:
            pool: list[Part] = []
            rows, most = 0, self._sizes.segment
            blocks = self._blocks()
            if self._blocks_due(calm) or (purge and any(block.removed for block in blocks)):
                for block in blocks:
                    if rows and rows + block.count > most:
                        break
                    block.close()
                    pool.append(block)
                    rows += block.count
            segments = sorted(self._segments(), key=lambda each: each.count)
            for segment in segments:
                worn = self._worn(segment) or (purge and segment.removed > 0)
                fits = rows + segment.count <= most
                if fits and (worn or self._taken_along(segment.count, rows, calm)):
                    pool.append(segment)
                    rows += segment.count
            if not pool:  # a worn one that is full
                full = [s for s in segments if self._worn(s) or (purge and s.removed)]
                pool.extend(full[:1])
            return pool

    def _taken_along(self, count: int, rows: int, calm: bool) -> bool:
        """Whether a segment of `count` is built anew with `rows` that are sealed. Two graphs take a
        query twice as long as one: where little comes, larger ones are, too."""
        if calm and rows + count <= self._sizes.linked:
            return count <= CALM_GROWTH * rows
        return count <= GROWTH * rows

    def _replace(self, pool: list[Part], calm: bool, stopped: Stopped) -> None:
        with self._writing:
            living = [part.living() for part in pool]
        made = self._made_of(pool, living, calm, stopped)
        with self._writing:
            for part, rows in zip(pool, living, strict=True):
                gone = rows[~part.alive[rows]]  # removed in the meantime
                if len(gone) and made is not None:
                    made.remove(np.flatnonzero(np.isin(made.ids[: made.count], part.ids[gone])))
            others = [part for part in self._parts if part not in pool]
            # The last part is the one that grows.
            self._parts = tuple(others) if made is None else (made, *others)

    def _made_of(
        self, pool: list[Part], living: list[Rows], calm: bool, stopped: Stopped
    ) -> Part | None:
        ids = np.concatenate([part.ids[rows] for part, rows in zip(pool, living, strict=True)])
        if not len(ids):
            return None
        order = np.argsort(ids, kind="stable")
        owners = np.repeat(np.arange(len(pool)), [len(rows) for rows in living])[order]
        rows = np.concatenate(living)[order]
        ids = ids[order]

        def chunks() -> Iterator[Codes]:
            for start in range(0, len(ids), ENCODED_AT_ONCE):
                here = slice(start, start + ENCODED_AT_ONCE)
                chunk = np.empty((len(ids[here]), 2 * self.dimension), np.uint8)
                for owner in np.unique(owners[here]):
                    own = owners[here] == owner
                    chunk[own] = pool[owner].codes[rows[here][own]]
                yield chunk

        few = len(ids) <= self._limit() and all(isinstance(part, Block) for part in pool)
        if (few and not (calm and self._segments())) or len(ids) < self._sizes.least_segment:
            return block_of(ids, chunks(), self.dimension)
        segment = build(ids, chunks(), self.dimension, stopped)
        return segment if self._snapshot is None else self._snapshot.seal(segment)

    @property
    def unlinked(self) -> Segment | None:
        """The smallest segment that is to get a graph. None does beside as many rows that are in
        segments too large for one: those are what a search takes its time for."""
        segments, most = self._segments(), self._sizes.linked
        small = [each for each in segments if each.count <= most]
        rows = sum(each.count for each in small)
        if 2 * rows <= sum(each.count for each in segments):
            return None
        unlinked = [each for each in small if not each.linked]
        return min(unlinked, key=lambda each: each.count, default=None)

    def link(
        self,
        stopped: Stopped = lambda: False,
        *,
        within_s: float = float("inf"),
        rests: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Give segments their graphs; returns whether any got one. Takes several times as long as
        sealing them, and goes on beside all else. Those that would take longer than `within_s` are
        left for later. `rests` waits a moment where others need the processor more, and says
        whether it did. Raises Interrupted, also when there is something to merge."""
        faiss.omp_set_num_threads(self._threads)
        most = within_s * self._sizes.linked_per_s
        if self.unlinked is None or self.unlinked.count > most:
            return False
        try:
            while (segment := self.unlinked) is not None and segment.count <= most:
                segment.link(self._gives_way(segment, stopped, rests))
        finally:
            _give_back_memory()
        with self._writing:
            self._changes += 1  # there is something to save
        return True

    def _gives_way(self, segment: Segment, stopped: Stopped, rests: Callable[[], bool]) -> Stopped:
        def in_vain() -> bool:
            gone = self._dropped or segment not in self._parts
            return stopped() or gone or self._blocks_due()

        def gives_way() -> bool:
            while not in_vain():
                if not rests():
                    return False
            return True

        return gives_way

    def compact(self) -> None:
        """Take what was removed out of memory and files now; returns when that is done.

        Raises OSError or RuntimeError when files cannot be written.
        """
        self.merge(purge=True)
        self.save()

    # Snapshots.

    def save(self) -> None:
        """Write a snapshot, if there is a place for one and anything changed since the last.

        Raises OSError or RuntimeError.
        """
        with self._merging:
            with self._writing:
                changes, parts = self._changes, self._parts
            if self._snapshot is not None and changes != self._saved and not self._dropped:
                self._snapshot.write(parts)
                self._saved = changes

    def restore(self) -> None:
        """Take what the snapshot holds into an index that is still empty."""
        parts = [] if self._snapshot is None else self._snapshot.read()
        with self._writing:
            self._parts = tuple(parts)
            self._wholes = sum(part.wholes() for part in parts)

    def drop(self) -> None:
        """Give up the snapshot: the index is not used any more."""
        self._dropped = True
        with self._merging:
            if self._snapshot is not None:
                self._snapshot.delete()


def _best(every: Sequence[tuple[Ids, Cosines]], k: int, depth: int) -> tuple[Nearest, bool]:
    """The best k memories of what `depth` vectors of each part are of, and whether there may be
    more."""
    if len(every) == 1:
        ids, cosines = every[0]
    else:
        ids = np.concatenate([NO_SEQUENCES, *(ids for ids, _ in every)])
        cosines = np.concatenate([NO_COSINES, *(cosines for _, cosines in every)])
    if (cosines[1:] < cosines[:-1]).all():  # as those of one part mostly are
        ids, cosines = ids[:depth], cosines[:depth]
    else:
        best = np.lexsort((ids, -cosines))[:depth]  # of equally near ones, the older first
        ids, cosines = ids[best], cosines[best]
    found = distinct(ids, cosines)
    more = len(found.sequences) < k and len(ids) >= depth
    return Nearest(found.sequences[:k], found.cosines[:k], found.segments[:k]), more


def _give_back_memory() -> None:
    """Blocks that were merged stay with the allocator of the C library, as much as the index itself
    takes; glibc can be told to give them to the system."""
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
