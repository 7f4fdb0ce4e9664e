"""Records of jobs in the catalog: rows to records, and back."""

from __future__ import annotations

import json
import sqlite3

from memory_service.errors import NotFound
from memory_service.records import Job
from memory_service.storage.catalog import Catalog


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
