"""New rows of the catalog, many in one go. Each function takes the connection of a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from memory_service.records import Episode, Memory
from memory_service.storage import rows, traces
from memory_service.storage.catalog import Embedding, SpaceKey


def insert_episodes(
    connection: sqlite3.Connection, episodes: Sequence[tuple[Episode, str]]
) -> list[Episode]:
    """Insert episodes, each with the hash of its contents, and their memories; returns them with
    the sequences given."""
    connection.executemany(
        "INSERT INTO episodes VALUES (?, ?, ?, ?)",
        [(each.id, each.namespace, each.created_at, contents) for each, contents in episodes],
    )
    sequence = _last_sequence(connection)
    stored = []
    for episode, _ in episodes:
        first = sequence + 1
        sequence += len(episode.memories)
        numbered = zip(range(first, sequence + 1), episode.memories, strict=True)
        memories = tuple(replace(memory, sequence=number) for number, memory in numbered)
        stored.append(replace(episode, memories=memories))
    rows.insert_memories(connection, [memory for each in stored for memory in each.memories])
    return stored


def insert_memory(connection: sqlite3.Connection, memory: Memory) -> Memory:
    """Insert into an episode that is there; returns the record with the sequence given."""
    stored = replace(memory, sequence=_last_sequence(connection) + 1)
    rows.insert_memories(connection, [stored])
    return stored


def _last_sequence(connection: sqlite3.Connection) -> int:
    """The highest ever given: SQLite keeps it, so that none is given twice."""
    found = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'memories'").fetchone()
    return int(found["seq"]) if found else 0


def insert_vectors(
    connection: sqlite3.Connection, pairs: Sequence[tuple[Memory, Embedding]]
) -> None:
    """Insert the vectors of memories; those of the whole are added to their sub-memories' traces.

    Mem[t] = decay * Mem[t-1] + e_t, with one e_t for each memory, however many segments it has,
    and none for a prototype: its members have theirs. See storage.traces.
    """
    numbers: dict[SpaceKey, int] = {}
    shares: dict[traces.Key, list[tuple[Memory, Embedding]]] = {}
    values = []
    for memory, each in pairs:
        if each.space not in numbers:
            numbers[each.space] = space_number(connection, each.space, len(each.vector))
        number = numbers[each.space]
        packed = each.vector.astype("<f4", copy=False).tobytes()
        values.append((memory.sequence, number, each.segment, each.start_s, each.end_s, packed))
        if each.segment == 0 and memory.consolidated_by is None:
            key = (memory.namespace, memory.modality, number)
            shares.setdefault(key, []).append((memory, each))
    connection.executemany(
        "INSERT INTO vectors (sequence, space, segment, start_s, end_s, vector)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        values,
    )
    for key, own in shares.items():
        traces.add(
            connection,
            key,
            np.stack([each.vector for _, each in own]),
            [memory.created_at for memory, _ in own],
        )


def space_number(connection: sqlite3.Connection, space: SpaceKey, dimension: int) -> int:
    connection.execute(
        "INSERT OR IGNORE INTO spaces (id, fingerprint, dimension) VALUES (?, ?, ?)",
        (*space, dimension),
    )
    found = connection.execute(
        "SELECT number FROM spaces WHERE id = ? AND fingerprint = ?", space
    ).fetchone()
    return int(found["number"])
