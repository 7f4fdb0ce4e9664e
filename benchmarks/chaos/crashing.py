"""`python -m benchmarks.chaos.crashing serve ...`: the service, made to die at a point of its own.

Two environment variables: CHAOS_CRASH=point:count kills the process (SIGKILL) the count-th time
that it comes by the point; CHAOS_REPORT=file has written there, before serving begins, where the
indexes that were opened do not hold what the catalog does. The points lie in what the service
calls (`os`, SQLite): its own code knows nothing of them. A kill loses what the process held, not
what the kernel did: this proves the order of writing, and that each step can be the last; not that
a disk keeps what it was told to.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Each with the most times that it is let pass: about as often as it is come by in a second.
POINTS = {
    "write-half": 5,  # half of a file is written
    "fsync-before": 10,
    "fsync-after": 10,
    "rename-before": 5,
    "rename-after": 5,
    "delete-before": 3,
    "delete-after": 3,
    "statement-before": 200,  # within a transaction
    "commit-before": 30,
    "commit-after": 30,
    "checkpoint-before": 10,  # folding the log into the database
    "checkpoint-after": 10,
}


class Fuse:
    """Dies the count-th time that its point is come by."""

    def __init__(self, point: str, count: int) -> None:
        self._point = point
        self._left = count
        self._lock = threading.Lock()

    def burns(self, point: str) -> bool:
        if point != self._point:
            return False
        with self._lock:
            self._left -= 1
            return self._left == 0

    def at(self, point: str) -> None:
        if self.burns(point):
            os.kill(os.getpid(), signal.SIGKILL)


def install(fuse: Fuse) -> None:
    """Put the points around the calls that change what is on the disk."""
    for name, point in {
        "fsync": "fsync",
        "fdatasync": "fsync",
        "replace": "rename",
        "rename": "rename",
        "unlink": "delete",
        "remove": "delete",
    }.items():
        setattr(os, name, _around(getattr(os, name), point, fuse))
    write = os.write

    def half(descriptor: int, content: Any) -> int:
        if len(content) > 64 and fuse.burns("write-half"):
            write(descriptor, bytes(content)[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return write(descriptor, content)

    os.write = half
    connect = sqlite3.connect

    def connected(*arguments: Any, factory: type = sqlite3.Connection, **named: Any) -> Any:
        return connect(*arguments, factory=_crashing(factory, fuse), **named)

    sqlite3.connect = connected


def _around(call: Callable[..., Any], point: str, fuse: Fuse) -> Callable[..., Any]:
    @functools.wraps(call)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        fuse.at(f"{point}-before")
        result = call(*arguments, **named)
        fuse.at(f"{point}-after")
        return result

    return wrapped


def _crashing(factory: type, fuse: Fuse) -> type:
    def execute(self: Any, statement: str, *arguments: Any) -> Any:
        word = statement.lstrip()[:40].upper()
        point = None
        if word.startswith(("INSERT", "UPDATE", "DELETE")):
            fuse.at("statement-before")
        elif word.startswith("COMMIT"):
            point = "commit"
        elif word.startswith("PRAGMA WAL_CHECKPOINT"):
            point = "checkpoint"
        if point is None:
            return factory.execute(self, statement, *arguments)
        fuse.at(f"{point}-before")
        result = factory.execute(self, statement, *arguments)
        fuse.at(f"{point}-after")
        return result

    def commit(self: Any) -> None:
        fuse.at("commit-before")
        factory.commit(self)
        fuse.at("commit-after")

    return type(factory.__name__, (factory,), {"execute": execute, "commit": commit})


def disagreements(application: Any) -> list[str]:
    """Where the opened indexes and the catalog do not say the same."""
    store = application.store
    expected: dict[tuple[str, str], list[int]] = {}
    for memory in store.catalog.list_memories():
        expected.setdefault((memory.namespace, memory.modality), []).append(memory.sequence)
    found = []
    indexed = {}
    for key, index in store.indexes():
        sequences = index.sequences().tolist()
        if sequences:
            indexed[key.namespace, key.modality] = sequences
        for sequence in sequences[-20:] + sequences[: len(sequences) // 20 : 7]:
            vector = store.catalog.vector(sequence, (key.space_id, key.fingerprint))
            nearest, cosines = index.search(vector, 5)
            best = dict(zip(nearest.tolist(), cosines.tolist(), strict=True))
            if best.get(sequence, max(cosines)) < 0.99:
                found.append(f"{key.modality} {sequence} is indexed with another vector")
    for key in sorted(expected.keys() | indexed.keys()):
        catalogued, own = set(expected.get(key, ())), set(indexed.get(key, ()))
        if catalogued != own:
            lacking, extra = sorted(catalogued - own)[:5], sorted(own - catalogued)[:5]
            found.append(f"index of {key}: lacks {lacking}, has {extra} that are not catalogued")
    return found


def reporting(build: Callable[..., Any], report: Path) -> Callable[..., Any]:
    def built(*arguments: Any, **named: Any) -> Any:
        application = build(*arguments, **named)
        report.write_text(json.dumps(disagreements(application)))
        return application

    return built


def main() -> None:
    if crash := os.environ.get("CHAOS_CRASH"):
        point, _, count = crash.partition(":")
        install(Fuse(point, int(count)))
    from memory_service import bootstrap
    from memory_service.cli import app

    if report := os.environ.get("CHAOS_REPORT"):
        bootstrap.build = reporting(bootstrap.build, Path(report))
    app(sys.argv[1:])


if __name__ == "__main__":
    main()
