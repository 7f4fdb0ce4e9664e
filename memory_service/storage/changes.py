"""What committed changes mean for sets of memories that are kept between requests."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

KEPT = 4096  # sequences of changed memories; a set that is further behind is made anew

_TRIGGERS = """
    CREATE TEMP TRIGGER memory_changed AFTER UPDATE OF metadata, expires_at ON main.memories
        BEGIN SELECT note_memory(NEW.sequence); END;
    CREATE TEMP TRIGGER row_changed AFTER UPDATE ON main.memories
        BEGIN SELECT note_row(NEW.sequence); END;
    CREATE TEMP TRIGGER row_deleted AFTER DELETE ON main.memories
        BEGIN SELECT note_row(OLD.sequence); END;
    CREATE TEMP TRIGGER member_added AFTER INSERT ON main.lineage
        BEGIN SELECT note_lineage(); END;
    CREATE TEMP TRIGGER member_removed AFTER DELETE ON main.lineage
        BEGIN SELECT note_lineage(); END;
"""


class Changes:
    """Counts what the one writing connection commits; told by triggers, whoever the writer is.

    Of `memories`, new ones are not counted: their sequences are higher than all before. Nor are
    deleted ones: no index finds them.
    """

    def __init__(self, rows_changed: Callable[[Sequence[int]], None]) -> None:
        """`rows_changed` is told the sequences of memories that a transaction changed in any way,
        or deleted, once it is committed."""
        self.commits = 0
        self.lineage = 0
        self._rows_changed = rows_changed
        self._rows: list[int] = []  # of the open transaction
        # How many were before, and the last of them. One value, replaced and never changed: others
        # read it beside a commit.
        self._memories: tuple[int, tuple[int, ...]] = (0, ())
        self._noted: list[int] = []  # of the open transaction
        self._noted_lineage = False

    def watch(self, connection: sqlite3.Connection) -> None:
        connection.create_function("note_memory", 1, self._noted.append)
        connection.create_function("note_row", 1, self._rows.append)
        connection.create_function("note_lineage", 0, self._note_lineage)
        connection.executescript(_TRIGGERS)

    def _note_lineage(self) -> None:
        self._noted_lineage = True

    def committed(self) -> None:
        self.commits += 1
        if self._rows:
            self._rows_changed(self._rows)
        if self._noted:
            before, last = self._memories
            last += tuple(self._noted)
            excess = max(0, len(last) - KEPT)
            self._memories = (before + excess, last[excess:])
        self.lineage += self._noted_lineage
        self.rolled_back()

    def rolled_back(self) -> None:
        self._rows.clear()
        self._noted.clear()
        self._noted_lineage = False

    @property
    def memories(self) -> int:
        """How many changes of memories there were."""
        before, last = self._memories
        return before + len(last)

    def since(self, count: int) -> list[int] | None:
        """The memories that changed after so many changes; None when that is not known any more."""
        before, last = self._memories
        return None if count < before else sorted(set(last[count - before :]))
