"""Who may come in and who did what, beside the memories: the keys and the audit log, copied.

Both are written while they are copied: keys by commands as well as by the service, the audit log by
every request. Keys are kept as hashes, and so they are copied.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

from memory_service.storage import audit, keys
from memory_service.storage.blobs import sha256_of, sync_file, sync_folder
from memory_service.storage.sqlite_copies import connect, require_sound, snapshot

_NAMES = re.compile(rf"{re.escape(keys.FILE)}|{audit.FOLDER}/\d{{1,9}}\.jsonl")


def copy(data_dir: Path, folder: Path) -> dict[str, str]:
    """Copy what there is of both into a new folder, synced; returns the SHA-256 of each file by its
    path. Nothing is made where there is nothing. Raises OSError, sqlite3.Error, StorageFailure."""
    made = {}
    if (data_dir / keys.FILE).exists():
        made[keys.FILE] = _keys(data_dir, folder)
    for number, lines in enumerate(_audit(data_dir / audit.FOLDER)):
        name = f"{audit.FOLDER}/{number}.jsonl"
        path = folder / name
        path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
        path.touch(0o600)
        path.write_bytes(lines)
        sync_file(path)
        made[name] = sha256_of(path)
    for each in {path.parent for path in map(folder.joinpath, made)}:
        sync_folder(each)
    return made


def require_known(names: Iterable[str]) -> None:
    """Raises ValueError for a path that `copy` does not make."""
    for name in names:
        if not _NAMES.fullmatch(name):
            raise ValueError(f"{name!r} is neither a file of keys nor of the audit log")


def _keys(data_dir: Path, folder: Path) -> str:
    folder.mkdir(mode=0o700)
    path = folder / keys.FILE
    with closing(connect(data_dir / keys.FILE)) as source:
        snapshot(source, path)
    with closing(connect(path)) as made:
        require_sound(made, path)
    sync_file(path)
    return sha256_of(path)


def _audit(folder: Path) -> Iterator[bytes]:
    """The files, the newest first. One that is closed while we read moves up by one number: it is
    met again, and known by its inode."""
    seen: set[int] = set()
    for number in range(len(audit.files(folder)) + 1):
        try:
            with (folder / f"{number}.jsonl").open("rb") as file:
                inode = os.fstat(file.fileno()).st_ino
                if inode in seen:
                    continue
                seen.add(inode)
                content = file.read()
        except FileNotFoundError:  # just moved up
            continue
        yield content[: content.rfind(b"\n") + 1]  # not a line half written
