"""Rows of the catalog: SQLite's own checks, and what one row must say of another."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

from memory_service.storage import rows
from memory_service.storage.fsck.findings import RESTORE, Finding, Folder

# Fields that hold a JSON object: table, its key, the field.
_JSON = (
    ("memories", "id", "metadata"),
    ("namespaces", "name", "settings"),
    ("jobs", "id", "parameters"),
    ("jobs", "id", "progress"),
    ("jobs", "id", "result"),
    ("jobs", "id", "error"),
    ("generations", "id", "timings"),
    ("generation_outputs", "id", "details"),
    ("receipts", "id", "facts"),
    ("receipt_parts", "number", "lists"),
)
_EMPTY_EPISODES = (
    "SELECT id FROM episodes WHERE NOT EXISTS"
    " (SELECT 1 FROM memories WHERE episode_id = episodes.id)"
)
_WRONG_NAMESPACES = (
    "SELECT m.id, m.namespace, e.namespace AS other FROM memories m"
    " JOIN episodes e ON e.id = m.episode_id WHERE e.namespace != m.namespace"
)
_BROKEN_PROTOTYPES = """
    SELECT p.sequence, p.id, 'it has ' || COUNT(l.member) || ' members' AS detail FROM memories p
    LEFT JOIN lineage l ON l.prototype = p.sequence
    WHERE p.consolidated_by IS NOT NULL GROUP BY p.sequence HAVING COUNT(l.member) < 2
    UNION
    SELECT p.sequence, p.id, 'it has no medoid, or several' FROM memories p
    JOIN lineage l ON l.prototype = p.sequence
    WHERE p.consolidated_by IS NOT NULL GROUP BY p.sequence HAVING SUM(l.medoid) != 1
    UNION
    SELECT p.sequence, p.id, 'it is none, or does not fit its member ' || m.id FROM lineage l
    JOIN memories p ON p.sequence = l.prototype JOIN memories m ON m.sequence = l.member
    WHERE p.consolidated_by IS NULL OR m.consolidated_by IS NOT NULL
        OR p.namespace != m.namespace OR p.modality != m.modality
        OR (l.medoid AND p.blob != m.blob)
