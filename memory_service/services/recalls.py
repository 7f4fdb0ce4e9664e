"""Reinforcement: each recall makes a memory stronger. Knows no HTTP.

Recalls are noted in memory and written together, so that none of them waits for the disk. What a
crash loses is what was noted since the last writing: the memories themselves are never at stake.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping

from memory_service.clock import Clock
from memory_service.errors import MemoryServiceError
from memory_service.records import Memory, Strength, Weights
from memory_service.services.namespaces import Namespaces
from memory_service.storage import recalls as stored
from memory_service.storage.store import Store
from memory_service.strength import Trail, mixed, recalled, remaining, retention, strength

log = logging.getLogger(__name__)

MANY = 10_000  # noted recalls that are written before their time


class Recalls:
    """Safe for use from several threads."""

    def __init__(self, store: Store, namespaces: Namespaces, clock: Clock) -> None:
        self._store = store
        self._namespaces = namespaces
        self._clock = clock
        self._lock = threading.Lock()
        # Held while what was noted becomes what is stored: a reader sees each recall once.
        self._writing = threading.Lock()
        self._noted: dict[int, tuple[str, list[float]]] = {}  # namespace and times, by sequence
        self._count = 0
        self.when_many: Callable[[], None] = lambda: None

    def note(self, namespace: str, sequences: Iterable[int]) -> None:
        """These memories were recalled now."""
        now = self._clock.now()
        with self._lock:
            for sequence in sequences:
                self._noted.setdefault(sequence, (namespace, []))[1].append(now)
                self._count += 1
            many = self._count >= MANY
        if many:
            self.when_many()

    def flush(self) -> int:
        """Write what was noted, in one transaction; returns of how many memories.

        Raises StorageFull or StorageFailure; then it is noted still.
        """
        with self._writing:
            with self._lock:
                noted, self._noted, self._count = self._noted, {}, 0
            try:
                found = stored.read(self._store.catalog, noted)
                trails = {
                    sequence: self._after(trail, *noted[sequence])
                    for sequence, (trail, _) in found.items()
                }
                if trails:
                    with self._store.catalog.transaction("noting recalls") as connection:
                        stored.write(connection, trails)
            except BaseException:
                with self._lock:
                    for sequence, (namespace, times) in noted.items():
                        later = self._noted.get(sequence, (namespace, []))[1]
                        self._noted[sequence] = namespace, [*times, *later]
                        self._count += len(times)
                raise
            return len(trails)

    def close(self) -> None:
        try:
            self.flush()
        except MemoryServiceError:
            log.exception("recalls since the last writing are lost")

    def _after(self, trail: Trail, namespace: str, times: Iterable[float]) -> Trail:
        half_life_s = self.half_life_s(namespace)
        for time in times:
            trail = recalled(trail, time, half_life_s)
        return trail

    def trails(self, sequences: Iterable[int]) -> dict[int, tuple[Trail, float]]:
        """The trail, and the time of storing, of those that exist; what is noted counts."""
        with self._writing:
            found = stored.read(self._store.catalog, sequences)
            with self._lock:
                noted = {
                    sequence: (namespace, tuple(times))
                    for sequence in found
                    for namespace, times in [self._noted.get(sequence, ("", []))]
                    if times
                }
        for sequence, (namespace, times) in noted.items():
            trail, created_at = found[sequence]
            found[sequence] = self._after(trail, namespace, times), created_at
        return found

    def half_life_s(self, namespace: str) -> float | None:
        return self._namespaces.life(namespace).half_life_s

    def explain(self, memory: Memory) -> Strength:
        now = self._clock.now()
        half_life_s = self.half_life_s(memory.namespace)
        found = self.trails([memory.sequence]).get(memory.sequence)
        trail = Trail.stored(memory.created_at) if found is None else found[0]
        value = strength(trail, now, half_life_s)
        return Strength(
            value=value,
            retention=retention(value),
            half_life_s=half_life_s,
            base=trail.base,
            since=trail.since,
            recalls=trail.recalls,
            recalled_at=trail.recalled_at,
            now=now,
        )

    def weighted(
        self, namespace: str, scores: Mapping[int, float], weights: Weights
    ) -> dict[int, float]:
        """By sequence, the score that recency and strength have a share in."""
        now = self._clock.now()
        half_life_s = self.half_life_s(namespace)
        return {
            sequence: mixed(
                scores[sequence],
                remaining(now - created_at, half_life_s),
                retention(strength(trail, now, half_life_s)),
                weights.recency,
                weights.strength,
            )
            for sequence, (trail, created_at) in self.trails(scores).items()
        }
