"""Records of jobs in the catalog: rows to records, and back."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Collection
from typing import Any

from memory_service.errors import NotFound
from memory_service.records import Job
from memory_service.storage.catalog import Catalog

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def write(connection: sqlite3.Connection, record: Job) -> None:
    """Insert, or replace what is there, within an open transaction."""
    connection.execute(
        "INSERT OR REPLACE INTO jobs (id, kind, state, created_at, updated_at, finished_at,"
        " parameters, progress, result, error) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            record.id,
            record.kind,
            record.state,
            record.created_at,
            record.updated_at,
            record.finished_at,
            json.dumps(dict(record.parameters)),
            json.dumps(dict(record.progress)),
            None if record.result is None else json.dumps(dict(record.result)),
            None if record.error is None else json.dumps(dict(record.error)),
        ),
    )


def keep_latest(connection: sqlite3.Connection, kind: str, number: int) -> None:
    """Delete what has ended and is not among the `number` of its kind that were written last,
    within an open transaction. Not those that began last: what took long would go when it ends."""
    connection.execute(
        "DELETE FROM jobs WHERE kind = ?1 AND state != 'running' AND (updated_at, id) <"
        " (SELECT updated_at, id FROM jobs WHERE kind = ?1"
        " ORDER BY updated_at DESC, id DESC LIMIT 1 OFFSET ?2 - 1)",
        (kind, number),
    )


class Mentions:
    """Which ids the results and errors of jobs name, so that a deletion need not read them all. Of
    each job as it was last written; used within the catalog's write lock."""

    def __init__(self) -> None:
        self._of: dict[str, tuple[tuple[Any, ...], frozenset[str]]] = {}

    def forget(self, connection: sqlite3.Connection, memory_ids: Collection[str]) -> int:
        """Take what names these memories out of the lists in results and errors, within an open
        transaction; returns how many entries that were."""
        gone, taken = set(memory_ids), 0
        found = connection.execute(
            "SELECT id, state, updated_at, finished_at FROM jobs"
            " WHERE result IS NOT NULL OR error IS NOT NULL"
        ).fetchall()
        for job_id in self._of.keys() - {row["id"] for row in found}:
            del self._of[job_id]
        for row in found:
            if not gone.isdisjoint(self._named(connection, *row)):
                del self._of[row["id"]]  # whatever becomes of the transaction
                taken += _forget(connection, row["id"], gone)
        return taken

    def _named(self, connection: sqlite3.Connection, job_id: str, *written: Any) -> frozenset[str]:
        known = self._of.get(job_id)
        if known is None or known[0] != written:
            texts = _texts(connection, job_id)
            found = frozenset(each for text in texts.values() for each in _UUID.findall(text))
            known = self._of[job_id] = written, found
        return known[1]


def _texts(connection: sqlite3.Connection, job_id: str) -> dict[str, str]:
    (row,) = connection.execute("SELECT result, error FROM jobs WHERE id = ?", (job_id,))
    return {column: row[column] for column in ("result", "error") if row[column] is not None}


def _forget(connection: sqlite3.Connection, job_id: str, gone: set[str]) -> int:
    taken = 0
    for column, text in _texts(connection, job_id).items():
        if gone.isdisjoint(_UUID.findall(text)):
            continue
        try:
            kept, count = _without(json.loads(text), gone)
        except ValueError:  # damaged, and it may say anything of them
            kept, count = {}, 1
        taken += count
        connection.execute(f"UPDATE jobs SET {column} = ? WHERE id = ?", (json.dumps(kept), job_id))
    return taken


def _without(value: Any, gone: set[str]) -> tuple[Any, int]:
    """The value without the entries of lists that are, or are about, one of these ids."""
    if isinstance(value, dict):
        pairs = {key: _without(each, gone) for key, each in value.items()}
        return {key: kept for key, (kept, _) in pairs.items()}, sum(n for _, n in pairs.values())
    if not isinstance(value, list):
        return value, 0
    kept = [_without(each, gone) for each in value if not _is_about(each, gone)]
    taken = len(value) - len(kept) + sum(count for _, count in kept)
    return [each for each, _ in kept], taken


def _is_about(entry: Any, gone: set[str]) -> bool:
    if isinstance(entry, dict):
        return entry.get("memory_id") in gone or entry.get("prototype_id") in gone
    return isinstance(entry, str) and entry in gone


def get(catalog: Catalog, job_id: str) -> Job:
    """Raises NotFound when there is none."""
    found = catalog.select("SELECT * FROM jobs WHERE id = ?", (job_id,))
    if not found:
        raise NotFound(f"there is no job {job_id!r}", kind="job", id=job_id)
    return _job(found[0])


def latest(catalog: Catalog, limit: int, kind: str | None = None) -> list[Job]:
    """The newest first."""
    found = catalog.select(
        "SELECT * FROM jobs WHERE kind = ?1 OR ?1 IS NULL ORDER BY id DESC LIMIT ?2", (kind, limit)
    )
    return [_job(row) for row in found]


def running(catalog: Catalog) -> list[Job]:
    return [_job(row) for row in catalog.select("SELECT * FROM jobs WHERE state = 'running'")]


def _job(row: sqlite3.Row) -> Job:
    return Job(
        id=row["id"],
        kind=row["kind"],
        state=row["state"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        finished_at=row["finished_at"],
        parameters=json.loads(row["parameters"]),
        progress=json.loads(row["progress"]),
        result=None if row["result"] is None else json.loads(row["result"]),
        error=None if row["error"] is None else json.loads(row["error"]),
    )
