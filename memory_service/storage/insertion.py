"""New rows of the catalog, many in one go. Each function takes the connection of a transaction."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from memory_service.records import Episode, Memory
from memory_service.storage import rows, traces
from memory_service.storage.spaces import Embedding, SpaceKey
from memory_service.storage.vectors import stacked


@dataclass(frozen=True)
class EpisodeRow:
    """`record` with its memories, which have neither sequence nor blob yet."""

    record: Episode
    blobs: Sequence[str]  # digest of each memory's content
    contents: str  # hash of them all


def insert_episodes(
    connection: sqlite3.Connection, episodes: Sequence[EpisodeRow]
) -> list[Episode]:
    """Insert episodes and their memories; returns them as they are stored."""
    connection.executemany(
        "INSERT INTO episodes VALUES (?, ?, ?, ?)",
        [
            (each.record.id, each.record.namespace, each.record.created_at, each.contents)
            for each in episodes
        ],
    )
    numbers = itertools.count(_last_sequence(connection) + 1)
    stored = []
    for each in episodes:
        episode = each.record
        memories = tuple(
            memory.placed(next(numbers), blob)
            for memory, blob in zip(episode.memories, each.blobs, strict=True)
        )
        stored.append(Episode(episode.id, episode.namespace, episode.created_at, memories))
    rows.insert_memories(connection, [memory for each in stored for memory in each.memories])
    return stored


def insert_memory(connection: sqlite3.Connection, memory: Memory) -> Memory:
    """Insert into an episode that is there; returns the record with the sequence given."""
    stored = memory.placed(_last_sequence(connection) + 1, memory.blob)
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
            stacked([each.vector for _, each in own]),
            [memory.created_at for memory, _ in own],
        )


def space_number(connection: sqlite3.Connection, space: SpaceKey, dimension: int) -> int:
    found = connection.execute(
        "SELECT number FROM spaces WHERE id = ? AND fingerprint = ?", space
    ).fetchone()
    if found is None:
        found = connection.execute(
            "INSERT INTO spaces (id, fingerprint, dimension) VALUES (?, ?, ?) RETURNING number",
            (*space, dimension),
        ).fetchone()
    return int(found["number"])
