"""Builds the application from settings: the only place that chooses concrete classes."""

from __future__ import annotations

import sys

from encoders.media import Limits
from encoders.registry import Profile, load_profile
from generator.registry import load_generators
from memory_service.app import Application, profile_info
from memory_service.services.generation import GenerationService
from memory_service.services.memory import MemoryStore
from memory_service.services.models import Models
from memory_service.services.retrieval import Retriever
from memory_service.settings import Settings
from memory_service.storage.store import Store


def build(settings: Settings) -> Application:
    """Load the profile and open the data folder, which no other process may hold.

    Raises StorageFailure when the folder is in use or broken, and what `load_profile` raises.
    """
    models = _models(settings)
    store = Store(settings.data_dir, threads=settings.threads)
    retriever = Retriever(store, models, settings)
    return Application(
        settings=settings,
        memory=MemoryStore(store, models, settings),
        retriever=retriever,
        generation=GenerationService(store, models, retriever, settings),
        profile=profile_info(models),
        store=store,
    )


def _models(settings: Settings) -> Models:
    profile = _profile(settings)
    _limit_threads(settings.threads)
    # The generators are conditioned on the space that texts and pictures share.
    space = next(
        profile.encoders[modality].space
        for modality in ("text", "image", "audio")
        if modality in profile.encoders
    )
    generators = load_generators(profile.name, space, settings.threads)
    return Models(
        profile=profile.name,
        encoders=profile.encoders,
        calibration=profile.calibration,
        generators=generators,
        generator_space=space if len(generators) else None,
        limits=Limits(
            max_pixels=settings.max_pixels,
            max_audio_s=settings.max_audio_s,
            max_text_chars=settings.max_text_chars,
        ),
    )


def _limit_threads(threads: int) -> None:
    """Several requests compute at once: torch would give each of them all the cores.

    Only where a profile has brought torch in: the generators limit it when they do, OpenVINO has
    threads of its own, and FAISS is told at each search.
    """
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)


def _profile(settings: Settings) -> Profile:
    if settings.profile == "openclip":
        return load_profile(
            "openclip", model=settings.openclip_model, pretrained=settings.openclip_pretrained
        )
    if settings.profile == "bundled":
        return load_profile("bundled", runtime=settings.runtime, threads=str(settings.threads))
    return load_profile(settings.profile)
