"""Import of a folder: files that share a stem in one folder become one episode.

`birds/owl.png` + `birds/owl.txt` + `birds/owl.ogg` is one episode of three memories; a `.json` of
the same stem is its metadata. Goes through the client; knows neither storage nor models.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from memory_service.client import BatchAnswer, Client, ServiceError, Stored
from memory_service.client.arguments import StoreArguments

SUFFIXES: dict[str, tuple[str, ...]] = {
    "image": (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"),
    "text": (".txt",),
    "audio": (".wav", ".flac", ".ogg", ".oga", ".mp3"),
    "sensor": (".csv",),
}
MODALITY_BY_SUFFIX = {suffix: name for name, suffixes in SUFFIXES.items() for suffix in suffixes}
METADATA_SUFFIX = ".json"
CHUNK_BUNDLES = 64  # of one request, which is one group of the service's or less
CHUNK_BYTES = 3 * 2**20  # of files; base64 adds a third
OVERLOADED = 429
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

    def files(self) -> dict[str, tuple[Path, ...]]:
        """By modality."""
        return {name: getattr(self, name) for name in SUFFIXES}

    def size_bytes(self) -> int:
        """Of all files that are there."""
        total = 0
        for path in chain(*self.files().values()):
            with suppress(OSError):
                total += path.stat().st_size
        return total

    def episode(self, namespace: str) -> StoreArguments:
        """What is to be stored, read from the files. Raises ValueError, OSError."""
        media = {name: [path.read_bytes() for path in own] for name, own in self.files().items()}
        return {
            "media": media,
            "namespace": namespace,
            "metadata": self.metadata(),
            "if_duplicate": "skip",
        }


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
    """Store all, a chunk of them per request and a few requests at a time, so that reading here,
    and decoding, encoding and writing there overlap. Files are read when it is their turn.

    Bundles that are there already are skipped. Raises `ServiceError` when the service fails or goes
    away: run it again to go on. A bundle that the service refuses is an outcome, and the rest goes
    on.
    """
    with ThreadPoolExecutor(workers) as pool:
        running: deque[Future[list[Outcome]]] = deque()
        try:
            for chunk in _chunks(bundles):
                running.append(pool.submit(_store, client, chunk, namespace))
                if len(running) > workers:
                    _report(running.popleft(), on_outcome)
            while running:
                _report(running.popleft(), on_outcome)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _report(done: Future[list[Outcome]], on_outcome: Callable[[Outcome], None]) -> None:
    for outcome in done.result():
        on_outcome(outcome)


def _chunks(bundles: Iterable[Bundle]) -> Iterator[list[Bundle]]:
    """Bundles for a request each, of bounded number and size."""
    chunk: list[Bundle] = []
    size = 0
    for bundle in bundles:
        more = bundle.size_bytes()
        if chunk and (len(chunk) == CHUNK_BUNDLES or size + more > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(bundle)
        size += more
    if chunk:
        yield chunk


def _store(client: Client, chunk: Sequence[Bundle], namespace: str) -> list[Outcome]:
    """The outcomes in the order of the chunk."""
    outcomes: dict[str, Outcome] = {}
    left: dict[str, StoreArguments] = {}
    for bundle in chunk:
        try:
            left[bundle.path] = bundle.episode(namespace)
        except (OSError, ValueError) as error:
            outcomes[bundle.path] = Outcome(bundle, "rejected", str(error))
    by_path = {bundle.path: bundle for bundle in chunk}
    give_up = time.monotonic() + PATIENCE_S
    while left:
        busy: ServiceError | None = None
        for path, answer in _ask(client, left):
            if answer.error is not None and answer.error.status == OVERLOADED:
                busy = answer.error
            else:
                outcomes[path] = _outcome(by_path[path], answer)
                del left[path]
        if busy is not None:
            _wait(busy, give_up)
    return [outcomes[bundle.path] for bundle in chunk]


def _ask(client: Client, episodes: Mapping[str, StoreArguments]) -> list[tuple[str, BatchAnswer]]:
    """What became of each; of a service that takes no batch now, of all the same."""
    try:
        answers = list(client.store_batch(episodes.values()))
    except ServiceError as error:
        if error.status != OVERLOADED:
            raise
        answers = [BatchAnswer(0, error.status, error=error)] * len(episodes)
    return list(zip(episodes, answers, strict=True))


def _outcome(bundle: Bundle, answer: BatchAnswer) -> Outcome:
    if answer.error is not None:
        if answer.status >= 500:
            raise answer.error
        return Outcome(bundle, "rejected", str(answer.error))
    assert answer.stored is not None
    status = "duplicate" if answer.stored.duplicate else "stored"
    return Outcome(bundle, status, stored=answer.stored)  # type: ignore[arg-type]


def _wait(busy: ServiceError, give_up: float) -> None:
    """A service that has too much to do is asked again when it says so, for a while."""
    pause_s = float(busy.details.get("retry_after_s", 1))
    if time.monotonic() + pause_s > give_up:
        raise busy
    time.sleep(pause_s)
