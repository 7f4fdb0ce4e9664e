"""One output of a generation: drawn, drawn again where it is too like a memory, and measured.

Knows no HTTP, and not how memories are chosen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from encoders.base import Modality
from generator.base import Condition, Generated, Generator
from memory_service import manifest
from memory_service.errors import TooSimilar
from memory_service.ids import new_id
from memory_service.records import Draw, Generation, GenerationOutput, MediaNovelty, Vector
from memory_service.services import checks, neighbours
from memory_service.services.likeness import MEASURES, distance, similarity
from memory_service.services.models import Models, generator_errors, key_of
from memory_service.services.rendering import render
from memory_service.storage.store import Store
from memory_service.storage.vectors import SubMemory

MAX_DRAWS = 8
NOVELTY_DEPTH = 16  # nearest memories that are looked at: the first may have expired


@dataclass(frozen=True)
class Made:
    output: GenerationOutput  # without blob, which is given by the store
    content: bytes  # of the file


@dataclass(frozen=True)
class _Measured:
    """`vector` (D,) in the home space of the modality, None where the profile has no encoder."""

    vector: Vector | None = None
    cosine: float | None = None  # to the nearest memory of the modality
    nearest: str | None = None
    sequence: int = 0  # of that memory
    media: MediaNovelty | None = None

    def draw(self, seed: int, modality: Modality) -> Draw:
        """How like a memory it is, by whichever measure finds it more alike."""
        found = [] if self.cosine is None else [(self.cosine, self.nearest)]
        if self.media is not None:
            found.append((similarity(modality, self.media.value), self.media.memory_id))
        return Draw(seed, *max(found, key=lambda each: each[0], default=(None, None)))


def derived_seed(seed: int, number: int) -> int:
    """Of the `number`-th further draw; 0 is the first, with the seed itself."""
    if number == 0:
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed}:{number}".encode()).digest()[:4], "big")


class Maker:
    """Makes the outputs of one generation, of which `record` says all but those."""

    def __init__(
        self,
        record: Generation,
        sources: Sequence[neighbours.Source],
        max_similarity: float | None,
        store: Store,
        models: Models,
    ) -> None:
        self._record = record
        self._sources = sources
        self._max_similarity = max_similarity
        self._store = store
        self._models = models

    def make_all(self, outputs: Sequence[Modality], condition: Condition) -> list[Made]:
        """In the order given. Raises TooSimilar when no draw is as unlike the memory as was asked
        for."""
        made: dict[Modality, Made] = {}
        for modality in sorted(outputs, key=lambda each: self._generator(each).reads_draft):
            draft = None
            if self._generator(modality).reads_draft:
                written = made.get("text")
                if written is not None:
                    draft = written.output.text
                else:
                    (draft,) = drafts([condition], self._record, self._models)
            made[modality] = self._make(modality, replace(condition, draft=draft))
        return [made[modality] for modality in outputs]

    def _generator(self, modality: Modality) -> Generator:
        return self._models.generator(modality, self._record.modes.get(modality))

    def _make(self, modality: Modality, condition: Condition) -> Made:
        generator = self._generator(modality)
        limit = self._max_similarity if generator.draws else None
        draws: list[Draw] = []
        for number in range(MAX_DRAWS):
            seed = derived_seed(self._record.seed, number)
            with generator_errors():
                made = generator.generate(condition, seed=seed, creativity=self._record.creativity)
            measured = self._measure(modality, made.media)
            if limit is None:
                break
            draws.append(measured.draw(seed, modality))
            if (draws[-1].similarity or 0.0) <= limit:
                break
        else:
            raise _too_similar(modality, draws, limit or 0.0)
        return self._made(generator, made, measured, seed, tuple(draws))

    def _made(
        self,
        generator: Generator,
        made: Generated,
        measured: _Measured,
        seed: int,
        draws: tuple[Draw, ...],
    ) -> Made:
        modality = generator.modality
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
            seed=seed,
            details=made.details,
            draws=draws,
            media_novelty=measured.media,
            vector=measured.vector,
            media_sha256=hashlib.sha256(bare).hexdigest(),
        )
        content = file_of(self._record, output, made.media)
        return Made(replace(output, size_bytes=len(content)), content)

    def _measure(self, modality: Modality, media: Any) -> _Measured:
        measured = self._nearest(modality, media)
        return replace(measured, media=self._media_novelty(modality, media, measured))

    def _nearest(self, modality: Modality, media: Any) -> _Measured:
        encoder = self._models.encoders.get(modality)
        if encoder is None:
            return _Measured()
        vector = encoder.encode([media])[0]
        key = key_of(encoder.space)
        index = self._store.index(SubMemory(self._record.namespace, modality, *key))
        if index is not None:
            sequences, cosines = index.search(vector, NOVELTY_DEPTH)
            known = self._store.catalog.places(sequences.tolist(), members=True)
            for sequence, cosine in zip(sequences.tolist(), cosines.tolist(), strict=True):
                if sequence in known:  # has neither expired nor been forgotten
                    return _Measured(vector, cosine, known[sequence][0], sequence)
        return _Measured(vector)

    def _media_novelty(
        self, modality: Modality, media: Any, measured: _Measured
    ) -> MediaNovelty | None:
        """To what it was made from, and to the memory whose embedding is nearest."""
        known = {
            source.memory.id: source.neighbour.media
            for source in self._sources
            if source.memory.modality == modality
        }
        if measured.nearest is not None and measured.nearest not in known:
            known |= self._read(measured, modality)
        distances = {id: distance(modality, media, each) for id, each in known.items()}
        found = {id: value for id, value in distances.items() if value is not None}
        if not found:
            return None
        nearest = min(found, key=lambda id: found[id])
        return MediaNovelty(MEASURES[modality], max(0.0, found[nearest]), nearest)

    def _read(self, measured: _Measured, modality: str) -> Mapping[str, Any]:
        """By its id, the media of the nearest memory; of a long sound the nearest part."""
        assert measured.vector is not None
        memories = self._store.catalog.memories([measured.sequence]).values()
        space = self._models.space(modality)
        sources = neighbours.load(list(memories), measured.vector, space, self._store, self._models)
        return {source.memory.id: source.neighbour.media for source in sources}


def make_again(
    output: GenerationOutput, conditions: Sequence[Condition], record: Generation, models: Models
) -> list[Generated]:
    """An output of each condition, by the record's seed and mode."""
    modality = checks.modality(output.modality, models.generators, "generator")
    generator = models.generator(modality, record.modes.get(modality))
    if generator.reads_draft:
        texts = drafts(conditions, record, models)
        conditions = [
            replace(each, draft=text) for each, text in zip(conditions, texts, strict=True)
        ]
    creativity = record.creativity
    with generator_errors():
        if len(conditions) == 1:
            return [generator.generate(conditions[0], seed=output.seed, creativity=creativity)]
        return generator.generate_each(conditions, seed=output.seed, creativity=creativity)


def drafts(conditions: Sequence[Condition], record: Generation, models: Models) -> list[str]:
    """The text that is made of each condition, as the record's text output is."""
    writer = models.generator("text", record.modes.get("text"))
    seeds = [output.seed for output in record.outputs if output.modality == "text"]
    seed = seeds[0] if seeds else record.seed
    with generator_errors():
        made = writer.generate_each(conditions, seed=seed, creativity=record.creativity)
    return [str(each.media) for each in made]


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
