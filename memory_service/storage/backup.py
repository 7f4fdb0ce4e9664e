"""Backups: a consistent copy of a data folder, made while it is worked on, and back again.

A backup is a folder: the catalog as one file, the contents that it names, and a manifest, which is
written last and names the catalog with its hash. Made again into the same folder, only new contents
are copied, and those that are named no more are removed. Knows nothing of HTTP or jobs.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from memory_service.errors import InvalidInput, StorageFailure
from memory_service.ids import new_id
from memory_service.storage import access_files, deletion, generations, rows
from memory_service.storage.blobs import BlobStore, sha256_of, sync_file, sync_folder
from memory_service.storage.catalog import Catalog
from memory_service.storage.copying import Altered, Copying, Progress, copied
from memory_service.storage.failures import storage_errors
from memory_service.storage.folder import CATALOG, require_free
from memory_service.storage.schema import FORMAT
from memory_service.storage.sqlite_copies import connect, require_sound, snapshot

MANIFEST = "manifest.json"
LOCK = "backup.lock"  # also tells a folder of backups from any other

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
    access: str = ""  # the folder of keys and audit log; none where they were not asked for
    access_sha256: dict[str, str] = field(default_factory=dict)  # by their paths in it


def backup(
    data_dir: Path,
    target: Path,
    made_at: float,
    *,
    hard_links: bool = False,
    verify: bool = False,
    with_access: bool = False,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> tuple[Manifest, Progress]:
    """Back up a data folder, whose service may run, into `target`.

    What was acknowledged before the call is in it; what is forgotten while it is made is not.
    `hard_links`: contents are linked rather than copied where both are on one file system, which
    takes no room, and does not outlive damage to the disk. `verify`: contents that an earlier
    backup has are read again, rather than known by their size. `with_access`: the API keys and the
    audit log, too, which are no part of the memory. Contents that are missing or altered
    are listed as damaged. `on_progress` is called for each content, and may raise to stop.

    Raises InvalidInput for a target that is no place for it, StorageFull and StorageFailure; an
    earlier backup in `target` is then as it was.
    """
    _require_apart(data_dir, target)
    progress = Progress()
    with storage_errors("making the backup"), _held(target):
        source = connect(data_dir / CATALOG)
        with closing(source):
            id = new_id()
            part, access = target / f"catalog-{id}.sqlite3", target / f"access-{id}"
            try:
                snapshot(source, part)
                files = BlobStore(data_dir / "blobs")
                kept = BlobStore(target / "blobs")
                copying = Copying(files, kept, progress, on_progress, hard_links, verify)
                copying.all(_named(part))
                progress.forgotten = _without_forgotten(source, part)
                named = _named(part)
                progress.damaged = sorted(set(progress.damaged) & named)
                manifest = _manifest(part, made_at, len(named), progress)
                if with_access and (copies := access_files.copy(data_dir, access)):
                    manifest = replace(manifest, access=access.name, access_sha256=copies)
            except BaseException:
                part.unlink(missing_ok=True)
                shutil.rmtree(access, ignore_errors=True)
                raise
        _write_manifest(target, manifest)
        progress.removed = _clear(target, kept, named, {part.name, manifest.access})
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


def _named(catalog: Path) -> set[str]:
    """The contents that are files."""
    with closing(connect(catalog)) as connection:
        tables = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'small_contents'")
        small = _SMALL if tables.fetchone() else ""
        return {digest for (digest,) in connection.execute(_NAMED + small)}


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
            deletion.delete_memories(connection, gone)
            for episode_id in dict.fromkeys(memory.episode_id for memory in gone):
                deletion.delete_episode_if_empty(connection, episode_id)
        copy.rewrite()
    return len(gone)


def _missing(source: sqlite3.Connection, copy: Catalog, column: str, table: str) -> list[Any]:
    statement = f"SELECT {column} FROM {table}"
    present = {key for (key,) in source.execute(statement)}
    return [row[0] for row in copy.select(statement) if row[0] not in present]


def _manifest(part: Path, made_at: float, contents: int, progress: Progress) -> Manifest:
    with closing(connect(part)) as copy:
        copy.execute("PRAGMA journal_mode = DELETE")  # one file again
        require_sound(copy, part)
        (version,) = copy.execute("PRAGMA user_version").fetchone()
        (memories,) = copy.execute("SELECT COUNT(*) FROM memories").fetchone()
    sync_file(part)
    damaged = tuple(progress.damaged)
    return Manifest(version, made_at, part.name, sha256_of(part), memories, contents, damaged)


def _write_manifest(target: Path, manifest: Manifest) -> None:
    part = target / f"{MANIFEST}.part"
    part.touch(0o600)
    with part.open("w") as file:
        json.dump(asdict(manifest), file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    part.replace(target / MANIFEST)
    sync_folder(target)


def _clear(target: Path, kept: BlobStore, named: set[str], own: set[str]) -> int:
    """Remove what an earlier backup had and this one does not name: what was forgotten since leaves
    the backup, too. Returns how many contents that were."""
    for path in target.glob("catalog-*"):
        if path.name not in own:
            path.unlink()
    for path in target.glob("access-*"):
        if path.name not in own:
            shutil.rmtree(path)
    return kept.sweep(named)


def read_manifest(source: Path) -> Manifest:
    """Of a whole backup. Raises InvalidInput for what is none, StorageFailure for one that was
    altered."""
    try:
        values = json.loads((source / MANIFEST).read_bytes())
        manifest = Manifest(**{**values, "damaged": tuple(values["damaged"])})
        for name in (manifest.catalog, manifest.access):
            if Path(name).name != name:
                raise ValueError(f"{name!r} does not lie beside it")
        access_files.require_known(manifest.access_sha256)
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
    with closing(connect(catalog)) as connection:
        require_sound(connection, catalog)
    progress = Progress()
    named = _named(catalog) - set(manifest.damaged)
    kept, files = BlobStore(source / "blobs"), BlobStore(part / "blobs")
    Copying(kept, files, progress, on_progress).all(named)
    if progress.damaged:
        raise StorageFailure(
            f"{len(progress.damaged)} contents of the backup {source} are missing or were altered: "
            f"{', '.join(progress.damaged[:3])} ...",
            damaged=progress.damaged,
        )
    progress.damaged = list(manifest.damaged)
    _restore_access(part, source, manifest)
    sync_folder(part)
    return progress


def _restore_access(part: Path, source: Path, manifest: Manifest) -> None:
    for name, digest in manifest.access_sha256.items():
        (part / name).parent.mkdir(mode=0o700, exist_ok=True)
        try:
            copied(source / manifest.access / name, part / name, digest)
        except (Altered, FileNotFoundError):
            raise StorageFailure(
                f"{name} of the backup {source} is missing or was altered"
            ) from None
