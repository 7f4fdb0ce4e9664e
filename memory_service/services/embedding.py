"""Decoded media become the vectors that are stored of them. Knows no storage beyond their form.

A long sound has a vector of each of its segments, and one of the whole: their mean, of unit
length. That is its one vector wherever a memory counts once, as in the trace, and it is what the
sound itself, as a query, is searched by.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from encoders.base import Encoder, Vectors, normalize
from encoders.media import Decoded
from encoders.sounds import FULL_RATE, Recording, Segment
from memory_service.services.models import Models, key_of, media_errors
from memory_service.storage.spaces import Embedding

BATCH = 16  # segments that are encoded together, and fewer of those with very many samples
BATCH_SAMPLES = BATCH * 2 * FULL_RATE


def embed(
    models: Models, decoded: Sequence[Decoded], given: Sequence[Embedding | None] | None = None
) -> list[tuple[Embedding, ...]]:
    """The vectors of each, in the order of `decoded`: one per space of its modality.

    Each modality is encoded as one batch. A vector that is `given` for one of them stands for what
    the encoder of its space would make.

    Long sounds are read and encoded segment by segment. Raises ModalityUnavailable, or
    InvalidMedia where a long sound that was not checked before cannot be read to its end.
    """
    found: list[tuple[Embedding, ...]] = [()] * len(decoded)
    for modality in dict.fromkeys(each.modality for each in decoded):
        places = [n for n, each in enumerate(decoded) if each.modality == modality]
        for encoder in models.encoders_of(modality):
            key = key_of(encoder.space)
            short = []
            for place in places:
                own = given[place] if given else None
                if own is not None and own.space == key:
                    found[place] += (own,)
                elif isinstance(decoded[place].media, Recording):
                    found[place] += _of_recording(encoder, decoded[place].media)
                else:
                    short.append(place)
            media = [decoded[place].media for place in short]
            for place, vector in zip(short, encoder.encode(media) if media else (), strict=True):
                found[place] += (Embedding(key, vector),)
    return found


def vector_of(encoder: Encoder, media: Any) -> Vectors:
    """The one vector (D,) of decoded media, as `embed` would store it; zero where there is none."""
    if isinstance(media, Recording):
        return _of_recording(encoder, media)[0].vector
    return encoder.encode([media])[0]  # type: ignore[no-any-return]


def _of_recording(encoder: Encoder, recording: Recording) -> tuple[Embedding, ...]:
    """Of the whole, then of each segment."""
    vectors: list[Vectors] = []
    times: list[tuple[float, float]] = []
    length_s = encoder.segment_s
    size = max(1, min(BATCH, int(BATCH_SAMPLES / (length_s * recording.sample_rate))))
    with media_errors():
        segments = recording.segments(length_s, encoder.hop_s)
        for batch in _batches(segments, size):
            vectors.append(encoder.encode([each.sound for each in batch]))
            times += [(each.start_s, each.end_s) for each in batch]
    rows = np.concatenate(vectors)
    key = key_of(encoder.space)
    return (
        Embedding(key, normalize(rows.mean(axis=0, dtype=np.float64))),
        *(
            Embedding(key, row, number, *time)
            for number, (row, time) in enumerate(zip(rows, times, strict=True), start=1)
        ),
    )


def _batches(segments: Iterable[Segment], size: int) -> Iterator[list[Segment]]:
    left = iter(segments)
    while batch := list(islice(left, size)):
        yield batch
