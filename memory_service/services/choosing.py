"""Of several candidates for one output, the one that is nearest to what was asked.

They are encoded again by the space's own encoder, as DALL-E's were by CLIP (Ramesh et al. 2021),
which flatters whatever is then judged by that encoder. Knows no HTTP and no storage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from generator.base import Condition, Generated, Generator, derived_seed
from memory_service.records import Vector
from memory_service.services.models import Models, generator_errors, key_of
from memory_service.storage.spaces import SpaceKey

MOST = 8  # candidates
AGREES = 0.5  # of the cosine to what was written for the same request (docs/experiments.md)
FUSED = 0.5  # share of the fused vector in what they are compared with (docs/experiments.md)

Encode = Callable[[Sequence[Any]], Any]


@dataclass(frozen=True)
class Candidate:
    """`vector` (D,) and `score` are None where there was nothing to choose from."""

    number: int  # among those that were made together
    seed: int
    made: Generated
    vector: Vector | None = None
    score: float | None = None  # cosine to what was asked
    agreement: float = 0.0  # cosine to what was written for the same request, where something was

    @property
    def standing(self) -> float:
        """By what the best is chosen: the score, what the generator itself thinks of it, and how
        well it goes with the text."""
        return (self.score or 0.0) + self.made.merit + AGREES * self.agreement


def count_of(
    generator: Generator, asked: int | None, creativity: float, encode: Encode | None
) -> int:
    """How many are made: one where a seed draws nothing, or they cannot be compared."""
    if creativity == 0 or not generator.draws or encode is None:
        return 1
    return asked or generator.usual_candidates(creativity)


def seeds_of(seed: int, count: int, first: int = 0) -> list[int]:
    return [derived_seed(seed, number) for number in range(first, first + count)]


def ranked(
    generator: Generator,
    condition: Condition,
    seeds: Sequence[int],
    creativity: float,
    encode: Encode | None,
    refused: int = 0,
    written: Vector | None = None,
) -> list[Candidate]:
    """One for each seed, the best first; a single one is not encoded. `refused`: how often all were
    before. `written` (D,): of the text beside which it is to stand."""
    with generator_errors():
        made = generator.candidates(condition, seeds=seeds, creativity=creativity, refused=refused)
    if len(made) == 1 or encode is None:
        return [Candidate(0, seeds[0], made[0])]
    wanted = (1 - FUSED) * condition.query + FUSED * condition.fused
    vectors = _encoded([each.media for each in made], encode)
    found = [
        Candidate(
            number,
            seed,
            each,
            vector,
            float(vector @ wanted),
            0.0 if written is None else float(vector @ written),
        )
        for number, (seed, each, vector) in enumerate(zip(seeds, made, vectors, strict=True))
    ]
    return sorted(found, key=lambda each: -each.standing)


def _encoded(media: Sequence[Any], encode: Encode) -> Sequence[Vector]:
    """(N, D); texts that are the same are encoded once, since drafts often are."""
    if not all(isinstance(each, str) for each in media):
        return encode(media)  # type: ignore[no-any-return]
    different = list(dict.fromkeys(media))
    vectors = dict(zip(different, encode(different), strict=True))
    return [vectors[each] for each in media]


def encoding(models: Models, modality: str, space: SpaceKey) -> Encode | None:
    """How media of the modality become vectors (N, D) of the space; None where they cannot."""
    if modality not in models.encoders:
        return None
    fitting = [each for each in models.encoders_of(modality) if key_of(each.space) == space]
    return fitting[0].encode if fitting else None
