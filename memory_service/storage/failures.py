"""Turns what the disk and SQLite report into the service's own errors."""

from __future__ import annotations

import errno
import sqlite3
from types import TracebackType

from memory_service.errors import StorageFailure, StorageFull

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def storage_errors(doing: str) -> _StorageErrors:
    """A context that raises StorageFull or StorageFailure in place of OSError and sqlite3 errors.

    No generator: it is around every statement, and one takes several times as long.
    """
    return _StorageErrors(doing)


class _StorageErrors:
    __slots__ = ("_doing",)

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            return
        doing = self._doing
        if isinstance(error, sqlite3.Error):
            # SQLITE_FULL, or an extended code of it.
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
                raise StorageFull(f"the disk is full: {doing} was not done") from error
            raise StorageFailure(f"{doing} failed in the catalog: {error}") from error
        if isinstance(error, OSError):
            if error.errno in _FULL:
                raise StorageFull(f"the disk is full: {doing} was not done") from error
            raise StorageFailure(f"{doing} failed: {error.strerror or error}") from error
