"""How often memories were recalled, and how strong they were after the last time."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping

from memory_service.storage.catalog import Catalog
from memory_service.strength import Trail


def read(catalog: Catalog, sequences: Iterable[int]) -> dict[int, tuple[Trail, float]]:
    """The trail, and the time of storing, of those of `sequences` that exist."""
    found = catalog.select(
        "SELECT m.sequence, created_at, base, since, recalls, recalled_at FROM json_each(?)"
        " JOIN alive m ON m.sequence = value LEFT JOIN recalls USING (sequence)",
        (json.dumps([int(sequence) for sequence in sequences]),),
    )
    return {
        row["sequence"]: (
            Trail.stored(row["created_at"])
            if row["base"] is None
            else Trail(row["base"], row["since"], row["recalls"], row["recalled_at"]),
            row["created_at"],
        )
        for row in found
    }


def write(connection: sqlite3.Connection, trails: Mapping[int, Trail]) -> None:
    """Within an open transaction; what was forgotten meanwhile stays forgotten."""
    connection.executemany(
        "INSERT OR REPLACE INTO recalls (sequence, base, since, recalls, recalled_at)"
        " SELECT sequence, ?, ?, ?, ? FROM memories WHERE sequence = ?",
        [
            (each.base, each.since, each.recalls, each.recalled_at, sequence)
            for sequence, each in trails.items()
        ],
    )
