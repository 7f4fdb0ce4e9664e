"""Keys and audit log: the file of keys is whole, each of them can be read, and each line."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from memory_service.storage import audit, keys
from memory_service.storage.fsck.findings import Finding, Folder

HASH_BYTES = 32

_NEW = "restore it from a backup that has it, or remove it and make keys anew"


def check(folder: Folder) -> Iterator[Finding]:
    """Notes in `folder.counted` how many there are."""
    yield from _keys(folder)
    folder.counted["audit_lines"] = 0
    for path in audit.files(folder.path / audit.FOLDER):
        yield from _lines(folder, path)


def _keys(folder: Folder) -> Iterator[Finding]:
    path = folder.path / keys.FILE
    folder.counted["keys"] = 0
    try:
        rows = _rows(path)
    except sqlite3.Error as error:
        yield Finding("keys_damaged", keys.FILE, str(error), advice=_NEW)
        return
    folder.counted["keys"] = len(rows)
    for row in rows:
        try:
            broken = len(keys.read_row(row).hash) != HASH_BYTES
        except (KeyError, ValueError, TypeError):
            broken = True
        if broken:
            detail = "it is no key that the service has written"
            yield Finding("key_broken", str(row["id"]), detail, _taking_key(folder, row))


def _rows(path: Path) -> list[sqlite3.Row]:
    """Raises sqlite3.Error for a file that is damaged."""
    if not path.exists():
        return []
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        (said,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if said != "ok":
            raise sqlite3.DatabaseError(said)
        return connection.execute("SELECT * FROM keys ORDER BY id").fetchall()


def _taking_key(folder: Folder, row: sqlite3.Row) -> Callable[[], str]:
    def repair() -> str:
        content = json.dumps(dict(row), default=bytes.hex).encode()
        aside = folder.put_aside("key", content)
        with closing(sqlite3.connect(folder.path / keys.FILE)) as connection, connection:
            connection.execute("DELETE FROM keys WHERE id = ?", (row["id"],))
        return f"put aside as {aside}: it opens nothing; make another one"

    return repair


def _lines(folder: Folder, path: Path) -> Iterator[Finding]:
    lines = path.read_bytes().splitlines()
    folder.counted["audit_lines"] += len(lines)
    broken = [line for line in lines if not _entry(line)]
    if broken:
        detail = f"{len(broken)} lines cannot be read; a power cut leaves one such line"
        name = f"{audit.FOLDER}/{path.name}"
        yield Finding("audit_broken", name, detail, lambda: _mended(folder, path, broken))


def _entry(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _mended(folder: Folder, path: Path, broken: list[bytes]) -> str:
    aside = folder.put_aside(f"audit-{path.stem}", b"\n".join(broken) + b"\n")
    whole = [line + b"\n" for line in path.read_bytes().splitlines() if _entry(line)]
    part = path.with_suffix(".part")
    part.touch(0o600)
    part.write_bytes(b"".join(whole))
    part.replace(path)
    return f"the lines were put aside as {aside}"
