"""Turns what the disk and SQLite report into the service's own errors."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from memory_service.errors import StorageFailure, StorageFull

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def storage_errors(doing: str) -> Iterator[None]:
    """Raise StorageFull or StorageFailure in place of OSError and sqlite3 errors."""
    try:
        yield
    except sqlite3.Error as error:
        # SQLITE_FULL, or an extended code of it.
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
            raise StorageFull(f"the disk is full: {doing} was not done") from error
        raise StorageFailure(f"{doing} failed in the catalog: {error}") from error
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull(f"the disk is full: {doing} was not done") from error
        raise StorageFailure(f"{doing} failed: {error.strerror or error}") from error
