"""What each memory did to a generation: made again without it, with the same seed.

The effect is 1 - cosine of the embeddings of both outputs: 0 where the memory changed nothing. The
others' weights are those that the fusion gives them without it. Knows no HTTP.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from memory_service.records import Generation, GenerationOutput
from memory_service.services.making import make_again
from memory_service.services.models import Models
from memory_service.services.neighbours import Source, condition_of
from memory_service.services.rendering import render
from memory_service.storage.generations import ALL, Effects

AT_ONCE = 16  # conditions that a generator gets in one call
MOST_EXPLAINED = 64  # memories left out one by one, the heaviest first


def effects(record: Generation, sources: Sequence[Source], models: Models) -> Effects:
    """By modality of the output, and position of the memory in the record or ALL of them. An
    output whose modality the profile cannot encode has none."""
    order = sorted(range(len(sources)), key=lambda place: -record.memories[place].weight)
    left_out = [ALL, *order[:MOST_EXPLAINED]]
    return {
        (output.modality, place): effect
        for output in record.outputs
        if output.modality in models.encoders
        for places in _chunks(left_out)
        for place, effect in _of(output, places, record, sources, models)
    }


def explained(record: Generation, found: Effects) -> Generation:
    """The record with what was measured, as the store would give it back."""
    memories = tuple(
        replace(
            share,
            effects={
                modality: effect for (modality, at), effect in found.items() if at == position
            },
        )
        for position, share in enumerate(record.memories)
    )
    outputs = tuple(
        replace(output, effect_of_all=found.get((output.modality, ALL)))
        for output in record.outputs
    )
    return replace(record, memories=memories, outputs=outputs)


def _chunks(places: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(places), AT_ONCE):
        yield places[start : start + AT_ONCE]


def _of(
    output: GenerationOutput,
    left_out: Sequence[int],
    record: Generation,
    sources: Sequence[Source],
    models: Models,
) -> Iterator[tuple[int, float]]:
    kept = [
        [] if place == ALL else [each for row, each in enumerate(sources) if row != place]
        for place in left_out
    ]
    # The whole comes along in the same call: what changes nothing then gives the very same bytes.
    conditions = [condition_of(record, each, models.calibration) for each in (sources, *kept)]
    made = make_again(output, conditions, record, models)
    vectors = _embed(output.modality, [each.media for each in made], models)
    for place, vector in zip(left_out, vectors[1:], strict=True):
        same = vector is vectors[0]
        yield place, 0.0 if same else max(0.0, 1.0 - float(vectors[0] @ vector))


def _embed(modality: str, media: Sequence[Any], models: Models) -> list[np.ndarray[Any, Any]]:
    """One vector (D,) for each; media of the same bytes have the very same one."""
    digests = [hashlib.sha256(render(modality, each)[1]).digest() for each in media]
    different = dict(zip(digests, media, strict=True))
    rows = models.encoder(modality).encode(list(different.values()))
    vectors = dict(zip(different, rows, strict=True))
    return [vectors[digest] for digest in digests]
