"""Import of a folder: files that share a stem in one folder become one episode.

`birds/owl.png` + `birds/owl.txt` + `birds/owl.ogg` is one episode of three memories; a `.json` of
the same stem is its metadata. Goes through the client; knows neither storage nor models.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from memory_service.client import Client, ServiceError, Stored

SUFFIXES: dict[str, tuple[str, ...]] = {
    "image": (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"),
    "text": (".txt",),
    "audio": (".wav", ".flac", ".ogg", ".oga", ".mp3"),
    "sensor": (".csv",),
}
MODALITY_BY_SUFFIX = {suffix: name for name, suffixes in SUFFIXES.items() for suffix in suffixes}
METADATA_SUFFIX = ".json"
PATIENCE_S = 300.0  # with a service that is overloaded


@dataclass(frozen=True)
class Bundle:
    """The files of one episode to be."""

    path: str  # relative to the imported folder, "/"-separated, without suffix
    image: tuple[Path, ...] = ()
    text: tuple[Path, ...] = ()
    audio: tuple[Path, ...] = ()
    sensor: tuple[Path, ...] = ()
    metadata_file: Path | None = None

    def metadata(self) -> dict[str, Any]:
        """Of the `.json` file, plus where it came from. Raises ValueError, OSError."""
        read = json.loads(self.metadata_file.read_bytes()) if self.metadata_file else {}
        if not isinstance(read, dict):
            raise ValueError(f"{self.metadata_file} is not a JSON object")
        folder = self.path.rpartition("/")[0]
        return {**read, "path": self.path, "folder": folder}


@dataclass(frozen=True)
class Scan:
    folder: Path
    bundles: tuple[Bundle, ...]  # by path
    ignored: tuple[Path, ...]  # files that are of no modality by their name


@dataclass(frozen=True)
class Outcome:
    """What became of one bundle; `reason` says why it was rejected."""

    bundle: Bundle
    status: Literal["stored", "duplicate", "rejected"]
    reason: str | None = None
    stored: Stored | None = None


@dataclass
class Tally:
    counts: Counter[str] = field(default_factory=Counter)  # by status
    memories: Counter[str] = field(default_factory=Counter)  # newly stored, by modality
    rejected: list[tuple[str, str]] = field(default_factory=list)  # path, reason

    def add(self, outcome: Outcome) -> None:
        self.counts[outcome.status] += 1
        if outcome.status == "rejected":
            self.rejected.append((outcome.bundle.path, outcome.reason or ""))
        elif outcome.status == "stored" and outcome.stored:
            self.memories.update(memory.modality for memory in outcome.stored.episode.memories)


def scan(folder: Path) -> Scan:
    """Group the files under `folder`; hidden ones and links to folders are left out.

    Raises NotADirectoryError.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")
    groups: dict[str, list[Path]] = {}
    for path in _files(folder):
        groups.setdefault(path.relative_to(folder).with_suffix("").as_posix(), []).append(path)
    bundles: list[Bundle] = []
    ignored: list[Path] = []
    for stem, paths in sorted(groups.items()):
        bundle, rest = _bundle(stem, sorted(paths))
        ignored += rest
        if bundle:
            bundles.append(bundle)
    return Scan(folder, tuple(bundles), tuple(ignored))


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in names if not name.startswith("."))


def _bundle(stem: str, paths: Sequence[Path]) -> tuple[Bundle | None, list[Path]]:
    media: dict[str, tuple[Path, ...]] = {}
    metadata_file, rest = None, []
    for path in paths:
        suffix = path.suffix.lower()
        if suffix in MODALITY_BY_SUFFIX:
            modality = MODALITY_BY_SUFFIX[suffix]
            media[modality] = (*media.get(modality, ()), path)
        elif suffix == METADATA_SUFFIX:
            metadata_file = path
        else:
            rest.append(path)
    if media:
        return Bundle(stem, metadata_file=metadata_file, **media), rest
    return None, [*rest, *([metadata_file] if metadata_file else [])]


def store_bundles(
    client: Client,
    bundles: Sequence[Bundle],
    *,
    namespace: str = "default",
    workers: int = 2,
    on_outcome: Callable[[Outcome], None],
) -> None:
    """Store all, a few at a time; bundles that are there already are skipped.

    Raises `ServiceError` when the service fails or goes away: run it again to go on. A bundle
    that the service refuses is an outcome, and the rest goes on.
    """
    with ThreadPoolExecutor(workers) as pool:
        try:
            for outcome in pool.map(lambda bundle: _store(client, bundle, namespace), bundles):
                on_outcome(outcome)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _store(client: Client, bundle: Bundle, namespace: str) -> Outcome:
    try:
        stored = _store_patiently(client, bundle, namespace)
    except ServiceError as error:
        if not 400 <= error.status < 500 or error.status == 429:
            raise
        return Outcome(bundle, "rejected", str(error))
    except (OSError, ValueError) as error:
        return Outcome(bundle, "rejected", str(error))
    return Outcome(bundle, "duplicate" if stored.duplicate else "stored", stored=stored)


def _store_patiently(client: Client, bundle: Bundle, namespace: str) -> Stored:
    """Store; a service that has too much to do is asked again when it says so, for a while."""
    give_up = time.monotonic() + PATIENCE_S
    while True:
        try:
            return client.store(
                image=bundle.image,
                text=bundle.text,
                audio=bundle.audio,
                sensor=bundle.sensor,
                namespace=namespace,
                metadata=bundle.metadata(),
                if_duplicate="skip",
            )
        except ServiceError as error:
            pause_s = float(error.details.get("retry_after_s", 1))
            if error.status != 429 or time.monotonic() + pause_s > give_up:
                raise
            time.sleep(pause_s)
