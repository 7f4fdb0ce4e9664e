"""Rows of the catalog to records, and back."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from memory_service.records import Memory, Vector


def vector(content: bytes) -> Vector:
    return np.frombuffer(content, "<f4").astype(np.float32)


def memory(row: sqlite3.Row) -> Memory:
    return Memory(
        id=row["id"],
        sequence=row["sequence"],
        namespace=row["namespace"],
        episode_id=row["episode_id"],
        modality=row["modality"],
        media_type=row["media_type"],
        blob=row["blob"],
        size_bytes=row["size_bytes"],
        metadata=json.loads(row["metadata"]),
        created_at=row["created_at"],
        text=row["text"],
        expires_at=row["expires_at"],
        consolidated_by=row["consolidated_by"],
    )


def insert_memory(connection: sqlite3.Connection, record: Memory) -> Memory:
    """Insert; returns the record with the sequence given."""
    cursor = connection.execute(
        "INSERT INTO memories (id, namespace, episode_id, modality, media_type, blob, size_bytes,"
        " metadata, text, created_at, expires_at, consolidated_by)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            record.id,
            record.namespace,
            record.episode_id,
            record.modality,
            record.media_type,
            record.blob,
            record.size_bytes,
            json.dumps(dict(record.metadata), ensure_ascii=False),
            record.text,
            record.created_at,
            record.expires_at,
            record.consolidated_by,
        ),
    )
    assert cursor.lastrowid is not None
    return replace(record, sequence=cursor.lastrowid)


def update_memory(connection: sqlite3.Connection, record: Memory) -> None:
    """Write what may change of a memory: metadata and expiry."""
    connection.execute(
        "UPDATE memories SET metadata = ?, expires_at = ? WHERE sequence = ?",
        (json.dumps(dict(record.metadata), ensure_ascii=False), record.expires_at, record.sequence),
    )


def contents_hash(blobs: Iterable[str]) -> str:
    """Equal for episodes of the same contents, in whatever order."""
    return hashlib.sha256(",".join(sorted(blobs)).encode()).hexdigest()
