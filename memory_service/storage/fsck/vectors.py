"""Vectors and what is derived from them: the traces."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from memory_service.storage import namespace_settings, rows, traces
from memory_service.storage.fsck.findings import EMBED, Finding, Folder

AT_ONCE = 8192  # vectors read at a time
ROUNDING = 1e-5  # of a trace, relative to its length and at least of one vector

_SEARCHED = (
    "SELECT DISTINCT m.modality, v.space FROM memories m JOIN vectors v USING (sequence)"
    " EXCEPT SELECT modality, space FROM standby_spaces"
)
_LACKING = (
    "SELECT id FROM memories m WHERE modality = ? AND NOT EXISTS (SELECT 1 FROM vectors v"
    " WHERE v.sequence = m.sequence AND v.space = ? AND v.segment = 0)"
    " AND sequence NOT IN (SELECT sequence FROM embedding_failures) ORDER BY sequence"
)
_GAPS = (
    "SELECT m.id, COUNT(*) AS count, MIN(segment) AS first, MAX(segment) AS last"
    " FROM vectors JOIN memories m USING (sequence) GROUP BY sequence, space"
    " HAVING MIN(segment) != 0 OR MAX(segment) != COUNT(*) - 1"
)
_COUNT = (
    "SELECT COUNT(*) FROM memories JOIN vectors USING (sequence) WHERE segment = 0"
    " AND consolidated_by IS NULL AND namespace = ? AND modality = ? AND space = ?"
)
_KEYS = (
    "SELECT namespace, modality, space FROM memories JOIN vectors USING (sequence)"
    " WHERE segment = 0 AND consolidated_by IS NULL"
    " UNION SELECT namespace, modality, space FROM traces ORDER BY 1, 2, 3"
)


def check(folder: Folder) -> Iterator[Finding]:
    for space in folder.catalog.select("SELECT number, id, dimension FROM spaces"):
        yield from _broken(folder, space)


def check_complete(folder: Folder) -> Iterator[Finding]:
    """After `check`, whose repairs put vectors aside."""
    for row in folder.catalog.select(_GAPS):
        detail = f"{row['count']} vectors, numbered {row['first']} to {row['last']}"
        yield Finding("segments_broken", row["id"], detail, advice=EMBED)
    for modality, space in folder.catalog.select(_SEARCHED):
        for row in folder.catalog.select(_LACKING, (modality, space)):
            yield Finding("vector_missing", row["id"], f"in space {space}", advice=EMBED)


def _broken(folder: Folder, space: sqlite3.Row) -> Iterator[Finding]:
    after = (0, -1)
    while found := folder.catalog.select(
        "SELECT sequence, segment, vector FROM vectors WHERE space = ? AND sequence >= ?"
        " AND (sequence > ? OR segment > ?) ORDER BY sequence, segment LIMIT ?",
        (space["number"], after[0], *after, AT_ONCE),
    ):
        after = (found[-1]["sequence"], found[-1]["segment"])
        for row in found:
            if (detail := _fault(row["vector"], space["dimension"])) is not None:
                yield _finding(folder, space, row, detail)


def _fault(content: Any, dimension: int) -> str | None:
    if rows.whole_vector(content, dimension) is not None:
        return None
    if not isinstance(content, bytes):
        return "no bytes"
    if len(content) != 4 * dimension:
        return f"{len(content)} bytes for {dimension} numbers"
    return f"of length {np.linalg.norm(rows.vector(content)):g}"


def _finding(folder: Folder, space: sqlite3.Row, row: sqlite3.Row, detail: str) -> Finding:
    sequence, segment = row["sequence"], row["segment"]
    ((memory_id, prototype),) = folder.catalog.select(
        "SELECT id, consolidated_by IS NOT NULL FROM memories WHERE sequence = ?", (sequence,)
    )

    def repair() -> str:
        name = f"vector-{memory_id}-{space['number']}-{segment}"
        content = row["vector"]
        content = content if isinstance(content, bytes) else str(content).encode()
        aside = folder.put_aside(name, content)
        with folder.catalog.transaction("putting a vector aside") as connection:
            if prototype:
                connection.execute("DELETE FROM memories WHERE sequence = ?", (sequence,))
                return f"put aside as {aside}, and the prototype taken apart"
            connection.execute(
                "DELETE FROM vectors WHERE sequence = ? AND space = ?", (sequence, space["number"])
            )
        return f"put aside as {aside}; {EMBED}"

    return Finding("vector_broken", memory_id, f"in space {space['id']}: {detail}", repair)


def check_traces(folder: Folder) -> Iterator[Finding]:
    """After `check`, too: of vectors of the wrong length, which that finds, only the number is
    compared."""
    for key in map(tuple, folder.catalog.select(_KEYS)):
        try:
            detail = _difference(folder, key)
        except (TypeError, ValueError):
            detail = _miscount(folder, key)
        if detail is not None:
            subject = f"{key[0]}/{key[1]} in space {key[2]}"
            yield Finding("trace_wrong", subject, detail, _summing(folder, key))


def _miscount(folder: Folder, key: traces.Key) -> str | None:
    ((there,),) = folder.catalog.select(_COUNT, key)
    found = folder.catalog.select(
        "SELECT count FROM traces WHERE namespace = ? AND modality = ? AND space = ?", key
    )
    count = found[0]["count"] if found else 0
    return None if count == there else f"of {count} memories, and there are {there}"


def _difference(folder: Folder, key: traces.Key) -> str | None:
    with folder.catalog.transaction("reading a trace") as connection:
        half_life_s = namespace_settings.life(connection, key[0]).trace_half_life_s
        expected = traces.summed(connection, key, half_life_s)
        kept = traces.kept(connection, key)
    if expected is None or kept is None:
        return (
            None if expected is kept else ("it is missing" if kept is None else "it is of nothing")
        )
    if kept.count != expected.count:
        return f"of {kept.count} memories, and there are {expected.count}"
    if kept.half_life_s != half_life_s:
        return f"its half-life is {kept.half_life_s}, that of the namespace {half_life_s}"
    if kept.vector.shape != expected.vector.shape:
        return f"it has {len(kept.vector)} numbers, not {len(expected.vector)}"
    difference = float(np.linalg.norm(kept.as_of(expected.reference) - expected.vector))
    length = float(np.linalg.norm(expected.vector))
    if difference <= ROUNDING * max(1.0, length):
        return None
    return f"it differs by {difference:.2g}, of a length of {length:.2g}"


def _summing(folder: Folder, key: traces.Key) -> Callable[[], str]:
    def repair() -> str:
        with folder.catalog.transaction("summing a trace") as connection:
            half_life_s = namespace_settings.life(connection, key[0]).trace_half_life_s
            traces.sum_anew(connection, key, half_life_s)
        return "summed anew from the vectors"

    return repair
