"""What was set for namespaces. One that nothing was set for has no row."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from memory_service.records import Life

NO_DECAY = Life(half_life_s=None, trace_half_life_s=None)
SETTINGS = "SELECT settings FROM namespaces WHERE name = ?"


def settings(found: sqlite3.Row | None) -> Mapping[str, Any]:
    """What was set, of the row that `SETTINGS` finds; empty for nothing."""
    read: Mapping[str, Any] = {} if found is None else json.loads(found["settings"])
    return read


def life(connection: sqlite3.Connection, name: str) -> Life:
    """What was set, and no decay else: the trace has no other default."""
    found = connection.execute(SETTINGS, (name,)).fetchone()
    return Life(**{**asdict(NO_DECAY), **settings(found)})


def write(connection: sqlite3.Connection, name: str, values: Mapping[str, Any]) -> None:
    """Replace what was set, within an open transaction; nothing set leaves no row."""
    if values:
        connection.execute(
            "INSERT OR REPLACE INTO namespaces VALUES (?, ?)", (name, json.dumps(dict(values)))
        )
    else:
        connection.execute("DELETE FROM namespaces WHERE name = ?", (name,))
