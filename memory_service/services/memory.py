"""Storing, reading and forgetting memories. Knows no HTTP."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, BinaryIO, Literal

from encoders import sounds
from encoders.media import Decoded
from memory_service.clock import Clock
from memory_service.errors import InvalidInput, NotFound, StorageFailure, TooLarge
from memory_service.ids import new_id
from memory_service.records import (
    Episode,
    Explained,
    Forgotten,
    Memory,
    Stored,
    SubMemoryStats,
    Upload,
)
from memory_service.services import checks, expiry, merge
from memory_service.services.active import ActiveModels, Service, steady
from memory_service.services.models import require_same_space
from memory_service.services.recalls import Recalls
from memory_service.services.timing import Stopwatch
from memory_service.settings import Settings
from memory_service.storage import filters, lineage, rows
from memory_service.storage.catalog import Embedding
from memory_service.storage.store import NewMemory, Store

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
        settings: Settings,
        clock: Clock,
    ) -> None:
        self._store = store
        self._active = active
        self._recalls = recalls
        self._settings = settings
        self._clock = clock

    @steady
    def store(
        self,
        uploads: Sequence[Upload],
        *,
        namespace: str = "default",
        metadata: Mapping[str, Any] | None = None,
        created_at: float | None = None,
        if_duplicate: Literal["keep", "skip"] = "keep",
        expires_at: float | None = None,
        ttl_s: float | None = None,
    ) -> Stored:
        """Store what belongs together as one episode; durable when it returns.

        `metadata` is given to each of the memories. With `if_duplicate="skip"`, an episode of
        the same namespace that has exactly these contents is returned instead, and keeps the
        expiry that it had. `expires_at` (Unix seconds) or `ttl_s` (from now) says from when on the
        episode is not found any more, and will be deleted.

        Raises InvalidInput, UnsupportedMedia, InvalidMedia, TooLarge, ModalityUnavailable,
        SpaceMismatch, StorageFull or StorageFailure; the store is then as before.
        """
        watch = Stopwatch()
        checks.namespace(namespace)
        checks.not_empty(uploads, "items of an episode", self._settings.max_parts_per_store)
        checks.one_of("if_duplicate", if_duplicate, ("keep", "skip"))
        fields = checks.metadata(metadata, self._settings.max_metadata_bytes)
        when = self._moment(created_at)
        expires_at = expiry.moment(expires_at, ttl_s, self._clock.now())
        for upload in uploads:
            self._check(upload)
        if if_duplicate == "skip" and (found := self._same_contents(namespace, uploads)):
            return Stored(found, duplicate=True, timings_ms=watch.timings_ms())
        with watch.stage("decode"):
            decoded = [
                self._models.decode(upload.modality, upload.content, item=number)
                for number, upload in enumerate(uploads)
            ]
        with watch.stage("encode"):
            embeddings = self._active.embed(decoded)
        episode, new = self._assemble(
            uploads, decoded, embeddings, namespace, fields, when, expires_at
        )
        with watch.stage("write"):
            stored, duplicate = self._store.add_episode(
                episode, new, skip_duplicate=if_duplicate == "skip"
            )
        return Stored(stored, duplicate, watch.timings_ms())

    def _moment(self, created_at: float | None) -> float:
        if created_at is None:
            return self._clock.now()
        if not math.isfinite(created_at):
            raise InvalidInput("created_at must be Unix seconds", found=repr(created_at))
        return float(created_at)

    def _check(self, upload: Upload) -> None:
        require_same_space(upload.modality, self._models, self._store)
        if len(upload.content) > self._settings.max_upload_bytes:
            raise TooLarge(
                f"{len(upload.content)} bytes were given, "
                f"at most {self._settings.max_upload_bytes} are accepted",
                found=len(upload.content),
                accepted=self._settings.max_upload_bytes,
            )

    def _same_contents(self, namespace: str, uploads: Sequence[Upload]) -> Episode | None:
        digests = [hashlib.sha256(upload.content).hexdigest() for upload in uploads]
        try:
            return self._store.catalog.episode_with(namespace, rows.contents_hash(digests))
        except NotFound:  # forgotten in this very moment
            return None

    def _assemble(
        self,
        uploads: Sequence[Upload],
        decoded: Sequence[Decoded],
        embeddings: Sequence[tuple[Embedding, ...]],
        namespace: str,
        metadata: Mapping[str, Any],
        created_at: float,
        expires_at: float | None,
    ) -> tuple[Episode, list[NewMemory]]:
        episode = Episode(new_id(), namespace, created_at, ())
        new = []
        for upload, media, vectors in zip(uploads, decoded, embeddings, strict=True):
            record = Memory(
                id=new_id(),
                sequence=0,  # given by the catalog
                namespace=namespace,
                episode_id=episode.id,
                modality=media.modality,
                media_type=media.media_type,
                blob="",  # given by the store
                size_bytes=len(upload.content),
                metadata=metadata,
                created_at=created_at,
                text=media.media if isinstance(media.media, str) else None,
                expires_at=expires_at,
            )
            new.append(NewMemory(record, upload.content, vectors))
        return episode, new

    def get(self, memory_id: str) -> Memory:
        """Raises NotFound."""
        return self._store.catalog.memory(memory_id)

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
                found=[repr(start_s), repr(end_s)],
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
        return memory, sounds.cut(content, start, end)

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

    def forget(self, memory_id: str) -> Forgotten:
        """Delete a memory for good, its episode with it when nothing is left; raises NotFound."""
        return self._store.delete_memory(memory_id)

    def forget_episode(self, episode_id: str) -> Forgotten:
        """Delete an episode and its memories for good; raises NotFound."""
        return self._store.delete_episode(episode_id)

    def stats(self) -> Sequence[SubMemoryStats]:
        return self._store.catalog.stats()

    def count(self, namespaces: Collection[str] | None = None) -> int:
        """Memories in the whole store, or in these namespaces, whatever their vectors."""
        return self._store.catalog.count_memories(namespaces)
