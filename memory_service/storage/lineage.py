"""Prototypes and the memories that they stand for: rows of the catalog.

A prototype is a memory of its own: the content of the medoid, in whose episode it is, and the mean
of its members' vectors. Nothing of a deleted memory may stay in such a mean, so a prototype goes
when one of its members does; the others are ranked again.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence

from memory_service.records import Ancestor, Lineage, Memory
from memory_service.storage import rows
from memory_service.storage.catalog import Catalog


def with_prototypes(catalog: Catalog, memories: Sequence[Memory]) -> list[Memory]:
    """The memories, and the prototypes of those of them that have one."""
    found = catalog.select(
        "SELECT DISTINCT p.* FROM json_each(?) JOIN lineage ON member = value"
        " JOIN memories p ON p.sequence = prototype ORDER BY p.sequence",
        (json.dumps([memory.sequence for memory in memories]),),
    )
    every = {memory.sequence: memory for memory in memories}
    return list({**every, **{row["sequence"]: rows.remnant(row) for row in found}}.values())


def of(catalog: Catalog, memory: Memory) -> Lineage | None:
    """Of a prototype its members; of a member its prototype; None for any other memory."""
    if memory.consolidated_by is not None:
        members = _ancestors(catalog, "prototype", memory.sequence)
        return Lineage(memory.id, memory.consolidated_by, members)
    found = catalog.select(
        "SELECT p.id, p.consolidated_by FROM lineage JOIN alive p ON p.sequence = prototype"
        " WHERE member = ?",
        (memory.sequence,),
    )
    if not found:
        return None
    own = _ancestors(catalog, "member", memory.sequence)
    return Lineage(found[0]["id"], found[0]["consolidated_by"], own)


def _ancestors(catalog: Catalog, column: str, sequence: int) -> tuple[Ancestor, ...]:
    found = catalog.select(
        "SELECT id, episode_id, cosine, consolidated_at, medoid FROM lineage"
        f" JOIN alive ON sequence = member WHERE {column} = ? ORDER BY member",
        (sequence,),
    )
    return tuple(
        Ancestor(
            memory_id=row["id"],
            episode_id=row["episode_id"],
            cosine=row["cosine"],
            consolidated_at=row["consolidated_at"],
            medoid=bool(row["medoid"]),
        )
        for row in found
    )


def insert(
    connection: sqlite3.Connection,
    prototype: int,
    members: Iterable[tuple[int, float]],
    medoid: int,
    when: float,
) -> None:
    """`members`: sequence, and cosine to the prototype."""
    connection.executemany(
        "INSERT INTO lineage VALUES (?, ?, ?, ?, ?)",
        [(member, prototype, cosine, when, member == medoid) for member, cosine in members],
    )


def follow_member(connection: sqlite3.Connection, member: int) -> None:
    """A prototype has its medoid's metadata, and expires with the first of its members."""
    connection.execute(
        "UPDATE memories SET metadata = (SELECT m.metadata FROM lineage l JOIN memories m"
        " ON m.sequence = l.member WHERE l.prototype = memories.sequence AND l.medoid),"
        " expires_at = (SELECT MIN(m.expires_at) FROM lineage l JOIN memories m"
        " ON m.sequence = l.member WHERE l.prototype = memories.sequence)"
        " WHERE sequence = (SELECT prototype FROM lineage WHERE member = ?)",
        (member,),
    )


def members(catalog: Catalog, prototypes: Iterable[int]) -> dict[int, list[tuple[int, str, str]]]:
    """By prototype, (sequence, memory id, episode id) of its members, in the order of storing."""
    found: dict[int, list[tuple[int, str, str]]] = {}
    for row in catalog.select(
        "SELECT prototype, sequence, m.id, episode_id FROM json_each(?)"
        " JOIN lineage ON prototype = value JOIN alive m ON m.sequence = member ORDER BY member",
        (json.dumps(list(prototypes)),),
    ):
        entry = (row["sequence"], row["id"], row["episode_id"])
        found.setdefault(row["prototype"], []).append(entry)
    return found


def prototypes_of(catalog: Catalog, sequences: Iterable[int]) -> Mapping[int, int]:
    """By member, the prototype that stands for it."""
    found = catalog.select(
        "SELECT member, prototype FROM json_each(?) JOIN lineage ON member = value",
        (json.dumps([int(sequence) for sequence in sequences]),),
    )
    return {row["member"]: row["prototype"] for row in found}


def made_by(catalog: Catalog, name: str) -> list[Memory]:
    """The prototypes that a job made, or the one of this memory id."""
    found = catalog.select(
        "SELECT * FROM alive WHERE consolidated_by = ?1 OR (id = ?1 AND consolidated_by"
        " IS NOT NULL) ORDER BY sequence",
        (name,),
    )
    return [rows.memory(row) for row in found]


def member_in(catalog: Catalog, episode_id: str, prototype_id: str) -> str | None:
    """The id of the first member of a prototype in an episode; None where there is none, as of
    any memory that is no prototype."""
    found = catalog.select(
        "SELECT m.id FROM memories p JOIN lineage l ON l.prototype = p.sequence"
        " JOIN alive m ON m.sequence = l.member WHERE p.id = ? AND m.episode_id = ?"
        " ORDER BY m.sequence LIMIT 1",
        (prototype_id, episode_id),
    )
    return found[0]["id"] if found else None


def sizes(catalog: Catalog, job_id: str) -> tuple[int, int]:
    """How many prototypes of a job there are, and how many members they have."""
    (row,) = catalog.select(
        "SELECT COUNT(DISTINCT prototype) AS groups, COUNT(*) AS members FROM lineage"
        " JOIN memories ON sequence = prototype WHERE consolidated_by = ?",
        (job_id,),
    )
    return row["groups"], row["members"]
