"""Rows of the catalog to records, and back."""

from __future__ import annotations

import hashlib
import logging
import sqlite3
from collections.abc import Iterable, Mapping
from sys import intern
from typing import Any

import numpy as np
from pydantic_core import from_json, to_json

from memory_service.errors import StorageFailure
from memory_service.records import Memory, Vector

log = logging.getLogger(__name__)

MOST_NAMED = 1000  # damaged memories, in the log
_named: set[str] = set()

UNIT = 1e-3  # by which the length of a vector may differ from 1


def vector(content: bytes) -> Vector:
    return np.frombuffer(content, "<f4").astype(np.float32)


def whole_vector(content: Any, dimension: int) -> Vector | None:
    """None for what is no vector (D,) of unit length: the row is damaged."""
    if not isinstance(content, bytes) or len(content) != 4 * dimension:
        return None
    found = vector(content)
    return found if abs(float(np.linalg.norm(found)) - 1.0) <= UNIT else None


def readable(row: sqlite3.Row) -> Memory | None:
    """For lists, which go on without a memory that is damaged; the log names it once."""
    try:
        return memory(row)
    except StorageFailure as error:
        if row["id"] not in _named and len(_named) < MOST_NAMED:
            _named.add(row["id"])
            log.error("%s", error)
        return None


def memory(row: sqlite3.Row) -> Memory:
    """Raises StorageFailure where the row is damaged."""
    try:
        metadata = from_json(row["metadata"])  # ten times faster than json's own
        if not isinstance(metadata, dict):
            raise ValueError(f"it is of type {type(metadata).__name__}")
    except ValueError as error:
        raise StorageFailure(
            f"memory {row['id']} is damaged, its metadata cannot be read ({error}): "
            "memory-service fsck tells what else is",
            id=row["id"],
        ) from error
    return _memory(row, metadata)


def remnant(row: sqlite3.Row) -> Memory:
    """For what is forgotten: of a damaged row, what can be read."""
    try:
        return memory(row)
    except StorageFailure:
        return _memory(row, {})


def _memory(row: sqlite3.Row, metadata: Mapping[str, Any]) -> Memory:
    return Memory(
        id=row["id"],
        sequence=row["sequence"],
        namespace=intern(row["namespace"]),  # few are different, and thousands of records are kept
        episode_id=row["episode_id"],
        modality=intern(row["modality"]),
        media_type=intern(row["media_type"]),
        blob=row["blob"],
        size_bytes=row["size_bytes"],
        metadata=metadata,
        created_at=row["created_at"],
        text=row["text"],
        expires_at=row["expires_at"],
        consolidated_by=row["consolidated_by"],
    )


def insert_memories(connection: sqlite3.Connection, records: Iterable[Memory]) -> None:
    """Insert them under the sequences that they have."""
    connection.executemany(
        "INSERT INTO memories (sequence, id, namespace, episode_id, modality, media_type, blob,"
        " size_bytes, metadata, text, created_at, expires_at, consolidated_by)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (each.sequence, each.id, each.namespace, each.episode_id, each.modality,
             each.media_type, each.blob, each.size_bytes, _json(each.metadata), each.text,
             each.created_at, each.expires_at, each.consolidated_by)
            for each in records
        ],
    )  # fmt: skip


def _json(metadata: Mapping[str, Any]) -> str:
    return to_json(dict(metadata)).decode() if metadata else "{}"


def update_memory(connection: sqlite3.Connection, record: Memory) -> None:
    """Write what may change of a memory: metadata and expiry."""
    connection.execute(
        "UPDATE memories SET metadata = ?, expires_at = ? WHERE sequence = ?",
        (_json(record.metadata), record.expires_at, record.sequence),
    )


def contents_hash(blobs: Iterable[str]) -> str:
    """Equal for episodes of the same contents, in whatever order."""
    return hashlib.sha256(",".join(sorted(blobs)).encode()).hexdigest()
