"""Gathers what is on the card of a generation from the store. Knows neither HTML nor HTTP."""

from __future__ import annotations

import logging
from typing import Any

from encoders.sounds import Recording
from memory_service.card.content import Card, Output, Remembered, Shown, shortened, show
from memory_service.errors import MemoryServiceError
from memory_service.records import Generation, GenerationOutput, Memory, MemoryShare
from memory_service.services.models import Models, media_errors
from memory_service.storage.store import Store

log = logging.getLogger(__name__)

MOST_MEMORIES = 24
FIRST_S = 8.0  # of a long sound of which no part was named


def card(record: Generation, store: Store, models: Models) -> Card:
    """Memories that were forgotten, or cannot be read, are on it without their content."""
    shares = sorted(record.memories, key=lambda share: -share.weight)
    chosen = shares[:MOST_MEMORIES]
    captions = _captions(chosen, store)
    return Card(
        record=record,
        memories=tuple(_remembered(share, captions, store, models) for share in chosen),
        outputs=tuple(_output(output, store, models) for output in record.outputs),
        more=len(shares) - len(chosen),
    )


def _captions(shares: list[MemoryShare], store: Store) -> dict[str, str]:
    """By episode, the first text in it."""
    found: dict[str, str] = {}
    for memory in store.catalog.members(dict.fromkeys(share.episode_id for share in shares)):
        if memory.text is not None:
            found.setdefault(memory.episode_id, memory.text)
    return found


def _remembered(
    share: MemoryShare, captions: dict[str, str], store: Store, models: Models
) -> Remembered:
    if share.deleted:
        return Remembered(share, Shown(share.modality), "a memory that was forgotten since")
    try:
        memory = store.catalog.memory(share.memory_id)
        shown = show(share.modality, _media(memory, share, store, models))
    except MemoryServiceError:  # forgotten meanwhile, damaged, or of a modality that is gone
        log.exception("memory %s cannot be shown", share.memory_id)
        return Remembered(share, Shown(share.modality), "a memory that cannot be read")
    named = shown.text or captions.get(share.episode_id) or memory.metadata.get("path")
    return Remembered(share, shown, shortened(str(named or memory.media_type)))


def _media(memory: Memory, share: MemoryShare, store: Store, models: Models) -> Any:
    content = store.blobs.read(memory.blob)
    media = models.decode_stored(memory.modality, content, memory_id=memory.id).media
    if isinstance(media, Recording):
        start_s, end_s = 0.0, FIRST_S
        if share.segment is not None:
            start_s, end_s = share.segment.start_s, share.segment.end_s
        with media_errors(memory_id=memory.id):
            return media.read(start_s, end_s)
    return media


def _output(output: GenerationOutput, store: Store, models: Models) -> Output:
    try:
        content = store.blobs.read(output.blob)
        media = models.decode_stored(output.modality, content).media
    except MemoryServiceError:
        log.exception("output %s cannot be shown", output.id)
        return Output(output, Shown(output.modality))
    if isinstance(media, Recording):  # speech of more than a few seconds
        media = media.read(0.0, media.duration_s)
    sound = content if output.modality == "audio" else None
    return Output(output, show(output.modality, media, sound))
