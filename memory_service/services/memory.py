"""Storing, reading and forgetting memories. Knows no HTTP."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, BinaryIO

from memory_service.clock import Clock
from memory_service.errors import InvalidInput, NotFound, StorageFailure, TooLarge, told
from memory_service.records import (
    PLAIN,
    Episode,
    Explained,
    Forgotten,
    Manner,
    Memory,
    Stored,
    StoreOrder,
    SubMemoryStats,
    Upload,
)
from memory_service.services import checks, expiry, merge
from memory_service.services.active import ActiveModels, Service
from memory_service.services.recalls import Recalls
from memory_service.services.storing import Storing
from memory_service.settings import Settings
from memory_service.storage import filters, lineage
from memory_service.storage.store import Store

MAX_LIST = 1000
LEAST_PART_S = 1e-3
MAX_PART_S = 60.0  # of a sound that is answered at once: unpacked, a minute may be many megabytes


class MemoryStore(Service):
    """Safe for use from several threads."""

    def __init__(
        self,
        store: Store,
        active: ActiveModels,
        recalls: Recalls,
        storing: Storing,
        settings: Settings,
        clock: Clock,
    ) -> None:
        self._store = store
        self._active = active
        self._recalls = recalls
        self._storing = storing
        self._settings = settings
        self._clock = clock

    def store(self, uploads: Sequence[Upload], **options: Any) -> Stored:
        """Store what belongs together as one episode: `StoreOrder` has the options, `Storing.store`
        what is raised."""
        return self._storing.store(StoreOrder(uploads, **options))

    def get(self, memory_id: str) -> Memory:
        """Raises NotFound."""
        return self._store.catalog.memory(memory_id)

    def namespace_of(self, memory_id: str) -> str:
        """Where it is, damaged or not; raises NotFound."""
        return self._store.catalog.remnant(memory_id).namespace

    def namespace_of_episode(self, episode_id: str) -> str:
        """Likewise."""
        return self._store.catalog.namespace_of_episode(episode_id)

    def explain(self, memory_id: str) -> Explained:
        """The memory, how strong it is and why, and whether a prototype stands for it; raises
        NotFound."""
        memory = self.get(memory_id)
        return Explained(
            memory, self._recalls.explain(memory), lineage.of(self._store.catalog, memory)
        )

    def update(self, memory_id: str, changes: Mapping[str, Any]) -> Memory:
        """Change `metadata` (by merge patch, RFC 7396), `expires_at` (None: never) or `ttl_s`.

        Raises NotFound, InvalidInput and TooLarge; a prototype has these of its members.
        """
        fields = expiry.checked(changes, self._clock.now())

        def changed(memory: Memory) -> Memory:
            if memory.consolidated_by is not None:
                raise InvalidInput(
                    f"memory {memory_id} is a prototype: change its members", found=memory_id
                )
            new = {**fields}
            if "metadata" in fields:
                merged = merge.patched(memory.metadata, fields["metadata"])
                new["metadata"] = checks.metadata(merged, self._settings.max_metadata_bytes)
            return replace(memory, **new)

        return self._store.update_memory(memory_id, changed)

    def content(self, memory_id: str) -> tuple[Memory, bytes]:
        """The memory and its original bytes; raises NotFound, or StorageFailure when damaged."""
        memory = self.get(memory_id)
        try:
            return memory, self._store.blobs.read(memory.blob)
        except NotFound as error:
            raise self._missing(memory_id) from error

    def open(self, memory: Memory, *, checked: bool = True) -> BinaryIO:
        """The original bytes as an open file, which a delete does not cut short.

        Raises NotFound, or StorageFailure when damaged; not `checked`: by its size alone.
        """
        try:
            return self._store.blobs.open(memory.blob, memory.size_bytes, checked=checked)
        except NotFound as error:
            raise self._missing(memory.id) from error

    def _missing(self, memory_id: str) -> StorageFailure:
        """Raises NotFound where the memory has been forgotten meanwhile."""
        self.get(memory_id)
        message = f"the content of memory {memory_id} is missing from the data folder"
        return StorageFailure(message, id=memory_id)

    def part(
        self, memory_id: str, start_s: float | None = None, end_s: float | None = None
    ) -> tuple[Memory, bytes]:
        """A sound from `start_s` (its beginning) to `end_s` as WAV, at most MAX_PART_S. Without
        `end_s`: up to its end, or as far as that goes.

        Raises NotFound, InvalidInput, TooLarge, or StorageFailure when damaged.
        """
        memory, content = self.content(memory_id)
        if memory.modality != "audio":
            raise InvalidInput(
                f"memory {memory_id} is of modality {memory.modality}: only sounds have parts",
                found=memory.modality,
                accepted=["audio"],
            )
        duration_s = self._models.decode_stored(
            "audio", content, memory_id=memory_id
        ).media.duration_s
        start = 0.0 if start_s is None else start_s
        end = min(start + MAX_PART_S if end_s is None else end_s, duration_s)
        if not 0.0 <= start <= end - LEAST_PART_S:  # NaN, too
            raise InvalidInput(
                f"the sound lasts {duration_s:.3f} s: a part of it starts from 0 on and ends later",
                found=told([start_s, end_s]),
                accepted=[0.0, duration_s],
            )
        if end_s is not None and end - start > MAX_PART_S:
            raise TooLarge(
                f"the part from {start:g} to {end:g} s has {end - start:g} s, at most "
                f"{MAX_PART_S:g} s are answered at once: give start_s and an end_s no more than "
                f"that behind it, or start_s alone for up to {MAX_PART_S:g} s from there",
                found=end - start,
                accepted=MAX_PART_S,
            )
        return memory, self._models.cut(content, start, end)

    def list(
        self,
        *,
        namespace: str | None = None,
        namespaces: Collection[str] | None = None,
        modality: str | None = None,
        filter: Mapping[str, Any] | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> tuple[list[Memory], str | None]:
        """Memories in the order of storing, and the cursor of the next page if there is one.

        `namespaces`: all that may be listed, whatever `namespace` says; None: any.
        """
        if namespace is not None:
            checks.namespace(namespace)
        if modality is not None:
            checks.known_modality(modality)
        limit = checks.count("limit", limit, MAX_LIST)
        found = self._store.catalog.list_memories(
            namespace=namespace,
            namespaces=namespaces,
            modality=modality,
            filter=filters.parse(filter),
            after=checks.cursor(after),
            limit=limit + 1,
        )
        page = found[:limit]
        return page, str(page[-1].sequence) if len(found) > limit else None

    def episode(self, episode_id: str) -> Episode:
        """Raises NotFound."""
        return self._store.catalog.episode(episode_id)

    def forget(self, memory_id: str, manner: Manner = PLAIN) -> Forgotten:
        """Delete a memory for good, its episode with it when nothing is left; raises NotFound."""
        return self._store.removal.memory(memory_id, manner)

    def forget_episode(self, episode_id: str, manner: Manner = PLAIN) -> Forgotten:
        """Delete an episode and its memories for good; raises NotFound."""
        return self._store.removal.episode(episode_id, manner)

    def stats(self) -> Sequence[SubMemoryStats]:
        return self._store.catalog.stats()

    def count(self, namespaces: Collection[str] | None = None) -> int:
        """Memories in the whole store, or in these namespaces, whatever their vectors."""
        return self._store.catalog.count_memories(namespaces)
