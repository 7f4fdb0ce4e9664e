"""The running application: the services over one data folder, with one profile of models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from encoders.base import Weights
from encoders.modalities import kinds
from encoders.sensor import series
from memory_service.decoding import Decoders
from memory_service.services.active import ActiveModels
from memory_service.services.backups import Backups
from memory_service.services.batching import BatchingEncoder, Observer
from memory_service.services.consolidation import Consolidation
from memory_service.services.encoding import Encoding
from memory_service.services.evaluation.service import Evaluation
from memory_service.services.forgetting import Forgetting
from memory_service.services.generation import GenerationService
from memory_service.services.generations import Generations
from memory_service.services.jobs import Jobs
from memory_service.services.keys import Keys
from memory_service.services.memory import MAX_LIST, MAX_PART_S, MemoryStore
from memory_service.services.models import Models, mismatch, mismatches
from memory_service.services.namespaces import Namespaces
from memory_service.services.planning import MAX_EPISODES
from memory_service.services.preparation import Preparation
from memory_service.services.reembedding import Reembedding
from memory_service.services.retrieval import Retriever
from memory_service.services.storing import Storing
from memory_service.services.thumbnails import ThumbnailService
from memory_service.services.upkeep import Upkeep
from memory_service.settings import Settings
from memory_service.storage.audit import AuditLog
from memory_service.storage.database import WriteObserver
from memory_service.storage.store import Store

SETTABLE_LIMITS = {name for name in Settings.model_fields if name.startswith(("max_", "queue_"))}
MODALITIES = tuple(kinds())  # names of all that can be stored and asked by, as fields of requests


@dataclass(frozen=True)
class EncoderInfo:
    """What is known of an encoder without calling it."""

    modality: str
    name: str
    space_id: str
    dimension: int
    fingerprint: str
    accepted: tuple[str, ...]  # media types


@dataclass(frozen=True)
class GeneratorInfo:
    """What makes a modality by default."""

    modality: str
    name: str
    fingerprint: str


@dataclass(frozen=True)
class ProfileInfo:
    """The active models. `generators`: of the modalities that can be generated.

    A modality that lives in several spaces has an encoder for each, that of its home first.
    """

    name: str
    encoders: tuple[EncoderInfo, ...]
    generators: tuple[GeneratorInfo, ...]
    weights: tuple[Weights, ...] = ()


@dataclass(frozen=True)
class Application:
    """Made by `memory_service.bootstrap.build`; holds the data folder until `close`."""

    settings: Settings
    memory: MemoryStore
    storing: Storing
    retriever: Retriever
    encoding: Encoding
    generation: GenerationService
    generations: Generations
    forgetting: Forgetting
    thumbnails: ThumbnailService
    namespaces: Namespaces
    backups: Backups
    consolidation: Consolidation
    preparation: Preparation
    upkeep: Upkeep
    reembedding: Reembedding
    evaluation: Evaluation
    jobs: Jobs
    keys: Keys
    audit: AuditLog | None
    active: ActiveModels
    store: Store
    decoders: Decoders
    observers: list[Observer]  # of all batching encoders, those of a later profile, too

    def observe_batches(self, observer: Observer) -> None:
        """Have `observer` told what is encoded together, and what waits."""
        self.observers.append(observer)

    def observe_writes(self, observer: WriteObserver) -> None:
        """Have `observer` told what is written into the catalog, and how long that takes."""
        self.store.catalog.observers.append(observer)

    @property
    def batching(self) -> tuple[BatchingEncoder, ...]:
        every = self.active.models.all_encoders()
        return tuple(each for each in every if isinstance(each, BatchingEncoder))

    def index_sizes(self) -> list[tuple[tuple[str, str, str], int, int]]:
        """(namespace, modality, space), the number of vectors, and the bytes of each index."""
        return [
            ((key.namespace, key.modality, key.space_id), len(index), index.size_bytes)
            for key, index in self.store.indexes()
        ]

    @property
    def profile(self) -> ProfileInfo:
        return profile_info(self.active.models)

    def mismatch(self) -> str | None:
        """What stores and retrievals will be refused with, as long as the store has vectors of
        other encoders; None when all fits."""
        return mismatch(self.active.models, self.store)

    def mismatches(self) -> dict[str, str]:
        """By modality, why these are refused; empty when all fits."""
        return mismatches(self.active.models, self.store)

    def full(self) -> bool:
        """The disk is full: what would be written is refused, deletions pass."""
        return self.store.removal.full

    def close(self) -> None:
        """Give up the data folder; no other method may be called afterwards."""
        self.preparation.close()
        self.jobs.close()
        self.upkeep.close()
        self.active.models.close()
        self.decoders.close()
        self.store.close()
        self.keys.close()
        if self.audit is not None:
            self.audit.close()

    def __enter__(self) -> Application:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def limits(settings: Settings) -> dict[str, Any]:
    """What callers must stay within, set or fixed, by name; counts are whole numbers."""
    return {
        **settings.model_dump(include=SETTABLE_LIMITS),
        "max_series_channels": series.MOST_CHANNELS,
        "max_series_values": series.MOST_VALUES,
        "max_generation_k": MAX_EPISODES,
        "max_list": MAX_LIST,
        "max_part_s": MAX_PART_S,
    }


def profile_info(models: Models) -> ProfileInfo:
    return ProfileInfo(
        name=models.profile,
        encoders=tuple(
            EncoderInfo(
                modality=encoder.modality,
                name=encoder.name,
                space_id=encoder.space.id,
                dimension=encoder.space.dimension,
                fingerprint=encoder.space.fingerprint,
                accepted=kinds()[encoder.modality].accepted,
            )
            for encoder in models.all_encoders()
        ),
        generators=tuple(
            GeneratorInfo(modality, *models.identity(modality)) for modality in models.generators
        ),
        weights=models.weights,
    )
