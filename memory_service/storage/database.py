"""SQLite as the catalog uses it: one writer, a reader for each thread, transactions, room on the
disk. Knows what version the tables have, but not what is in them."""

from __future__ import annotations

import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from memory_service.clock import Clock, SystemClock
from memory_service.errors import StorageFailure, StorageFull
from memory_service.observing import tell
from memory_service.storage.changes import Changes
from memory_service.storage.failures import storage_errors
from memory_service.storage.schema import VIEWS, migrate

STORING = "storing the episode"  # the transaction of a group
SYNCHRONOUS = "FULL"  # a commit is on the disk when it returns; tests that do not need it say OFF
LOG_PAGES = 4000  # of 4 kB, until the log is folded in: each page once, however often it was logged


class WriteObserver(Protocol):
    """Is told what was written, by the thread that wrote it; must be quick."""

    def grouped(self, episodes: int, size_bytes: int) -> None:
        """So many episodes, of whichever callers, are written together, and have so many bytes of
        contents, metadata and vectors."""

    def committed(self, doing: str, seconds: float) -> None:
        """A transaction took so long from its begin until it was on the disk."""


class _Connection(sqlite3.Connection):
    """A connection that can be referred to weakly."""


class Database:
    """One writer connection behind a lock, one reader connection per thread.

    WAL lets readers go on beside the writer; synchronous=FULL makes a commit survive a power cut;
    secure_delete overwrites what is deleted. Every method raises StorageFailure when the database
    cannot be read, and StorageFull or StorageFailure when it cannot be written.
    """

    def __init__(self, path: Path, changes: Changes, clock: Clock | None = None) -> None:
        """`changes` is told what is committed."""
        self.path = path
        self._clock = clock or SystemClock()
        self._local = threading.local()
        # Weak: the connection of a thread that ended is closed with the thread's locals.
        self._readers: weakref.WeakSet[sqlite3.Connection] = weakref.WeakSet()
        self._readers_lock = threading.Lock()
        self.write_lock = threading.RLock()
        self.changes = changes
        self.observers: list[WriteObserver] = []
        self.full = False  # what was to be written last, here or as a file, found no room
        with storage_errors("opening the catalog"):
            self._writer = self._connect()
            path.chmod(0o600)  # SQLite gives its log the same
            try:
                self._writer.execute("PRAGMA journal_mode = WAL")
                self._writer.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
                migrate(self._writer)
                self.changes.watch(self._writer)
            except BaseException:
                self._writer.close()
                raise

    def _connect(self) -> sqlite3.Connection:
        # close() closes the connections of other threads; each is used by its own thread only.
        connection = sqlite3.connect(
            self.path, isolation_level=None, check_same_thread=False, factory=_Connection
        )
        connection.row_factory = sqlite3.Row
        for pragma in ("foreign_keys = ON", "secure_delete = ON", f"synchronous = {SYNCHRONOUS}"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("PRAGMA busy_timeout = 10000")
        return connection

    def close(self) -> None:
        with self.write_lock, self._readers_lock:
            for connection in (*self._readers, self._writer):
                connection.close()

    def _reader(self) -> sqlite3.Connection:
        if not hasattr(self._local, "connection"):
            connection = self._connect()
            connection.create_function("now", 0, self._clock.now)
            connection.executescript(VIEWS)
            self._local.connection = connection
            with self._readers_lock:
                self._readers.add(self._local.connection)
        own: sqlite3.Connection = self._local.connection
        return own

    def select(self, statement: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """All rows that a SELECT finds. Fetched at once: an open cursor would hold up the log."""
        with storage_errors("reading"):
            try:
                return self._reader().execute(statement, values).fetchall()
            except UnicodeEncodeError:  # a lone surrogate: no stored text has one
                return []

    @contextmanager
    def transaction(self, doing: str) -> Iterator[sqlite3.Connection]:
        """Commit at the end, or change nothing. Durable when it returns."""
        with self.write_lock:
            try:
                with storage_errors(doing):
                    begun = time.perf_counter()
                    self._writer.execute("BEGIN IMMEDIATE")
                    changes = self._writer.total_changes
                    try:
                        yield self._writer
                        self._writer.execute("COMMIT")
                        self.full = self.full and self._writer.total_changes == changes
                        self.changes.committed()
                    except BaseException:
                        if self._writer.in_transaction:
                            self._writer.execute("ROLLBACK")
                        self.changes.rolled_back()
                        raise
                    seconds = time.perf_counter() - begun
                    tell(self.observers, lambda observer: observer.committed(doing, seconds))
            except StorageFull:
                self.full = True
                raise

    @property
    def rows_written(self) -> int:
        """Since the catalog was opened: rows inserted, changed and deleted."""
        return self._writer.total_changes

    def growth(self) -> int:
        """Bytes by which the file is to grow when the log is folded in. Within the write lock."""
        (pages,), (size,) = (
            self._writer.execute(f"PRAGMA {each}").fetchone()
            for each in ("page_count", "page_size")
        )
        return int(pages * size) - self.path.stat().st_size

    def look_for_room(self) -> None:
        """Write something, where the last write found no room: nobody else may try again soon."""
        if self.full:
            with suppress(StorageFull), self.transaction("looking for room") as connection:
                connection.execute("INSERT OR IGNORE INTO leaving VALUES ('')")
                connection.execute("DELETE FROM leaving WHERE blob = ''")

    def forget_the_log(self) -> None:
        """Fold the write-ahead log into the database, so that deleted rows leave it, too."""
        with self.write_lock, storage_errors("truncating the log"):
            busy, *_ = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:  # a reader held it for longer than the busy timeout
            raise StorageFailure("truncating the log failed: it is being read")

    def rewrite(self) -> None:
        """Write the whole database anew, without what deleted rows left in its pages. Takes as much
        room again, and stores wait."""
        with self.write_lock, storage_errors("rewriting the catalog"):
            self._writer.execute("VACUUM")
