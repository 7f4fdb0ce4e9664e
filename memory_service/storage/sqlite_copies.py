"""Copies of a SQLite file that others may be writing to."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from memory_service.errors import StorageFailure


def connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA busy_timeout = 10000")
    return connection


def snapshot(source: sqlite3.Connection, part: Path) -> None:
    """The database as of now, as one file. In one step: writes go on beside it, and do not make it
    begin anew."""
    part.touch(0o600)
    with closing(connect(part)) as copy:
        source.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")


def require_sound(connection: sqlite3.Connection, path: Path) -> None:
    (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if said != "ok":
        raise StorageFailure(f"the database {path} is damaged: {said}")
