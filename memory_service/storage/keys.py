"""Keys in a SQLite file of their own, beside the catalog.

The catalog belongs to one process at a time. Keys are made, listed and revoked by a command while
the service runs, too, and a backup of memories should not carry them: hence the second file.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path

from memory_service import trail
from memory_service.access import Key, Scope
from memory_service.storage.failures import storage_errors

FILE = "keys.sqlite3"

_SCHEMA = """
    CREATE TABLE IF NOT EXISTS keys (
        id TEXT PRIMARY KEY,
        hash BLOB NOT NULL, -- SHA-256 of the whole key
        name TEXT NOT NULL,
        scope TEXT NOT NULL,
        namespaces TEXT, -- JSON list; NULL: all
        created_at REAL NOT NULL,
        expires_at REAL,
        revoked_at REAL,
        requests_per_s REAL,
        bytes_per_min INTEGER
    ) WITHOUT ROWID;
    PRAGMA user_version = 1;
"""


@dataclass(frozen=True)
class Kept:
    """A key and the hash of its secret."""

    key: Key
    hash: bytes


class KeyFile:
    """Safe for use from several threads, and beside other processes.

    Raises StorageFailure when the file cannot be read, StorageFull or StorageFailure when it cannot
    be written.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / FILE
        self._lock = threading.Lock()
        self._seen: int | None = None  # SQLite's number of the last change by others
        self._kept: dict[str, Kept] = {}
        with storage_errors("opening the file of keys"):
            if not folder.exists():
                folder.mkdir(parents=True, mode=0o700)
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            try:
                path.chmod(0o600)
                self._connection.row_factory = sqlite3.Row
                self._connection.execute("PRAGMA busy_timeout = 10000")
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = FULL")
                if not self._connection.execute("PRAGMA user_version").fetchone()[0]:
                    self._connection.executescript(_SCHEMA)
            except BaseException:
                self._connection.close()
                raise

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def add(self, key: Key, hash: bytes) -> None:
        namespaces = None if key.namespaces is None else json.dumps(sorted(key.namespaces))
        values = (
            *(key.id, hash, key.name, key.scope.name, namespaces, key.created_at),
            *(key.expires_at, key.revoked_at, key.requests_per_s, key.bytes_per_min),
        )
        with self._lock, storage_errors("storing a key"):
            self._connection.execute(f"INSERT INTO keys VALUES ({', '.join('?' * 10)})", values)
            self._seen = None
        trail.told(keys=[key.id])

    def revoke(self, key_id: str, now: float) -> None:
        """A key that is revoked stays so, and stays listed."""
        with self._lock, storage_errors("revoking a key"):
            self._connection.execute(
                "UPDATE keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", (now, key_id)
            )
            self._seen = None
        trail.told(keys=[key_id])

    def kept(self) -> dict[str, Kept]:
        """All keys by id; read anew only when a process has changed them."""
        with self._lock, storage_errors("reading the keys"):
            version = self._connection.execute("PRAGMA data_version").fetchone()[0]
            if version != self._seen:
                found = self._connection.execute("SELECT * FROM keys ORDER BY created_at, id")
                self._kept = {row["id"]: read_row(row) for row in found.fetchall()}
                self._seen = version
            return self._kept


def read_row(row: sqlite3.Row) -> Kept:
    """Raises KeyError or ValueError for one that was never written so."""
    named = row["namespaces"]
    key = Key(
        id=row["id"],
        name=row["name"],
        scope=Scope[row["scope"]],
        namespaces=None if named is None else frozenset(json.loads(named)),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        requests_per_s=row["requests_per_s"],
        bytes_per_min=row["bytes_per_min"],
    )
    return Kept(key, row["hash"])
