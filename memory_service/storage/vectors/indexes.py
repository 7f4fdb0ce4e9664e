"""All indexes of a store, and the thread that merges and saves them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Set
from time import monotonic
from weakref import WeakKeyDictionary

from memory_service.storage.vectors.index import Sizes, VectorIndex
from memory_service.storage.vectors.nearest import Sequences, SubMemory, Vectors
from memory_service.storage.vectors.parts import Interrupted
from memory_service.storage.vectors.snapshots import Snapshots

log = logging.getLogger(__name__)

PURGE_S = 3600.0  # what was removed leaves memory and disk after no longer than this
LOOK_S = 5.0  # so often it is looked how much comes, and what can be done meanwhile
CALM_S = 60.0  # until a merge: what is in blocks is not worth sealing before, if it takes less
MUCH_PER_S = 500.0  # vectors that come or go, in all indexes: linking leaves the processor to them
REST_S = 30.0  # at most, until something was linked
BREATH_S = 0.5  # so often it is looked meanwhile whether much comes still


class Background:
    """A thread from `start` to `close` that attends to the indexes that ask for it, and to those
    where little comes: what will stay gets a graph, and blocks that would not fill up are sealed.

    Linking takes several times as much of the processor as storing what it links. So it rests
    while much comes, but not for ever; and other indexes that ask have their turn beside it.
    """

    def __init__(self, every: Callable[[], list[VectorIndex]]) -> None:
        self._every = every
        self._changed = threading.Condition()
        self._asked: dict[VectorIndex, None] = {}  # in the order of asking
        self._settling = False  # somebody waits for all that can be done
        self._busy = False
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._seen: WeakKeyDictionary[VectorIndex, int] = WeakKeyDictionary()  # changes by then
        self._looked = self._purged = monotonic()
        self._pace = _Pace(self._total)
        self._rested_s = 0.0

    def ask(self, index: VectorIndex) -> None:
        with self._changed:
            self._asked[index] = None
            self._changed.notify_all()

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="indexes", daemon=True)
        self._thread.start()

    def settle(self) -> None:
        """Wait until nothing is left to do, if nothing more comes."""
        with self._changed:
            self._settling = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not (self._asked or self._settling or self._busy))

    def close(self) -> None:
        """What is being built is given up: it is in the catalog."""
        self._closing.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(
                    lambda: self._asked or self._settling or self._closing.is_set(), timeout=LOOK_S
                )
                if self._closing.is_set():
                    return
                self._busy = True
                settling, self._settling = self._settling, False
            self._attend_to_asked()
            if settling or monotonic() - self._looked >= LOOK_S:
                self._look(settling)

    def _attend_to_asked(self) -> None:
        with self._changed:
            indexes = list(self._asked)
            self._asked.clear()
        for index in indexes:
            self._attend(index, asked=True)

    def _look(self, settling: bool) -> None:
        now = monotonic()
        elapsed, self._looked = max(now - self._looked, 1e-3), now
        purge = now - self._purged >= PURGE_S
        if purge:
            self._purged = now
        for index in self._every():
            came = index.changes - self._seen.get(index, 0)
            self._seen[index] = index.changes
            calm_s = float("inf") if settling else index.calm_s(came / elapsed)
            self._attend(index, purge=purge, calm_s=calm_s)

    def _attend(
        self, index: VectorIndex, *, asked: bool = False, purge: bool = False, calm_s: float = 0.0
    ) -> None:
        """`calm_s`: so long nothing will have to be merged."""
        stopped = self._closing.is_set
        try:
            merged = index.merge(purge=purge, calm=calm_s > CALM_S, stopped=stopped)
            if merged or asked or purge:
                index.save()
            if index.link(stopped, within_s=calm_s / 2, rests=self._rests):
                self._rested_s = 0.0
                index.save()
        except Interrupted:
            pass
        except Exception:  # a full disk, most likely; searching goes on with what there is
            log.exception("an index could not be merged or saved")

    def _rests(self) -> bool:
        """Whether linking has waited a moment, because much comes. Others do not wait for it: a
        graph takes a minute, in which they would gather what is compared one by one."""
        self._attend_to_asked()
        if self._settling or self._rested_s >= REST_S or self._pace.per_s() < MUCH_PER_S:
            return False
        self._closing.wait(BREATH_S)
        self._rested_s += BREATH_S
        return True

    def _total(self) -> int:
        return sum(index.changes for index in self._every())


class _Pace:
    """How fast a number grows, told by about the last BREATH_S."""

    def __init__(self, number: Callable[[], int]) -> None:
        self._number = number
        self._at, self._was, self._per_s = monotonic(), 0, 0.0

    def per_s(self) -> float:
        elapsed = monotonic() - self._at
        if elapsed >= BREATH_S / 2:
            now = self._number()
            self._per_s = (now - self._was) / elapsed
            self._at, self._was = monotonic(), now
        return self._per_s


class VectorIndexes:
    """One index per sub-memory, made at its first vector."""

    def __init__(
        self,
        *,
        threads: int = 1,
        sizes: Sizes | None = None,
        snapshots: Snapshots | None = None,
    ) -> None:
        self._threads = threads
        self._sizes = sizes
        self._snapshots = snapshots
        self._lock = threading.Lock()
        self._indexes: dict[SubMemory, VectorIndex] = {}
        self._namespaces: set[str] = set()  # of these
        self._background = Background(lambda: [index for _, index in self.items()])

    def start(self) -> None:
        """From now on indexes are merged and saved beside what is asked of them."""
        if self._snapshots is not None:
            self._snapshots.keep_only([key for key, _ in self.items()])
        self._background.start()

    def close(self) -> None:
        """Save what changed, the first time."""
        with self._lock:
            indexes, self._indexes = list(self._indexes.values()), {}
        self._background.close()
        for index in indexes:
            try:
                index.save()
            except Exception:  # the next start reads the catalog
                log.exception("an index could not be saved")

    def restored(self, sub_memory: SubMemory, dimension: int) -> VectorIndex:
        """The index of a sub-memory, with what its snapshot holds where that can be used."""
        index = self._made(sub_memory, dimension)
        index.restore()
        return index

    def _made(self, sub_memory: SubMemory, dimension: int) -> VectorIndex:
        with self._lock:
            index = self._indexes.get(sub_memory)
            if index is None:
                snapshot = None
                if self._snapshots is not None:
                    snapshot = self._snapshots.of(sub_memory, dimension)
                index = VectorIndex(
                    dimension, threads=self._threads, sizes=self._sizes, snapshot=snapshot
                )
                index.when_due = self._background.ask
                self._indexes[sub_memory] = index
                self._namespaces.add(sub_memory.namespace)
            return index

    def add(
        self,
        sub_memory: SubMemory,
        sequences: Sequences,
        vectors: Vectors,
        segments: Sequences | None = None,
    ) -> None:
        self._made(sub_memory, vectors.shape[1]).add(sequences, vectors, segments)

    def remove(self, namespace: str, modality: str, sequences: Sequences) -> int:
        """Remove memories from the indexes of all spaces; returns how many entries that were."""
        with self._lock:
            concerned = [
                index
                for key, index in self._indexes.items()
                if (key.namespace, key.modality) == (namespace, modality)
            ]
        return sum(index.remove(sequences) for index in concerned)

    def drop(self, modality: str, space_id: str, fingerprint: str) -> None:
        """Give up the indexes of a modality's space, in all namespaces."""
        space = (modality, space_id, fingerprint)
        self._drop(lambda key, _: (key.modality, key.space_id, key.fingerprint) == space)

    def drop_empty(self) -> None:
        """Give up those that hold nothing any more. Nothing may be added meanwhile."""
        self._drop(lambda _, index: not len(index))

    def _drop(self, concerned: Callable[[SubMemory, VectorIndex], bool]) -> None:
        with self._lock:
            dropped = [key for key, index in self._indexes.items() if concerned(key, index)]
            indexes = [self._indexes.pop(key) for key in dropped]
            self._namespaces = {key.namespace for key in self._indexes}
        for index in indexes:
            index.drop()

    def compact(self, namespace: str | None = None) -> None:
        """Take what was removed out of memory and files now; returns when that is done.

        Raises OSError or RuntimeError when files cannot be written.
        """
        for key, index in self.items():
            if namespace in (None, key.namespace):
                index.compact()

    @property
    def namespaces(self) -> Set[str]:
        """Those that have an index."""
        return self._namespaces

    def settle(self) -> None:
        """Wait until the background has nothing left to do."""
        self._background.settle()

    def get(self, sub_memory: SubMemory) -> VectorIndex | None:
        with self._lock:
            return self._indexes.get(sub_memory)

    def items(self) -> list[tuple[SubMemory, VectorIndex]]:
        with self._lock:
            return list(self._indexes.items())
