"""Memories that lack a vector get it, from their original bytes, batch by batch."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from encoders.media import Decoded
from memory_service.errors import MemoryServiceError, NotFound, Overloaded
from memory_service.records import Memory
from memory_service.services.embedding import embed
from memory_service.services.jobs import Run
from memory_service.services.models import Models
from memory_service.services.pace import Pace
from memory_service.storage.spaces import Embedding, SpaceKey
from memory_service.storage.standby import Targets
from memory_service.storage.store import Store

BATCH = 32  # memories: what a crash makes embed again at most
WAIT_S = 0.1  # before a full queue is tried again
BATCH_BYTES = 16 * 2**20  # of originals, which are decoded side by side

NO_ENCODER = "modality_unavailable"
Found = dict[int, tuple[Embedding, ...]]  # by sequence
Failed = dict[int, tuple[str, str]]


def embed_lacking(store: Store, models: Models, targets: Targets, run: Run, pace: Pace) -> None:
    """Embed until none is left; a batch and its progress are one transaction.

    What cannot be embedded is recorded with the reason, and not tried again.
    """
    for modality in store.standby.coverage(targets):
        if modality not in targets:
            reason = f"profile {models.profile} has no encoder for {modality}"
            store.standby.fail_all(modality, NO_ENCODER, reason)
            continue
        for batch in lacking_batches(store, modality, targets):
            run.go_on()
            started = time.monotonic()
            found, failed = embed_batch(store, models, batch)
            _require_spaces(found, failed, targets[modality])
            done = [memory.sequence for memory in batch]
            seconds = time.monotonic() - started
            progress = pace.add(modality, done, len(found), len(failed), seconds)
            store.standby.add(found, failed, targets, run.progress(**progress))


def _require_spaces(found: Found, failed: Failed, spaces: Mapping[SpaceKey, int]) -> None:
    """What lacks a space would be found lacking again, without end."""
    for sequence, embeddings in list(found.items()):
        if absent := sorted(set(spaces) - {each.space for each in embeddings}):
            failed[sequence] = ("encoder_failure", f"the profile made no vector in {absent[0][0]}")
            del found[sequence]


def lacking_batches(store: Store, modality: str, targets: Targets) -> Iterator[list[Memory]]:
    """Memories without a vector of the targets, a few at a time, in the order of storing."""
    after = 0
    while found := store.standby.lacking(modality, targets, after, BATCH):
        batch = bounded(found)
        after = batch[-1].sequence
        yield batch


def bounded(memories: Sequence[Memory]) -> list[Memory]:
    """The first of them, at least one, up to BATCH_BYTES."""
    total = 0
    for count, memory in enumerate(memories):
        total += memory.size_bytes
        if count and total > BATCH_BYTES:
            return list(memories[:count])
    return list(memories)


def embed_batch(store: Store, models: Models, batch: Sequence[Memory]) -> tuple[Found, Failed]:
    """Vectors of a batch, and why there are none of some. What was forgotten is in neither."""
    failed: Failed = {}
    decoded: dict[int, Decoded] = {}
    for memory in batch:
        try:
            content = store.blobs.read(memory.blob)
            decoded[memory.sequence] = models.decode_stored(memory.modality, content)
        except NotFound as error:
            if store.catalog.memories([memory.sequence]):
                failed[memory.sequence] = ("storage_failure", error.message)
        except MemoryServiceError as error:
            failed[memory.sequence] = (error.code, error.message)
    found = _embed(models, decoded, failed)
    return found, failed


def _patiently(models: Models, decoded: Sequence[Decoded]) -> list[tuple[Embedding, ...]]:
    """`embed`; where callers fill the encoder's queue, it is their turn first."""
    while True:
        try:
            return embed(models, decoded)
        except Overloaded:
            time.sleep(WAIT_S)


def _embed(models: Models, decoded: Mapping[int, Decoded], failed: Failed) -> Found:
    """One by one where a batch fails, so that only what is at fault fails."""
    if not decoded:
        return {}
    try:
        found = dict(zip(decoded, _patiently(models, list(decoded.values())), strict=True))
    except Exception as error:
        if len(decoded) > 1:
            found = {}
            for sequence, each in decoded.items():
                found.update(_embed(models, {sequence: each}, failed))
            return found
        (sequence,) = decoded
        failed[sequence] = ("encoder_failure", f"{type(error).__name__}: {error}")
        return {}
    for sequence, embeddings in list(found.items()):
        if not all(np.isfinite(each.vector).all() for each in embeddings):
            failed[sequence] = ("encoder_failure", "the encoder's vector is not finite")
            del found[sequence]
    return found