"""


def integrity(folder: Folder) -> Iterator[Finding]:
    """When SQLite finds its file damaged, nothing else that is read from it counts."""
    for (said,) in folder.catalog.select("PRAGMA integrity_check"):
        if said != "ok":
            yield Finding("catalog_damaged", "catalog.sqlite3", said, advice=RESTORE)


def check(folder: Folder) -> Iterator[Finding]:
    for table, rowid, parent, _ in folder.catalog.select("PRAGMA foreign_key_check"):
        detail = f"row {rowid} refers to {parent}"
        yield Finding("reference_broken", table, detail, advice=RESTORE)
    for where in _JSON:
        yield from _json(folder, *where)
    for row in folder.catalog.select(_EMPTY_EPISODES):
        yield Finding("episode_empty", row["id"], "nothing is in it", _removed(folder, row["id"]))
    yield from _contents_hashes(folder)
    for row in folder.catalog.select(_WRONG_NAMESPACES):
        detail = f"{row['namespace']}, and {row['other']} its episode"
        yield Finding("namespace_wrong", row["id"], detail, advice=RESTORE)
    for row in folder.catalog.select(_BROKEN_PROTOTYPES):
        repair = _taken_apart(folder, row["sequence"])
        yield Finding("prototype_broken", row["id"], row["detail"], repair)
    yield from _recalls(folder)
    yield from _generations(folder)


def _json(folder: Folder, table: str, key: str, field: str) -> Iterator[Finding]:
    for row in folder.catalog.select(
        f"SELECT {key} AS key, {field} AS value FROM {table} WHERE {field} IS NOT NULL AND"
        f" CASE WHEN json_valid({field}) THEN json_type({field}) != 'object' ELSE TRUE END"
    ):
        repair = _emptied(folder, table, key, field, row["key"], row["value"])
        yield Finding("json_broken", str(row["key"]), f"{table}.{field}", repair)


def _emptied(
    folder: Folder, table: str, key: str, field: str, subject: str, value: Any
) -> Callable[[], str]:
    def repair() -> str:
        content = value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
        aside = folder.put_aside(f"{table}-{field}-{subject}", content)
        with folder.catalog.transaction("repairing a field") as connection:
            connection.execute(f"UPDATE {table} SET {field} = '{{}}' WHERE {key} = ?", (subject,))
        return f"emptied; what it held is put aside as {aside}"

    return repair


def _removed(folder: Folder, episode_id: str) -> Callable[[], str]:
    def repair() -> str:
        with folder.catalog.transaction("removing an empty episode") as connection:
            connection.execute("DELETE FROM episodes WHERE id = ?", (episode_id,))
        return "its row was deleted"

    return repair


def _contents_hashes(folder: Folder) -> Iterator[Finding]:
    found: dict[str, tuple[str, list[str]]] = {}
    for row in folder.catalog.select(
        "SELECT e.id, e.contents, m.blob FROM episodes e JOIN memories m ON m.episode_id = e.id"
        " WHERE m.consolidated_by IS NULL"
    ):
        found.setdefault(row["id"], (row["contents"], []))[1].append(row["blob"])
    for episode_id, (contents, blobs) in found.items():
        expected = rows.contents_hash(blobs)
        if contents != expected:
            repair = _hashed(folder, episode_id, expected)
            yield Finding("episode_contents_wrong", episode_id, f"not {contents}", repair)


def _hashed(folder: Folder, episode_id: str, expected: str) -> Callable[[], str]:
    def repair() -> str:
        with folder.catalog.transaction("repairing an episode") as connection:
            values = (expected, episode_id)
            connection.execute("UPDATE episodes SET contents = ? WHERE id = ?", values)
        return "computed anew"

    return repair


def _taken_apart(folder: Folder, sequence: int) -> Callable[[], str]:
    def repair() -> str:
        with folder.catalog.transaction("taking a prototype apart") as connection:
            connection.execute("DELETE FROM lineage WHERE prototype = ?", (sequence,))
            connection.execute(
                "DELETE FROM memories WHERE sequence = ? AND consolidated_by IS NOT NULL",
                (sequence,),
            )
        return "taken apart: its members are ranked by themselves again"

    return repair


def _recalls(folder: Folder) -> Iterator[Finding]:
    for row in folder.catalog.select(
        "SELECT id, sequence, base, since, recalls, recalled_at FROM recalls"
        " JOIN memories USING (sequence)"
    ):
        values = (row["base"], row["since"], row["recalls"], row["recalled_at"] or 0.0)
        if all(isinstance(v, int | float) and math.isfinite(v) for v in values) and (
            row["base"] >= 0 and row["recalls"] >= 0
        ):
            continue
        detail = json.dumps([str(each) for each in values])
        yield Finding("recall_broken", row["id"], detail, _unrecalled(folder, row["sequence"]))


def _unrecalled(folder: Folder, sequence: int) -> Callable[[], str]:
    def repair() -> str:
        with folder.catalog.transaction("repairing a strength") as connection:
            connection.execute("DELETE FROM recalls WHERE sequence = ?", (sequence,))
        return "it counts as never recalled"

    return repair


def _generations(folder: Folder) -> Iterator[Finding]:
    advice = "forget it: DELETE /generations/{id}"
    for row in folder.catalog.select(
        "SELECT id FROM generations WHERE NOT EXISTS"
        " (SELECT 1 FROM generation_outputs WHERE generation_id = generations.id)"
    ):
        yield Finding("generation_broken", row["id"], "it has no output", advice=advice)
    for row in folder.catalog.select(
        "SELECT g.id, LENGTH(query_vector) AS bytes, dimension FROM generations g JOIN spaces s"
        " ON s.id = g.space_id AND s.fingerprint = g.space_fingerprint"
        " WHERE LENGTH(query_vector) != 4 * dimension"
    ):
        detail = f"its query has {row['bytes']} bytes for {row['dimension']} numbers"
        yield Finding("generation_broken", row["id"], detail, advice=advice)
