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
        self.held = False  # when it was last tried

    def keep(self) -> None:
        """Take the space, where there is all of it. Of what is held already nothing is taken."""
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                os.fchmod(file, 0o600)  # of an earlier version, others could read it
                os.posix_fallocate(file, 0, BYTES)
            finally:
                os.close(file)
        except OSError:
            self.give_up()
        else:
            self.held = True

    def give_up(self) -> None:
        self.held = False
        with suppress(OSError):
            self._path.unlink()
