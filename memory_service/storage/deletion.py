"""Rows that leave the catalog. Each function takes the connection of a transaction. What lies
elsewhere, in indexes and files, is in storage.removal."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence

import numpy as np

from memory_service.records import Memory, Vector
from memory_service.storage import namespace_settings, rows, traces


def count_rows(connection: sqlite3.Connection, memories: Sequence[Memory]) -> dict[str, int]:
    """How many rows by table go with those of the memories."""
    sequences = json.dumps([memory.sequence for memory in memories])
    return {
        table: connection.execute(
            f"SELECT COUNT(*) FROM {table} WHERE sequence IN (SELECT value FROM json_each(?))",
            (sequences,),
        ).fetchone()[0]
        for table in ("vectors", "recalls")
    }


def delete_memories(connection: sqlite3.Connection, memories: Sequence[Memory]) -> None:
    """Delete the rows and their vectors, and take their shares out of the traces. In one
    statement: for each, SQLite keeps the pages that it changes, to undo it if it fails."""
    worn = _leave_traces(connection, memories)
    connection.execute(
        "DELETE FROM memories WHERE sequence IN (SELECT value FROM json_each(?))",
        (json.dumps([memory.sequence for memory in memories]),),
    )
    for key in worn:
        half_life_s = namespace_settings.life(connection, key[0]).trace_half_life_s
        traces.sum_anew(connection, key, half_life_s)


def _leave_traces(connection: sqlite3.Connection, memories: Iterable[Memory]) -> list[traces.Key]:
    """Returns the traces that are to be summed anew: mostly rounding is left of them, or what
    had been added cannot be told from a damaged vector."""
    # A prototype has no share.
    of = {each.sequence: each for each in memories if each.consolidated_by is None}
    shares: dict[traces.Key, list[tuple[Vector, float]]] = {}
    worn: set[traces.Key] = set()
    for found in connection.execute(
        "SELECT sequence, space, dimension, vector FROM json_each(?)"
        " JOIN vectors ON sequence = value JOIN spaces ON number = space WHERE segment = 0",
        (json.dumps(list(of)),),
    ):
        memory = of[found["sequence"]]
        key = (memory.namespace, memory.modality, found["space"])
        vector = rows.whole_vector(found["vector"], found["dimension"])
        if vector is None:
            worn.add(key)
        else:
            shares.setdefault(key, []).append((vector, memory.created_at))
    for key, each in shares.items():
        if key not in worn and traces.take_out(
            connection, key, np.stack([v for v, _ in each]), [when for _, when in each]
        ):
            worn.add(key)
    return sorted(worn)


def delete_episode_if_empty(connection: sqlite3.Connection, episode_id: str) -> bool:
    """Delete the episode without memories, or note what it still holds."""
    blobs = [
        row["blob"]
        for row in connection.execute(
            "SELECT blob FROM memories WHERE episode_id = ? AND consolidated_by IS NULL",
            (episode_id,),
        )
    ]
    if blobs:
        connection.execute(
            "UPDATE episodes SET contents = ? WHERE id = ?",
            (rows.contents_hash(blobs), episode_id),
        )
        return False
    return connection.execute("DELETE FROM episodes WHERE id = ?", (episode_id,)).rowcount > 0
