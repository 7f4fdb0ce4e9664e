"""Disk space kept for a delete on a full disk: SQLite has to write in order to delete.

Besides what the deletion writes, there must be room for what the write-ahead log has and the
catalog's file has not yet: it grows by that when the log is folded in, which a deletion may cause.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from memory_service.storage.database import STORING

NAME = "reserve"
BYTES = 2 * 2**20  # for the deletion, and the first megabyte of growth
STEP_BYTES = 4 * 2**20  # for more
# What may be stored until it is looked again how far the file is to grow, which takes as long as
# to write a row or two: much less than the first megabyte, which is there in any case. Of other
# transactions it is not known how much they write: after each of them it is looked.
LOOK_ROWS = 32
LOOK_BYTES = 2**18  # of contents, metadata and vectors; fields with an index are there twice


class Reserve:
    """Whoever calls holds the write lock. `growth`: the bytes by which the catalog's file is to
    grow yet; `rows_written`: how many rows were, so far."""

    def __init__(
        self, folder: Path, growth: Callable[[], int], rows_written: Callable[[], int]
    ) -> None:
        self._path = folder / NAME
        self._growth = growth
        self._rows_written = rows_written
        self._looked_at = -LOOK_ROWS  # when so many rows were written
        self._bytes = 0  # since
        self._size = 0
        self.held = False  # all of it, when it was last tried

    def grouped(self, episodes: int, size_bytes: int) -> None:
        """Part of a WriteObserver."""
        self._bytes += size_bytes

    def committed(self, doing: str, seconds: float) -> None:
        """After each transaction: the log may have grown."""
        rows = self._rows_written()
        much = rows - self._looked_at >= LOOK_ROWS or self._bytes >= LOOK_BYTES
        if self.held and (much or doing != STORING):
            self._looked_at, self._bytes = rows, 0
            if self._wanted() != self._size:
                self.keep()

    def _wanted(self) -> int:
        steps = -(-max(0, self._growth() - BYTES // 2) // STEP_BYTES)
        return BYTES + steps * STEP_BYTES

    def keep(self) -> None:
        """Take the space, where there is all of it; what is held already is not given up."""
        wanted = self._wanted()
        self.held = False
        with suppress(OSError):
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                os.fchmod(file, 0o600)  # of an earlier version, others could read it
                self._size = os.fstat(file).st_size
                try:
                    os.posix_fallocate(file, 0, wanted)
                    self._size, self.held = wanted, True
                finally:
                    os.ftruncate(file, self._size)  # a part may have been taken
            finally:
                os.close(file)

    def give_up(self) -> None:
        self._size, self.held = 0, False
        with suppress(OSError):
            self._path.unlink()
