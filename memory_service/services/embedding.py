"""Decoded media become the vectors that are stored of them. Knows no storage beyond their form."""

from __future__ import annotations

from collections.abc import Sequence

from encoders.media import Decoded
from memory_service.services.models import Models, key_of
from memory_service.storage.catalog import Embedding


def embed(models: Models, decoded: Sequence[Decoded]) -> list[tuple[Embedding, ...]]:
    """The vectors of each, in the order of `decoded`: one per space of its modality.

    Each modality is encoded as one batch.

    Raises ModalityUnavailable.
    """
    found: list[tuple[Embedding, ...]] = [()] * len(decoded)
    for modality in dict.fromkeys(each.modality for each in decoded):
        places = [n for n, each in enumerate(decoded) if each.modality == modality]
        media = [decoded[place].media for place in places]
        for encoder in models.encoders_of(modality):
            for place, vector in zip(places, encoder.encode(media), strict=True):
                found[place] += (Embedding(key_of(encoder.space), vector),)
    return found
