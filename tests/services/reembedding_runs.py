"""What the tests of re-embedding share: a run, and what to see of it."""

from typing import Any

import pytest

from encoders import registry
from encoders.base import Space
from memory_service.app import Application
from memory_service.records import Job, QueryPart
from memory_service.services.reembedding import Request

FAKE = ("fake", "fake-1")
OTHER = ("other", "other-1")
TARGETS = {modality: {OTHER: 400} for modality in ("image", "text", "audio")}
FOX = QueryPart("text", b"a red fox")


def run(app: Application, profile: str = "other", **options: Any) -> Job:
    return app.reembedding.run(Request(profile, **options))


def proof(job: Job) -> Any:
    found = (job.result or job.error or {})["proof"]
    return {name: tuple(each.values()) for name, each in found["modalities"].items()}


def roles(app: Application) -> dict[tuple[str, str], tuple[str, int]]:
    return {
        (each["modality"], each["space"]): (each["role"], each["vectors"])
        for each in app.reembedding.spaces()
    }


def found_names(app: Application, part: QueryPart = FOX, **options: Any) -> list[str]:
    hits = app.retriever.retrieve([part], **options).hits
    return [hit.memory.metadata["name"] for hit in hits["text"]]


def vectors_in(app: Application, space: tuple[str, str]) -> int:
    memories, _ = app.memory.list(limit=1000)
    return sum(app.store.catalog.vector(each.sequence, space) is not None for each in memories)


def give_other_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Profile fake encodes into space `fake-2` from now on."""
    for encoder in registry.load_profile("fake").encoders.values():
        if hasattr(type(encoder), "space"):  # a series' is that of the texts
            monkeypatch.setattr(type(encoder), "space", Space("fake", 384, "fake-2"))
