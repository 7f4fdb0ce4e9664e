"""How long it takes, from the input to the output and stage by stage, and an epoch of training.

The stages are those of a request: the query is encoded, searched for in the namespace's own index,
what was found is read and decoded, fused, a thing is made, rendered and encoded for its novelty.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from encoders.base import Modality, Waveform
from memory_service.records import NEAREST, QueryPart
from memory_service.services import neighbours
from memory_service.services.evaluation.cases import MODALITIES
from memory_service.services.evaluation.lab import CREATIVITY, K, Lab, Task
from memory_service.services.queries import encode_parts
from memory_service.services.rendering import render
from memory_service.services.retrieval import Retriever
from memory_service.services.timing import Stopwatch
from memory_service.settings import Settings
from memory_service.storage.store import Store

STAGES = ("encode", "search", "read", "fuse", "generate", "render", "encode again")


class Stages:
    """Milliseconds by stage, one value per request."""

    def __init__(self) -> None:
        self.ms: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.ms[name].append((time.perf_counter() - start) * 1e3)

    def summary(self) -> dict[str, dict[str, float]]:
        """Median and 95th percentile of each, in ms."""
        return {
            name: {
                "median_ms": round(float(np.median(values)), 2),
                "p95_ms": round(float(np.percentile(values, 95)), 2),
            }
            for name, values in self.ms.items()
        }


@dataclass(frozen=True)
class Desk:
    """What requests are made with, and whose they are."""

    store: Store
    retriever: Retriever
    settings: Settings
    namespace: str


def latency(lab: Lab, desk: Desk) -> list[dict[str, Any]]:
    """By task and creativity, over the whole namespace as it is stored; one request first that is
    not counted. Last, all three outputs of one text, where cases have all three."""
    asked: list[tuple[str, Modality, tuple[Modality, ...]]] = [
        (task.name, task.query, (task.output,)) for task in lab.tasks()
    ]
    outputs = tuple(dict.fromkeys(task.output for task in lab.tasks() if task.query == "text"))
    # One request is not counted.
    if len(outputs) == 3 and len(lab.cases.having(*MODALITIES)) > 1:
        asked.append((f"text -> {' + '.join(MODALITIES)}", "text", MODALITIES))
    return [
        _timed(lab, desk, name, query, outputs, creativity)
        for name, query, outputs in asked
        for creativity in (CREATIVITY, 1.0)
    ]


def _timed(
    lab: Lab,
    desk: Desk,
    name: str,
    asked: Modality,
    outputs: tuple[Modality, ...],
    creativity: float,
) -> dict[str, Any]:
    queries = lab.cases.draw(lab.cases.having(asked, *outputs), lab.budget.timed + 1, lab.random())
    stages = Stages()
    made_s: list[float] = []
    with lab.step(f"time: {name}, creativity {creativity:g}"):
        for number, place in enumerate(queries.tolist()):
            if number == 1:
                stages, made_s = Stages(), []  # the first has loaded weights and filled caches
            content = desk.store.blobs.read(lab.cases.all[place].memories[asked].blob)
            with stages.of("total"):
                made = _request(lab, desk, asked, outputs, content, creativity, stages)
            made_s += [m.duration_s for m in made if isinstance(m, Waveform)]
    return {
        "task": name,
        "device": "cpu",
        "creativity": creativity,
        "requests": len(queries) - 1,
        "stages": stages.summary(),
        "total_ms": stages.ms["total"],
        **({"made_s": made_s} if made_s else {}),
    }


def _request(
    lab: Lab,
    desk: Desk,
    asked: Modality,
    outputs: tuple[Modality, ...],
    content: bytes,
    creativity: float,
    stages: Stages,
) -> list[Any]:
    """The stages of several outputs are added up."""
    models, store = lab.models, desk.store
    with stages.of("encode"):
        queries = encode_parts([QueryPart(asked, content)], models, desk.settings)
        query = next(each for each in queries if each.space == lab.space)
    with stages.of("search"):
        retrieval = desk.retriever.recall(
            queries,
            namespace=desk.namespace,
            modalities=None,
            mode="auto",
            k=K,
            filter=None,
            weights=NEAREST,
            watch=Stopwatch(),
        )
    with stages.of("read"):
        chosen = neighbours.choose(retrieval, query, K, outputs, store=store, models=models)
        sources = neighbours.load(chosen, query.vector, lab.space, store, models)
    with stages.of("fuse"):
        condition = lab.condition(Task(outputs[0], asked), query.vector, sources)
    with stages.of("generate"):
        made = [lab.best(output, condition, lab.seed, creativity) for output in outputs]
    with stages.of("render"):
        for output, media in zip(outputs, made, strict=True):
            render(output, media)
    with stages.of("encode again"):
        for output, media in zip(outputs, made, strict=True):
            lab.encode(output, [media])
    return made


def encoders(lab: Lab) -> list[dict[str, Any]]:
    """One item at a time, by modality."""
    found = []
    for modality in MODALITIES:
        places = lab.cases.having(modality)[: lab.budget.timed + 1]
        if len(places) < 2:
            continue
        stages = Stages()
        with lab.step(f"time: encoding of {modality}"):
            media = lab.cases.media(modality, places)
            lab.encode(modality, media[:1])
            for each in media[1:]:
                with stages.of("encode"):
                    lab.encode(modality, [each])
        found.append({"modality": modality, "items": len(media) - 1, **stages.summary()["encode"]})
    return found


def training(lab: Lab) -> list[dict[str, Any]]:
    """An epoch over the cases at hand, by network and by device present."""
    found: list[dict[str, Any]] = []
    bundled = [m for m in ("image", "audio") if _trainable(lab, m)]
    if not bundled:
        return found
    from generator.short_epoch import devices, epochs  # torch: not before it is needed

    for modality in bundled:
        generator = lab.generator(modality)
        assert generator is not None
        places = lab.cases.having(modality)[: lab.budget.trained]
        media, vectors = lab.cases.media(modality, places), lab.cases.vectors(modality, places)
        for device in devices():
            with lab.step(f"time: an epoch of training, {modality}, {device}"):
                for epoch in epochs(generator, media, vectors, device, lab.seed):
                    found.append({"modality": modality, **asdict(epoch)})
    return found


def _trainable(lab: Lab, modality: Modality) -> bool:
    generator = lab.generator(modality)
    return generator is not None and generator.latent and len(lab.cases.having(modality)) >= 2
