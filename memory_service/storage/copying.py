"""Contents from one folder into another, verified on the way: what backups and restores do."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from memory_service.storage.blobs import BlobStore, sha256_of, sync_folder

BLOCK = 2**20  # bytes read at a time


@dataclass
class Progress:
    """How far a backup or a restore is, and what it did."""

    contents: int = 0
    copied: int = 0
    linked: int = 0
    kept: int = 0  # there already
    removed: int = 0  # no longer named
    bytes_copied: int = 0
    forgotten: int = 0  # memories that were forgotten while it was made, and are not in it
    damaged: list[str] = field(default_factory=list)

    @property
    def done(self) -> int:
        return self.copied + self.linked + self.kept + len(self.damaged)


@dataclass(frozen=True)
class Copying:
    """Contents from one folder into another."""

    files: BlobStore
    target: BlobStore
    progress: Progress
    on_progress: Callable[[Progress], None]
    hard_links: bool = False
    verify: bool = False

    def all(self, named: set[str]) -> None:
        self.progress.contents = len(named)
        touched: set[Path] = set()
        for digest in sorted(named):
            self.on_progress(self.progress)
            source, target = self.files.path(digest), self.target.path(digest)
            if self._holds(source, target, digest):
                self.progress.kept += 1
                continue
            touched.add(target.parent)
            try:
                self._copy(source, target, digest)
            except (FileNotFoundError, Altered):  # forgotten meanwhile, or damaged: told later
                self.progress.damaged.append(digest)
        for folder in sorted(touched):
            sync_folder(folder)
        self.on_progress(self.progress)

    def _holds(self, source: Path, target: Path, digest: str) -> bool:
        """The target has it: by its size, or where the source has another, by its hash."""
        try:
            size = target.stat().st_size
        except FileNotFoundError:
            return False
        if not self.verify and source.exists() and source.stat().st_size == size:
            return True
        return sha256_of(target) == digest

    def _copy(self, source: Path, target: Path, digest: str) -> None:
        if self.hard_links and _linked(source, target, digest):
            self.progress.linked += 1
        else:
            self.progress.bytes_copied += copied(source, target, digest)
            self.progress.copied += 1


class Altered(Exception):
    """A file is not what its name says."""


def copied(source: Path, target: Path, digest: str) -> int:
    """Copy a content, synced, and verify it on the way; returns its bytes. Raises Altered, with
    nothing copied, FileNotFoundError and OSError."""
    part = target.with_suffix(".part")
    seen, size = hashlib.sha256(), 0
    try:
        with source.open("rb") as reading, part.open("wb") as writing:
            os.chmod(part, 0o600)
            while block := reading.read(BLOCK):
                seen.update(block)
                size += writing.write(block)
            writing.flush()
            os.fsync(writing.fileno())
        if seen.hexdigest() != digest:
            raise Altered(digest)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return size


def _linked(source: Path, target: Path, digest: str) -> bool:
    """False where the file system does not do it. Raises Altered, FileNotFoundError."""
    if sha256_of(source) != digest:
        raise Altered(digest)
    try:
        target.unlink(missing_ok=True)
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        return False
    return True
