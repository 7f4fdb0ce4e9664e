"""Snapshots of indexes: whole, and of what the catalog has. They are copies, made anew at need."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import astuple
from pathlib import Path

from memory_service.storage.fsck.findings import Finding, Folder
from memory_service.storage.vectors import SubMemory
from memory_service.storage.vectors.snapshots import (
    FORMAT,
    MANIFEST,
    checksum,
    folder_of,
    is_ours,
    remove,
)

FOLDER = "indexes"
MOVE = "move it elsewhere: it is no file of this service, which leaves it where it is"
_SUB_MEMORIES = (
    "SELECT DISTINCT namespace, modality, s.id, fingerprint FROM memories"
    " JOIN vectors USING (sequence) JOIN spaces s ON s.number = space"
)


def check(folder: Folder) -> Iterator[Finding]:
    known = {
        folder_of(SubMemory(*row)): SubMemory(*row) for row in folder.catalog.select(_SUB_MEMORIES)
    }
    for path in sorted((folder.path / FOLDER).glob("*")):
        if path.name not in known and not is_ours(path):
            yield Finding("index_unknown", path.name, str(path), advice=MOVE)
        elif path.name not in known:
            yield Finding("snapshot_broken", path.name, "of no index", _removing(path))
        elif (fault := _fault(path)) is not None:
            subject = "/".join(astuple(known[path.name]))
            yield Finding("snapshot_broken", subject, fault, _removing(path))


def _fault(path: Path) -> str | None:
    try:
        envelope = json.loads((path / MANIFEST).read_bytes())
        if zlib.crc32(envelope["body"].encode()) != envelope["checksum"]:
            return "its manifest is not as it was written"
        body = json.loads(envelope["body"])
        if body["format"] != FORMAT:
            return f"it has format {body['format']}, not {FORMAT}"
        for name, expected in body["checksums"].items():
            if Path(name).name != name or checksum(path / name) != expected:
                return f"{name} is not as it was written"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"it cannot be read: {type(error).__name__}"
    return None


def _removing(path: Path) -> Callable[[], str]:
    def repair() -> str:
        remove(path)
        return "deleted: the next start builds the index from the catalog"

    return repair
