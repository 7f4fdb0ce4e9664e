"""How like the memory something is that was made: by its embedding, and as it is seen, heard or
read. Knows no HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from encoders.base import Modality
from memory_service.records import Generation, MediaNovelty, Vector
from memory_service.services import neighbours
from memory_service.services.choosing import Candidate
from memory_service.services.likeness import MEASURES, distance, similarity
from memory_service.services.models import Models, key_of
from memory_service.storage.store import Store
from memory_service.storage.vectors import SubMemory

NOVELTY_DEPTH = 16  # nearest memories that are looked at: the first may have expired


@dataclass(frozen=True)
class Measured:
    """`vector` (D,) in the home space of the modality, None where the profile has no encoder."""

    vector: Vector | None = None
    cosine: float | None = None  # to the nearest memory of the modality
    nearest: str | None = None
    sequence: int = 0  # of that memory
    media: MediaNovelty | None = None

    def likeness(self, modality: Modality) -> tuple[float | None, str | None]:
        """How like a memory it is, by whichever measure finds it more alike, and which memory."""
        found = [] if self.cosine is None else [(self.cosine, self.nearest)]
        if self.media is not None:
            found.append((similarity(modality, self.media.value), self.media.memory_id))
        return max(found, key=lambda each: each[0], default=(None, None))


class Novelty:
    """Of what one generation makes from its sources."""

    def __init__(
        self,
        record: Generation,
        sources: Sequence[neighbours.Source],
        store: Store,
        models: Models,
    ) -> None:
        self._namespace = record.namespace
        self._space = record.space_id, record.space_fingerprint  # that candidates are compared in
        self._sources = sources
        self._store = store
        self._models = models

    def measure(self, modality: Modality, candidate: Candidate) -> Measured:
        measured = self._nearest(modality, candidate)
        media = self._media_novelty(modality, candidate.made.media, measured)
        return replace(measured, media=media)

    def _nearest(self, modality: Modality, candidate: Candidate) -> Measured:
        encoder = self._models.encoders.get(modality)
        if encoder is None:
            return Measured()
        vector = candidate.vector
        # What it was compared by is the home of the modality, or else another of its spaces.
        if vector is None or key_of(encoder.space) != self._space:
            vector = encoder.encode([candidate.made.media])[0]
        key = key_of(encoder.space)
        index = self._store.index(SubMemory(self._namespace, modality, *key))
        if index is not None:
            sequences, cosines = index.search(vector, NOVELTY_DEPTH)
            known = self._store.catalog.places(sequences.tolist(), members=True)
            for sequence, cosine in zip(sequences.tolist(), cosines.tolist(), strict=True):
                if sequence in known:  # has neither expired nor been forgotten
                    return Measured(vector, cosine, known[sequence][0], sequence)
        return Measured(vector)

    def _media_novelty(
        self, modality: Modality, media: Any, measured: Measured
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

    def _read(self, measured: Measured, modality: str) -> Mapping[str, Any]:
        """By its id, the media of the nearest memory; of a long sound the nearest part."""
        assert measured.vector is not None
        memories = self._store.catalog.memories([measured.sequence]).values()
        space = self._models.space(modality)
        sources = neighbours.load(list(memories), measured.vector, space, self._store, self._models)
        return {source.memory.id: source.neighbour.media for source in sources}
