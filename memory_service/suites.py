"""What the package evaluates itself by: real media in a store that lasts as long as the evaluation.

The sample, which is there on every machine, or the test split of a training collection. Goes
through the application; chooses nothing that `bootstrap` chooses.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from memory_service.app import Application
from memory_service.bootstrap import build
from memory_service.errors import MemoryServiceError
from memory_service.importer import Bundle, scan
from memory_service.records import Job, Upload
from memory_service.services.evaluation.reports import Report
from memory_service.services.evaluation.request import Request
from memory_service.settings import Settings

log = logging.getLogger(__name__)

MANIFEST = "manifest.jsonl"  # of a collection: encoders/training/data
FIELDS = frozenset(("id", "modality", "source", "style", "concept", "split", "path", "caption"))
MAX_ITEMS = {"shipped": 400, "quick": 40}  # episodes
TRAINING_ITEMS = 1000  # of the training, that copies are looked for in
TRAINING = "training"  # namespace


class NothingToEvaluate(ValueError):
    """There is no sample, or no collection, where it was looked for."""


@dataclass(frozen=True)
class Planned:
    """An episode to be stored: files by modality, and its text."""

    files: tuple[tuple[str, Path], ...]
    text: str | None
    metadata: Mapping[str, Any]

    def uploads(self) -> list[Upload]:
        found = [Upload(modality, path.read_bytes()) for modality, path in self.files]
        return found if self.text is None else [*found, Upload("text", self.text.encode())]


@dataclass(frozen=True)
class Suite:
    """`source` says in words what it is; `training`: what the models were trained on, or empty."""

    name: str
    source: str
    field: str  # metadata field for transfer and classifier
    episodes: Sequence[Planned]
    training: Sequence[Planned] = ()


def suite(
    name: str,
    *,
    samples: Path,
    collection: Path | None = None,
    max_items: int | None = None,
    seed: int = 0,
) -> Suite:
    """`shipped` or `quick`, of the sample or of a collection's test split.

    Raises NothingToEvaluate, and ValueError for a broken manifest.
    """
    most = max_items or MAX_ITEMS[name]
    random = np.random.default_rng(seed)
    if collection is not None:
        if not (collection / MANIFEST).is_file():
            raise NothingToEvaluate(
                f"there is no collection in {collection}: "
                "python -m encoders.training.data builds it"
            )
        return _of_collection(name, collection, most, random)
    if not samples.is_dir():
        raise NothingToEvaluate(f"there is no sample in {samples}: name one by --samples")
    return _of_samples(name, samples, most, random)


def _of_samples(name: str, samples: Path, most: int, random: np.random.Generator) -> Suite:
    bundles = [bundle for bundle in scan(samples).bundles if bundle.text or bundle.image]
    splits: dict[str, str] = {}
    if (samples / "splits.json").is_file():
        splits = json.loads((samples / "splits.json").read_bytes())
    # What no training saw first, then what has a sound: those tell most, and are few.
    order = sorted(
        random.permutation(len(bundles)).tolist(),
        key=lambda n: (splits.get(bundles[n].path) != "test", not bundles[n].audio),
    )
    chosen = [bundles[n] for n in sorted(order[:most])]
    planned = [_from_bundle(bundle, splits.get(bundle.path)) for bundle in chosen]
    source = f"{len(planned)} of the {len(bundles)} episodes of {samples.name}"
    return Suite(name, source, "folder", planned)


def _from_bundle(bundle: Bundle, split: str | None) -> Planned:
    named: Mapping[str, Sequence[Path]] = {"image": bundle.image, "audio": bundle.audio}
    files = tuple((modality, paths[0]) for modality, paths in named.items() if paths)
    metadata = bundle.metadata() | ({} if split is None else {"split": split})
    text = bundle.text[0].read_text("utf-8") if bundle.text else None
    return Planned(files, text, metadata)


def _of_collection(name: str, folder: Path, most: int, random: np.random.Generator) -> Suite:
    with (folder / MANIFEST).open(encoding="utf-8") as lines:
        items = [json.loads(line) for line in lines]
    for item in items:
        if missing := FIELDS - set(item):
            raise ValueError(f"{folder / MANIFEST}: an item lacks {', '.join(sorted(missing))}")
    test = [item for item in items if item["split"] == "test"]
    train = [item for item in items if item["split"] == "train"]
    chosen, known = _evenly(test, most, random), _evenly(train, TRAINING_ITEMS, random)
    source = f"{len(chosen)} of the {len(test)} items of the test split of {folder.name}"
    planned = [_from_item(folder, item) for item in chosen]
    return Suite(name, source, "source", planned, [_from_item(folder, i) for i in known])


def _evenly(
    items: Sequence[Mapping[str, Any]], most: int, random: np.random.Generator
) -> list[Mapping[str, Any]]:
    """At most `most` items, from each modality and source in turn: speech alone outnumbers all."""
    groups = defaultdict(list)
    for place in random.permutation(len(items)).tolist():
        groups[items[place]["modality"], items[place]["source"]].append(items[place])
    found: list[Mapping[str, Any]] = []
    while len(found) < most and any(groups.values()):
        for group in groups.values():
            if group and len(found) < most:
                found.append(group.pop())
    return sorted(found, key=lambda item: str(item["id"]))


def _from_item(folder: Path, item: Mapping[str, Any]) -> Planned:
    metadata = {name: item[name] for name in ("concept", "split", "source", "style")}
    return Planned(((item["modality"], folder / item["path"]),), item["caption"], metadata)


@contextmanager
def filled(
    planned: Suite, settings: Settings, on_stored: Callable[[int, int], None]
) -> Iterator[Application]:
    """An application over a folder that is deleted afterwards, with the suite's episodes stored.

    `on_stored` is told how many are in, and of how many. What the service refuses is left out.
    """
    everything = [
        *((planned.name, each) for each in planned.episodes),
        *((TRAINING, each) for each in planned.training),
    ]
    with (
        tempfile.TemporaryDirectory(prefix="memory-service-evaluation-") as folder,
        build(settings.model_copy(update={"data_dir": Path(folder)})) as application,
    ):
        for number, (namespace, episode) in enumerate(everything, start=1):
            try:
                application.memory.store(
                    episode.uploads(), namespace=namespace, metadata=episode.metadata
                )
            except MemoryServiceError as error:
                log.warning("%s is left out: %s", episode.files, error)
            on_stored(number, len(everything))
        yield application


def evaluate(
    planned: Suite,
    settings: Settings,
    *,
    seed: int = 0,
    queries: int | None = None,
    without_memory: Path | None = None,
    on_stored: Callable[[int, int], None] = lambda done, of: None,
    on_change: Callable[[Job], None] = lambda job: None,
) -> tuple[Job, Report | None]:
    """Store the suite, evaluate it, and give up the store; no report of a job that failed."""
    request = Request(
        namespace=planned.name,
        depth="quick" if planned.name == "quick" else "full",
        max_items=max(8, len(planned.episodes)),
        seed=seed,
        field=planned.field,
        training=TRAINING if planned.training else None,
        source=planned.source,
        queries=queries,
        without_memory=None if without_memory is None else str(without_memory),
    )
    with filled(planned, settings, on_stored) as application:
        job = application.evaluation.run(request, on_change)
        report = application.evaluation.report(job.id) if job.state == "succeeded" else None
    return job, report
