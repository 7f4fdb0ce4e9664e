"""One output of a generation: drawn, drawn again where it is too like a memory, and measured.

Knows no HTTP, and not how memories are chosen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from encoders.base import Modality
from generator.base import Condition, Generated, Generator
from memory_service import manifest
from memory_service.errors import TooSimilar
from memory_service.ids import new_id
from memory_service.records import Draw, Generation, GenerationOutput, Vector
from memory_service.services import checks, choosing, neighbours
from memory_service.services.choosing import Candidate
from memory_service.services.models import Models, generator_errors, key_of
from memory_service.services.novelty import Measured, Novelty
from memory_service.services.rendering import render
from memory_service.storage.spaces import SpaceKey
from memory_service.storage.store import Store

MAX_DRAWS = 8  # one by one
MAX_ROUNDS = 4  # of several candidates


@dataclass(frozen=True)
class Made:
    output: GenerationOutput  # without blob, which is given by the store
    content: bytes  # of the file


class Maker:
    """Makes the outputs of one generation, of which `record` says all but those."""

    def __init__(
        self,
        record: Generation,
        sources: Sequence[neighbours.Source],
        store: Store,
        models: Models,
        *,
        max_similarity: float | None = None,
        candidates: int | None = None,
    ) -> None:
        """`candidates` of each output, of which one is kept; None: as many as is usual for it."""
        self._record = record
        self._max_similarity = max_similarity
        self._candidates = candidates
        self._models = models
        self._novelty = Novelty(record, sources, store, models)

    def make_all(self, outputs: Sequence[Modality], condition: Condition) -> list[Made]:
        """In the order given; the text is made first, and of the others those are chosen that go
        with it. Raises TooSimilar when no draw is as unlike the memory as was asked for."""
        made: dict[Modality, Made] = {}
        for modality in sorted(outputs, key=lambda each: each != "text"):
            if self._generator(modality).reads_draft:
                made[modality] = self._spoken(modality, condition, made.get("text"))
            else:
                written = self._meaning(made.get("text"))
                made[modality] = self._make(modality, condition, written=written)
        return [made[modality] for modality in outputs]

    def _spoken(self, modality: Modality, condition: Condition, written: Made | None) -> Made:
        """What reads a draft names in its details the generator that wrote it."""
        writer = self._generator("text")
        count = self._count(writer)
        details = {
            "draft_generator": {"name": writer.name, "fingerprint": writer.fingerprint},
            "draft_candidates": count,
        }
        if written is not None:
            draft = written.output.text or ""
        else:
            (draft,) = drafts([condition], self._record, self._models, count)
        return self._make(modality, replace(condition, draft=draft), details)

    def _meaning(self, written: Made | None) -> Vector | None:
        """(D,) of a text, unless it is a quotation or a list, or lies in another space."""
        if written is None or not self._generator("text").draws:
            return None
        vector = written.output.vector
        known = vector is not None and key_of(self._models.space("text")) == _space_of(self._record)
        return vector if known else None

    def _generator(self, modality: Modality) -> Generator:
        return self._models.generator(modality, self._record.modes.get(modality))

    def _count(self, generator: Generator) -> int:
        encode = _encoding(generator.modality, self._record, self._models)
        return choosing.count_of(generator, self._candidates, self._record.creativity, encode)

    def _make(
        self,
        modality: Modality,
        condition: Condition,
        details: Mapping[str, Any] | None = None,
        written: Vector | None = None,
    ) -> Made:
        generator = self._generator(modality)
        limit = self._max_similarity if generator.draws else None
        count = self._count(generator)
        draws: list[Draw] = []
        for round in range(_rounds(count)):
            ranked = choosing.ranked(
                generator,
                condition,
                choosing.seeds_of(self._record.seed, count, round * count),
                self._record.creativity,
                _encoding(modality, self._record, self._models),
                refused=round,
                written=written,
            )
            # Without a limit the best one is taken, and how new the others are is not measured.
            compared = ranked[:1] if limit is None else ranked
            seen = {each.number: self._novelty.measure(modality, each) for each in compared}
            taken = _first_allowed(modality, ranked, seen, limit)
            draws += _told(modality, ranked, seen, taken, round)
            if taken is not None:
                told = () if limit is None and count == 1 else tuple(draws)
                return self._made(generator, taken, seen[taken.number], told, details or {})
        raise _too_similar(modality, draws, limit or 0.0)

    def _made(
        self,
        generator: Generator,
        taken: Candidate,
        measured: Measured,
        draws: tuple[Draw, ...],
        details: Mapping[str, Any],
    ) -> Made:
        modality, made = generator.modality, taken.made
        media_type, bare = render(modality, made.media)
        output = GenerationOutput(
            id=new_id(),
            modality=modality,
            media_type=media_type,
            blob="",  # given by the store
            size_bytes=0,
            text=bare.decode() if modality == "text" else None,
            generator=generator.name,
            generator_fingerprint=generator.fingerprint,
            novelty=None if measured.cosine is None else max(0.0, 1.0 - measured.cosine),
            nearest_memory_id=measured.nearest,
            seed=taken.seed,
            details={**made.details, **details},
            draws=draws,
            media_novelty=measured.media,
            vector=measured.vector,
            media_sha256=hashlib.sha256(bare).hexdigest(),
        )
        content = file_of(self._record, output, made.media)
        return Made(replace(output, size_bytes=len(content)), content)


def make_again(
    output: GenerationOutput, conditions: Sequence[Condition], record: Generation, models: Models
) -> list[Generated]:
    """An output of each condition, by the record's seed and mode: of the record's own condition
    alone the very same bytes, of several what can be compared with each other: all start from the
    memory that the output started from, where they have it."""
    modality = checks.modality(output.modality, models.generators, "generator")
    generator = models.generator(modality, record.modes.get(modality))
    if generator.reads_draft:
        texts = drafts(conditions, record, models, output.details.get("draft_candidates", 1))
        conditions = [
            replace(each, draft=text) for each, text in zip(conditions, texts, strict=True)
        ]
    seeds, taken, refused = _drawn_with(output)
    creativity = record.creativity
    if len(conditions) > 1:
        start = output.details.get("starts_from")
        conditions = [replace(each, start=start) for each in conditions]
    with generator_errors():
        if len(conditions) > 1 and not refused and (len(seeds) == 1 or generator.seeds_stand_alone):
            alike = [seeds[taken]] * len(conditions)
            return generator.generate_each(conditions, seeds=alike, creativity=creativity)
        return [
            generator.candidates(each, seeds=seeds, creativity=creativity, refused=refused)[taken]
            for each in conditions
        ]


def drafts(
    conditions: Sequence[Condition], record: Generation, models: Models, count: int
) -> list[str]:
    """The text that is made of each condition, as the record's text output is; where it has none,
    the best of so many candidates."""
    for output in record.outputs:
        if output.modality == "text":
            return [str(each.media) for each in make_again(output, conditions, record, models)]
    writer = models.generator("text", record.modes.get("text"))
    seeds = choosing.seeds_of(record.seed, count)
    encode = _encoding("text", record, models)
    chosen = [
        choosing.ranked(writer, each, seeds, record.creativity, encode)[0] for each in conditions
    ]
    return [str(each.made.media) for each in chosen]


def _drawn_with(output: GenerationOutput) -> tuple[list[int], int, int]:
    """The seeds of those that were made together with the one that was taken, its place, and how
    many rounds were refused before."""
    taken = next((each for each in output.draws if each.taken), None)
    if taken is None:  # the only one, or made by a version that drew one by one
        return [output.seed], 0, 0
    together = [each for each in output.draws if each.round == taken.round]
    return [each.seed for each in together], together.index(taken), taken.round


def _rounds(count: int) -> int:
    """How often `count` candidates are made before it is given up."""
    return max(MAX_DRAWS // count, MAX_ROUNDS)


def _first_allowed(
    modality: Modality,
    ranked: Sequence[Candidate],
    seen: Mapping[int, Measured],
    limit: float | None,
) -> Candidate | None:
    for each in ranked:
        if limit is None or (seen[each.number].likeness(modality)[0] or 0.0) <= limit:
            return each
    return None


def _told(
    modality: Modality,
    ranked: Sequence[Candidate],
    seen: Mapping[int, Measured],
    taken: Candidate | None,
    round: int,
) -> Iterator[Draw]:
    """In the order of their seeds."""
    for each in sorted(ranked, key=lambda each: each.number):
        measured = seen.get(each.number)
        like, nearest = (None, None) if measured is None else measured.likeness(modality)
        yield Draw(each.seed, like, nearest, each.score, each is taken, round)


def _space_of(record: Generation) -> SpaceKey:
    return record.space_id, record.space_fingerprint


def _encoding(modality: str, record: Generation, models: Models) -> choosing.Encode | None:
    return choosing.encoding(models, modality, _space_of(record))


def file_of(record: Generation, output: GenerationOutput, media: Any) -> bytes:
    """What is stored and answered. Outputs of older versions have no manifest, and get none."""
    says = None if output.media_sha256 is None else manifest.of(record, output)
    return render(output.modality, media, says)[1]


def agreement(outputs: Sequence[GenerationOutput], models: Models) -> Mapping[str, float]:
    """Cosines of the outputs' embeddings, by pair; outputs of different spaces have none."""
    return {
        f"{one.modality}-{other.modality}": float(one.vector @ other.vector)
        for one, other in combinations(outputs, 2)
        if one.vector is not None
        and other.vector is not None
        and models.space(one.modality) == models.space(other.modality)
    }


def _too_similar(modality: str, draws: Sequence[Draw], limit: float) -> TooSimilar:
    closest = min(each.similarity or 0.0 for each in draws)
    return TooSimilar(
        f"{len(draws)} draws of {modality} were all more similar to a memory than {limit:g}, the "
        f"least {closest:.3f}: raise max_similarity or creativity, or take another seed",
        modality=modality,
        accepted=limit,
        found=closest,
        draws=[
            {"seed": each.seed, "similarity": each.similarity, "memory_id": each.nearest_memory_id}
            for each in draws
        ],
    )
