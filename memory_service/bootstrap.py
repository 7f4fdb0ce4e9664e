"""Builds the application from settings: the only place that chooses concrete classes."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from encoders.base import Encoder, Modality, Space
from encoders.errors import ModelUnavailable
from encoders.media import Limits
from encoders.registry import Profile, load_profile, profile_names
from generator.backends import ChatEndpoint, open_backends
from generator.base import Generator
from generator.registry import (
    DEFAULT_MODES,
    identity,
    limit_torch_threads,
    load_generators,
    load_modes,
    load_weights,
)
from memory_service.app import Application
from memory_service.clock import Clock, SystemClock
from memory_service.decoding import Decoders, InProcess, Workers
from memory_service.decoding.pool import Pool
from memory_service.errors import ModalityUnavailable
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
from memory_service.services.memory import MemoryStore
from memory_service.services.models import Models
from memory_service.services.namespaces import Namespaces
from memory_service.services.preparation import Preparation
from memory_service.services.recalls import Recalls
from memory_service.services.reembedding import Reembedding
from memory_service.services.retrieval import Retriever
from memory_service.services.storing import Storing
from memory_service.services.thumbnails import ThumbnailService
from memory_service.services.upkeep import Upkeep
from memory_service.settings import Settings
from memory_service.storage import field_indexes
from memory_service.storage.audit import AuditLog
from memory_service.storage.keys import KeyFile
from memory_service.storage.store import Store
from memory_service.trail import Made


def build(settings: Settings, clock: Clock | None = None) -> Application:
    """Load the profile and open the data folder, which no other process may hold.

    `clock` is the machine's, unless another is given.
    Raises StorageFailure when the folder is in use or broken, and what `load_profile` raises.
    """
    clock = clock or SystemClock()
    observers: list[Observer] = []
    decoders = _decoders(settings)
    active = ActiveModels(_models(settings, observers, decoders))
    store = open_store(settings, clock)
    namespaces = Namespaces(store, settings)
    recalls = Recalls(store, namespaces, clock)
    storing = Storing(store, active, settings, clock)
    retriever = Retriever(store, active, recalls, settings)
    jobs = Jobs(store, clock, settings.jobs_kept)
    audit = _audit(settings)
    upkeep = Upkeep(store, recalls, clock, settings.upkeep_s, _notes_of_expired(audit, clock))
    upkeep.start()
    memory = MemoryStore(store, active, recalls, storing, settings, clock)
    return Application(
        settings=settings,
        memory=memory,
        storing=storing,
        thumbnails=ThumbnailService(store, active, memory),
        retriever=retriever,
        encoding=Encoding(active, settings),
        generation=GenerationService(store, active, retriever, recalls, settings, clock),
        generations=Generations(store, active),
        forgetting=Forgetting(store, namespaces, jobs),
        namespaces=namespaces,
        backups=Backups(store, jobs, settings, clock),
        consolidation=Consolidation(store, active, jobs, recalls, clock),
        preparation=Preparation(active, wanted=settings.load_generators == "ahead"),
        upkeep=upkeep,
        reembedding=Reembedding(
            store, active, jobs, _loader(settings, observers, decoders), profile_names()
        ),
        evaluation=Evaluation(
            store, active, retriever, jobs, settings, clock, partial(_weights_of, settings)
        ),
        jobs=jobs,
        keys=open_keys(settings, clock),
        audit=audit,
        active=active,
        store=store,
        observers=observers,
        decoders=decoders,
    )


def open_store(settings: Settings, clock: Clock | None = None) -> Store:
    """The data folder without any models. Raises StorageFailure, and InvalidInput for names of
    fields that cannot be indexed."""
    fields = field_indexes.declared(settings.indexed_fields)
    store = Store(
        settings.data_dir,
        threads=settings.threads,
        clock=clock,
        most_namespaces=settings.max_namespaces,
    )
    try:
        field_indexes.bring_about(store.catalog, fields)
    except BaseException:
        store.close()
        raise
    return store


def _audit(settings: Settings) -> AuditLog | None:
    if settings.audit_files == 0:
        return None
    limits = {"max_bytes": settings.audit_max_bytes, "files": settings.audit_files}
    return AuditLog(settings.data_dir, **limits)


def _notes_of_expired(audit: AuditLog | None, clock: Clock) -> Callable[[Made], None]:
    """Writes a line of the audit log that is nobody's request."""
    nobody = dict.fromkeys(("request_id", "key", "method", "route", "status"))

    def note(gone: Made) -> None:
        if audit is not None:
            audit.add({"time": clock.now(), **nobody, "by": "expiry", **gone})

    return note


