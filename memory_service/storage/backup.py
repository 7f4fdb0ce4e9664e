"""Backups: a consistent copy of a data folder, made while it is worked on, and back again.

A backup is a folder: the catalog as one file, the contents that it names, and a manifest, which is
written last and names the catalog with its hash. Made again into the same folder, only new contents
are copied, and those that are named no more are removed. Knows nothing of HTTP or jobs.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from memory_service.errors import InvalidInput, StorageFailure
from memory_service.ids import new_id
from memory_service.storage import generations, rows
from memory_service.storage.blobs import BlobStore, sync_folder
from memory_service.storage.catalog import Catalog
from memory_service.storage.failures import storage_errors
from memory_service.storage.folder import CATALOG, require_free
from memory_service.storage.schema import FORMAT

MANIFEST = "manifest.json"
LOCK = "backup.lock"  # also tells a folder of backups from any other
BLOCK = 2**20  # bytes read at a time

_NAMED = "SELECT blob FROM (SELECT blob FROM memories UNION SELECT blob FROM generation_outputs)"
_SMALL = " WHERE blob NOT IN (SELECT digest FROM small_contents)"


@dataclass(frozen=True)
class Manifest:
    """What a backup is made of."""

    format: int
    made_at: float  # Unix seconds
    catalog: str  # file name
    catalog_sha256: str
    memories: int
    contents: int  # files
    damaged: tuple[str, ...] = ()  # contents that were missing or altered when it was made


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


def backup(
    data_dir: Path,
    target: Path,
    made_at: float,
    *,
    hard_links: bool = False,
    verify: bool = False,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> tuple[Manifest, Progress]:
    """Back up a data folder, whose service may run, into `target`.

    What was acknowledged before the call is in it; what is forgotten while it is made is not.
    `hard_links`: contents are linked rather than copied where both are on one file system, which
    takes no room, and does not outlive damage to the disk. `verify`: contents that an earlier
    backup has are read again, rather than known by their size. Contents that are missing or altered
    are listed as damaged. `on_progress` is called for each content, and may raise to stop.

    Raises InvalidInput for a target that is no place for it, StorageFull and StorageFailure; an
    earlier backup in `target` is then as it was.
    """
    _require_apart(data_dir, target)
    progress = Progress()
    with storage_errors("making the backup"), _held(target):
        source = _connect(data_dir / CATALOG)
        with closing(source):
            part = target / f"catalog-{new_id()}.sqlite3"
            try:
                _snapshot(source, part)
                files = BlobStore(data_dir / "blobs")
                kept = BlobStore(target / "blobs")
                copying = _Copying(files, kept, progress, on_progress, hard_links, verify)
                copying.all(_named(part))
                progress.forgotten = _without_forgotten(source, part)
                named = _named(part)
                progress.damaged = sorted(set(progress.damaged) & named)
                manifest = _manifest(part, made_at, len(named), progress)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
        _write_manifest(target, manifest)
        progress.removed = _clear(target, kept, named, part)
    return manifest, progress


def _require_apart(data_dir: Path, target: Path) -> None:
    if not (data_dir / CATALOG).is_file():
        raise StorageFailure(f"{data_dir} holds no store: there is no {CATALOG}")
    inside, outside = target.resolve(), data_dir.resolve()
    if inside.is_relative_to(outside) or outside.is_relative_to(inside):
        raise InvalidInput(
            f"the backup {target} and the data folder {data_dir} must not lie in each other"
        )


@contextmanager
def _held(target: Path) -> Iterator[None]:
    """The target, made if need be, for this backup alone."""
    if target.exists() and not (target / LOCK).exists() and any(target.iterdir()):
        raise InvalidInput(f"{target} is not empty, and holds no backup: choose another folder")
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(target / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StorageFailure(f"another backup into {target} is being made") from None
        yield
    finally:
        os.close(descriptor)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA busy_timeout = 10000")
    return connection


def _snapshot(source: sqlite3.Connection, part: Path) -> None:
    """The catalog as of now, as one file. In one step: stores go on beside it, and do not make it
    begin anew."""
    part.touch(0o600)
    with closing(_connect(part)) as copy:
        source.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")


def _named(catalog: Path) -> set[str]:
    """The contents that are files."""
    with closing(_connect(catalog)) as connection:
        tables = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'small_contents'")
        small = _SMALL if tables.fetchone() else ""
        return {digest for (digest,) in connection.execute(_NAMED + small)}


@dataclass(frozen=True)
class _Copying:
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
        return _digest(target) == digest

    def _copy(self, source: Path, target: Path, digest: str) -> None:
        if self.hard_links and _linked(source, target, digest):
            self.progress.linked += 1
        else:
            self.progress.bytes_copied += copied(source, target, digest)
            self.progress.copied += 1


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
    if _digest(source) != digest:
        raise Altered(digest)
    try:
        target.unlink(missing_ok=True)
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        return False
    return True


def _without_forgotten(source: sqlite3.Connection, part: Path) -> int:
    """Take out of the copy what the source has forgotten since: its contents may have been gone
    before they were copied. Returns how many memories that were."""
    with closing(Catalog(part)) as copy:
        memories = _missing(source, copy, "sequence", "memories")
        made = _missing(source, copy, "id", "generations")
        if not memories and not made:
            return 0
        gone = [
            rows.memory(row)
            for row in copy.select(
                "SELECT * FROM memories WHERE sequence IN (SELECT value FROM json_each(?))",
                (json.dumps(memories),),
            )
        ]
        with copy.transaction("leaving out what was forgotten") as connection:
            generations.delete(connection, made)
            for memory in gone:
                copy.delete_memory(connection, memory)
            for episode_id in dict.fromkeys(memory.episode_id for memory in gone):
                copy.delete_episode_if_empty(connection, episode_id)
        copy.rewrite()
    return len(gone)


def _missing(source: sqlite3.Connection, copy: Catalog, column: str, table: str) -> list[Any]:
    statement = f"SELECT {column} FROM {table}"
    present = {key for (key,) in source.execute(statement)}
    return [row[0] for row in copy.select(statement) if row[0] not in present]


def _manifest(part: Path, made_at: float, contents: int, progress: Progress) -> Manifest:
    with closing(_connect(part)) as copy:
        copy.execute("PRAGMA journal_mode = DELETE")  # one file again
        _require_sound(copy, part)
        (version,) = copy.execute("PRAGMA user_version").fetchone()
        (memories,) = copy.execute("SELECT COUNT(*) FROM memories").fetchone()
    with part.open("rb") as file:
        os.fsync(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    damaged = tuple(progress.damaged)
    return Manifest(version, made_at, part.name, digest, memories, contents, damaged)


def _require_sound(connection: sqlite3.Connection, path: Path) -> None:
    (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if said != "ok":
        raise StorageFailure(f"the catalog {path} is damaged: {said}")


def _write_manifest(target: Path, manifest: Manifest) -> None:
    part = target / f"{MANIFEST}.part"
    part.touch(0o600)
    with part.open("w") as file:
        json.dump(asdict(manifest), file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    part.replace(target / MANIFEST)
    sync_folder(target)


def _clear(target: Path, kept: BlobStore, named: set[str], catalog: Path) -> int:
    """Remove what an earlier backup had and this one does not name: what was forgotten since leaves
    the backup, too. Returns how many contents that were."""
    for path in target.glob("catalog-*"):
        if path != catalog:
            path.unlink()
    return kept.sweep(named)


def read_manifest(source: Path) -> Manifest:
    """Of a whole backup. Raises InvalidInput for what is none, StorageFailure for one that was
    altered."""
    try:
        values = json.loads((source / MANIFEST).read_bytes())
        manifest = Manifest(**{**values, "damaged": tuple(values["damaged"])})
        if Path(manifest.catalog).name != manifest.catalog:
            raise ValueError(f"{manifest.catalog!r} is no file beside it")
    except FileNotFoundError:
        raise InvalidInput(f"{source} holds no whole backup: there is no {MANIFEST}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise StorageFailure(f"{source / MANIFEST} cannot be read: {error}") from error
    if manifest.format > FORMAT:
        raise StorageFailure(
            f"the backup has format {manifest.format}, this version knows up to {FORMAT}: "
            "restore it with a newer version"
        )
    return manifest


def restore(
    source: Path,
    data_dir: Path,
    *,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> tuple[Manifest, Progress]:
    """Make a new data folder of a backup, every content verified.

    Raises InvalidInput for a folder that is not empty or a source that is no backup, StorageFailure
    for a damaged backup, and StorageFull; `data_dir` is then as it was.
    """
    require_free(data_dir)
    with storage_errors("restoring the backup"):
        manifest = read_manifest(source)
        part = data_dir.with_name(f"{data_dir.name}.{new_id()}.part")
        part.mkdir(parents=True, mode=0o700)
        try:
            progress = _restore_into(part, source, manifest, on_progress)
            if data_dir.exists():
                data_dir.rmdir()  # empty: see above
            part.replace(data_dir)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        sync_folder(data_dir.parent)
    return manifest, progress


def _restore_into(
    part: Path, source: Path, manifest: Manifest, on_progress: Callable[[Progress], None]
) -> Progress:
    catalog = part / CATALOG
    try:
        copied(source / manifest.catalog, catalog, manifest.catalog_sha256)
    except (Altered, FileNotFoundError):
        raise StorageFailure(
            f"the catalog of the backup {source} is missing or was altered"
        ) from None
    with closing(_connect(catalog)) as connection:
        _require_sound(connection, catalog)
    progress = Progress()
    named = _named(catalog) - set(manifest.damaged)
    kept, files = BlobStore(source / "blobs"), BlobStore(part / "blobs")
    _Copying(kept, files, progress, on_progress).all(named)
    if progress.damaged:
        raise StorageFailure(
            f"{len(progress.damaged)} contents of the backup {source} are missing or were altered: "
            f"{', '.join(progress.damaged[:3])} ...",
            damaged=progress.damaged,
        )
    progress.damaged = list(manifest.damaged)
    sync_folder(part)
    return progress
