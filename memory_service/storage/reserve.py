"""Disk space kept for a delete on a full disk: SQLite has to write in order to delete."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

NAME = "reserve"
BYTES = 2 * 2**20


class Reserve:
    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME

    def keep(self) -> None:
        """Take the space, where there is any."""
        with suppress(OSError), self._path.open("ab") as file:
            os.posix_fallocate(file.fileno(), 0, BYTES)

    def give_up(self) -> None:
        self._path.unlink(missing_ok=True)