def open_keys(settings: Settings, clock: Clock | None = None) -> Keys:
    """The keys of the data folder, whether a service holds it or not. Raises StorageFailure."""
    return Keys(KeyFile(settings.data_dir), clock or SystemClock())


def _weights_of(settings: Settings, folder: str, space: Space) -> Mapping[Modality, Generator]:
    return load_weights(Path(folder), space, settings.threads)


def _loader(
    settings: Settings, observers: list[Observer], decoders: Decoders
) -> Callable[[str], Models]:
    """Loads another profile by name, under the same settings."""

    def load(profile: str) -> Models:
        try:
            return _models(settings.model_copy(update={"profile": profile}), observers, decoders)
        except ModelUnavailable as error:
            raise ModalityUnavailable(str(error), profile=profile) from error

    return load


def _models(settings: Settings, observers: list[Observer], decoders: Decoders) -> Models:
    profile = _profile(settings)
    # If a profile has brought torch in; OpenVINO has its own, and FAISS is told at each search.
    limit_torch_threads(settings.threads)
    # The generators are conditioned on the space that texts and pictures share.
    space = (profile.encoders.get("text") or next(iter(profile.encoders.values()))).space
    generators = load_generators(profile.name, space, settings.threads, settings.runtime)
    encoders = {
        name: _batched(each, settings, observers) for name, each in profile.encoders.items()
    }
    chosen = _chosen_generators(settings, profile)
    together: Mapping[Modality, Generator] = (
        ChainMap(chosen, generators) if chosen else generators  # type: ignore[arg-type]
    )
    return Models(
        profile=profile.name,
        encoders=encoders,
        calibration=profile.calibration,
        generators=together,
        identify=partial(identity, together),
        generator_space=space if len(generators) else None,
        modes=load_modes(profile.name, space, encoders.get("text")),
        default_modes=DEFAULT_MODES,
        generator_spaces={name: profile.encoders[name].space for name in chosen},
        limits=Limits(
            max_pixels=settings.max_pixels,
            max_audio_s=settings.max_audio_s,
            max_text_chars=settings.max_text_chars,
        ),
        further=tuple(_batched(each, settings, observers) for each in profile.further),
        weights=profile.weights,
        decoders=decoders,
    )


def _chosen_generators(settings: Settings, profile: Profile) -> dict[Modality, Generator]:
    """Those that the settings name, in place of the profile's own or beside them."""
    return open_backends(
        {
            "image": settings.image_generator,
            "text": settings.text_generator,
            "audio": settings.audio_generator,
        },
        {name: encoder.space for name, encoder in profile.encoders.items()},
        steps=settings.generator_steps,
        chat=ChatEndpoint(
            settings.chat_base_url,
            settings.chat_api_key.get_secret_value() if settings.chat_api_key else "",
            settings.chat_timeout_s,
        ),
    )


def _decoders(settings: Settings) -> Decoders:
    if settings.decode == "inline":
        return InProcess()
    # What a worker holds at once: the content, the pixels several times over, and Python itself.
    max_bytes = 2**30 + 16 * settings.max_pixels + 2 * settings.max_upload_bytes
    pools = [
        Pool(settings.decode_workers, timeout_s=settings.decode_timeout_s, max_bytes=max_bytes)
        for _ in range(2)
    ]
    return Workers(*pools)


def _batched(encoder: Encoder, settings: Settings, observers: list[Observer]) -> Encoder:
    if settings.batch_items == 1:
        return encoder
    return BatchingEncoder(
        encoder,
        max_batch=settings.batch_items,
        max_wait_s=settings.batch_wait_ms / 1e3,
        max_queue=settings.queue_items,
        observers=observers,
    )


def _profile(settings: Settings) -> Profile:
    if settings.profile == "openclip":
        return load_profile(
            "openclip",
            model=settings.openclip_model,
            pretrained=settings.openclip_pretrained,
            clap=settings.clap_model,
        )
    if settings.profile == "bundled":
        return load_profile("bundled", runtime=settings.runtime, threads=str(settings.threads))
    return load_profile(settings.profile)
