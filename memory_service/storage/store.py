"""Catalog, blobs and vector indexes as one store, and the order in which they are written.

How new episodes are written is in `storage.intake`. Knows vectors and bytes, but neither encoders
nor services.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from memory_service import trail
from memory_service.clock import Clock, SystemClock
from memory_service.errors import StorageFailure
from memory_service.records import Claim, Generation, GenerationOutput, Memory
from memory_service.storage import generations, idempotency, lineage, loading, openings, rows
from memory_service.storage.allowed import AllowedSets
from memory_service.storage.blobs import BlobStore, sync_folder
from memory_service.storage.catalog import Catalog
from memory_service.storage.contents import Contents
from memory_service.storage.failures import storage_errors
from memory_service.storage.folder import CATALOG, hold
from memory_service.storage.intake import Added, Intake, NewEpisode, Outcome
from memory_service.storage.prototypes import Prototypes
from memory_service.storage.removal import Removal
from memory_service.storage.spaces import SpaceKey
from memory_service.storage.standby import Standby
from memory_service.storage.vectors import SubMemory, VectorIndex, VectorIndexes
from memory_service.storage.vectors.snapshots import Snapshots


class Store:
    """A data folder, held exclusively until `close`.

    Every change happens under the catalog's write lock, so that a delete cannot remove the file
    that a store of the same content has just found.
    """

    def __init__(
        self,
        folder: Path,
        *,
        threads: int = 1,
        clock: Clock | None = None,
        most_namespaces: float = math.inf,
    ) -> None:
        """Open or create; raises StorageFailure when it is in use, broken or of a newer format."""
        self._most_namespaces = most_namespaces
        self.folder = folder
        self._clock = clock or SystemClock()
        with storage_errors(f"opening the data folder {folder}"):
            if not folder.exists():
                folder.mkdir(parents=True, mode=0o700)
            self._lock = hold(folder)
        try:
            files = BlobStore(folder / "blobs")
            _require_catalog(folder / CATALOG, files)
            self.catalog = Catalog(folder / CATALOG, self._clock)
            self.blobs = Contents(files, self.catalog)
            try:
                self._load(threads)
            except BaseException:
                self.catalog.close()
                raise
        except BaseException:
            os.close(self._lock)
            raise

    def _load(self, threads: int) -> None:
        with storage_errors("opening the data folder"):
            sync_folder(self.folder)
        snapshots = Snapshots(self.folder / "indexes", openings.begin(self.catalog))
        self._indexes = VectorIndexes(threads=threads, snapshots=snapshots)
        self.removal = Removal(
            self.catalog, self.blobs, self._indexes, self.folder, self._clock, self._read_spaces
        )
        with storage_errors("opening the data folder"):
            self.removal.start()
        loading.fill(self.catalog, self._indexes)
        self.allowed = AllowedSets(self.catalog)
        self.prototypes = Prototypes(self.catalog, self._indexes)
        self.standby = Standby(self.catalog, self._indexes, self._read_spaces)
        self._intake = Intake(
            self.catalog, self.blobs, self._indexes, self._searched, self._most_namespaces
        )
        self._read_spaces()
        self._indexes.start()

    def _searched(self, modality: str, space: SpaceKey) -> None:
        known = self.spaces(modality)
        if space not in known and space not in self.standby.spaces(modality):
            self._spaces[modality] = known | {space}

    def _read_spaces(self) -> None:
        self._spaces = self.catalog.spaces_by_modality()

    def close(self) -> None:
        self._indexes.close()
        self.catalog.close()
        if self._lock >= 0:
            os.close(self._lock)  # gives up the lock
            self._lock = -1

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def index(self, sub_memory: SubMemory) -> VectorIndex | None:
        """The index of a sub-memory; None when nothing was ever stored in it."""
        return self._indexes.get(sub_memory)

    def indexes(self) -> list[tuple[SubMemory, VectorIndex]]:
        return self._indexes.items()

    def spaces(self, modality: str) -> set[SpaceKey]:
        """The (space id, fingerprint) of the modality's vectors, those on standby left out."""
        return self._spaces.get(modality, set())

    def add_episodes(self, episodes: Sequence[NewEpisode]) -> list[Outcome]:
        """Store durably, together with what other callers store; of each what became of it: as
        stored, or StorageFull or StorageFailure, and nothing of it was."""
        return self._intake.add(episodes)

    def replay(self, claim: Claim) -> Added | None:
        """What was stored with this claim before; raises KeyReused, or NotFound when it has been
        forgotten since."""
        return self._intake.replay(claim)

    def update_memory(self, memory_id: str, change: Callable[[Memory], Memory]) -> Memory:
        """Replace metadata and expiry by those of what `change` makes of the memory; raises
        NotFound, and what `change` raises."""
        with self.catalog.write_lock:
            memory = change(self.catalog.memory(memory_id))
            with self.catalog.transaction("changing a memory") as connection:
                rows.update_memory(connection, memory)
                lineage.follow_member(connection, memory.sequence)
        trail.told(namespaces=[memory.namespace], memories=[memory.id])
        return memory

    def add_generation(
        self, record: Generation, contents: Sequence[bytes], claim: Claim | None = None
    ) -> Generation:
        """Store a generation and its outputs' bytes durably; returns it with the blobs named.
        Raises KeyReused for a claim whose key stands for another request by now."""
        with self.blobs.stage(contents) as incoming, self.catalog.write_lock:
            outputs: tuple[GenerationOutput, ...] = tuple(
                replace(output, blob=each.digest)
                for output, each in zip(record.outputs, incoming, strict=True)
            )
            stored = replace(record, outputs=outputs)
            if claim is not None:
                idempotency.find(self.catalog, claim)  # another request may have been quicker
            try:
                self.blobs.publish(incoming)
                with self.catalog.transaction("storing the generation") as connection:
                    self.blobs.insert(connection, incoming)
                    generations.insert(connection, stored)
                    if claim is not None:
                        idempotency.insert(connection, claim, stored.id, duplicate=False)
            except BaseException:
                self.blobs.take_back(incoming)
                raise
        trail.told(namespaces=[stored.namespace], generations=[stored.id])
        return stored

    def add_effects(self, generation_id: str, effects: generations.Effects) -> Generation:
        """Store what the memories of a generation did; returns its record. Raises NotFound."""
        with self.catalog.write_lock:
            self.generation(generation_id)
            with self.catalog.transaction("storing effects") as connection:
                generations.insert_effects(connection, generation_id, effects)
        trail.told(generations=[generation_id])
        return self.generation(generation_id)

    def generated(self, claim: Claim) -> Generation | None:
        """What was generated with this claim before; raises KeyReused, or NotFound when it is gone
        since."""
        found = idempotency.find(self.catalog, claim)
        return None if found is None else self.generation(found.result)

    def generation(self, generation_id: str) -> Generation:
        """Raises NotFound."""
        return generations.get(self.catalog, generation_id)


def _require_catalog(path: Path, blobs: BlobStore) -> None:
    """Without its catalog, every original would be a file that no row names, and be swept."""
    if not path.exists() and (count := len(blobs.digests())):
        raise StorageFailure(
            f"{path} is missing, but there are {count} originals beside it: restore the catalog "
            "from a backup, or choose another data_dir",
            data_dir=str(path.parent),
        )
