"""Prototypes in the store: what may be grouped, and how a group is written and taken apart.

A group is written in one transaction: a crash leaves it made or not made. Knows no threshold.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from memory_service.records import Memory
from memory_service.storage import deletion, insertion, lineage, recalls, rows
from memory_service.storage.catalog import Catalog
from memory_service.storage.spaces import Embedding, SpaceKey
from memory_service.storage.vectors import SubMemory, VectorIndexes
from memory_service.strength import Trail

Matrix = npt.NDArray[np.float32]  # (N, D)


@dataclass(frozen=True)
class Candidate:
    """A memory that may be grouped: stored, alive, and one that has no segments."""

    sequence: int
    vector: npt.NDArray[np.float32]  # (D,), unit length
    prototype: int | None  # that stands for it already


@dataclass(frozen=True)
class Group:
    """`prototype`: the record without a sequence. `replaced`: an earlier prototype of some."""

    prototype: Memory
    members: tuple[tuple[int, float], ...]  # sequence, cosine to the prototype
    medoid: int  # sequence
    trail: Trail
    replaced: Memory | None = None


class Prototypes:
    """Part of a store; changes hold the catalog's write lock."""

    def __init__(self, catalog: Catalog, indexes: VectorIndexes) -> None:
        self._catalog = catalog
        self._indexes = indexes

    _CANDIDATES = (
        "SELECT m.sequence, v.vector, s.dimension, l.prototype"
        " FROM alive m JOIN vectors v USING (sequence)"
        " JOIN spaces s ON s.number = v.space LEFT JOIN lineage l ON l.member = m.sequence"
        " WHERE m.consolidated_by IS NULL AND s.id = ? AND s.fingerprint = ? AND v.segment = 0"
        " AND NOT EXISTS (SELECT 1 FROM vectors w WHERE w.sequence = m.sequence AND w.segment > 0)"
    )

    def single(
        self, namespace: str, modality: str, space: SpaceKey, after: int, limit: int
    ) -> list[Candidate]:
        """Those behind a sequence that no prototype stands for; none where there are no more."""
        while found := self._catalog.select(
            f"{self._CANDIDATES} AND m.namespace = ? AND m.modality = ? AND m.sequence > ?"
            " AND l.prototype IS NULL ORDER BY m.sequence LIMIT ?",
            (*space, namespace, modality, after, limit),
        ):
            if whole := _whole(found):
                return whole
            after = found[-1]["sequence"]
        return []

    def candidates(self, sequences: Iterable[int], space: SpaceKey) -> dict[int, Candidate]:
        """Those of `sequences` that may be grouped."""
        wanted = json.dumps([int(sequence) for sequence in sequences])
        found = self._catalog.select(
            f"{self._CANDIDATES} AND m.sequence IN (SELECT value FROM json_each(?))",
            (*space, wanted),
        )
        return {each.sequence: each for each in _whole(found)}

    def members(self, prototype: int, space: SpaceKey) -> dict[int, Candidate]:
        found = lineage.members(self._catalog, [prototype]).get(prototype, [])
        return self.candidates([sequence for sequence, _, _ in found], space)

    def count(self, namespace: str, modality: str) -> int:
        """Memories that no prototype stands for."""
        ((count,),) = self._catalog.select(
            "SELECT COUNT(*) FROM ranked WHERE namespace = ? AND modality = ?"
            " AND consolidated_by IS NULL",
            (namespace, modality),
        )
        return int(count)

    def add(self, group: Group) -> Memory | None:
        """Write a group; None when it does not hold any more: a member or the earlier prototype was
        forgotten or grouped meanwhile. Raises StorageFull or StorageFailure."""
        with self._catalog.write_lock:
            if not self._holds(group):
                return None
            embeddings = self._means([sequence for sequence, _ in group.members])
            with self._catalog.transaction("consolidating") as connection:
                if group.replaced is not None:
                    deletion.delete_memories(connection, [group.replaced])
                stored = insertion.insert_memory(connection, group.prototype)
                insertion.insert_vectors(connection, [(stored, each) for each in embeddings])
                when = group.trail.since
                lineage.insert(connection, stored.sequence, group.members, group.medoid, when)
                lineage.follow_member(connection, group.medoid)
                recalls.write(connection, {stored.sequence: group.trail})
            if group.replaced is not None:
                old = group.replaced
                gone = np.array([old.sequence], np.int64)
                self._indexes.remove(old.namespace, old.modality, gone)
            for embedding in embeddings:
                key = SubMemory(stored.namespace, stored.modality, *embedding.space)
                if self._indexes.get(key) is not None:  # those that are not searched have none
                    number = np.array([stored.sequence], np.int64)
                    self._indexes.add(key, number, embedding.vector[None])
        return self._catalog.memory(stored.id)

    def _holds(self, group: Group) -> bool:
        sequences = [sequence for sequence, _ in group.members]
        alive = self._catalog.memories(sequences)
        earlier = set(lineage.prototypes_of(self._catalog, sequences).values())
        expected = set() if group.replaced is None else {group.replaced.sequence}
        return len(alive) == len(sequences) and earlier == expected

    def _means(self, sequences: Sequence[int]) -> list[Embedding]:
        """The mean vector, of unit length, in every space that all of them have a whole vector
        in."""
        found: dict[SpaceKey, list[npt.NDArray[np.float32]]] = {}
        for row in self._catalog.select(
            "SELECT s.id, s.fingerprint, s.dimension, v.vector FROM json_each(?) JOIN vectors v"
            " ON v.sequence = value JOIN spaces s ON s.number = v.space WHERE v.segment = 0",
            (json.dumps(list(sequences)),),
        ):
            if (vector := rows.whole_vector(row["vector"], row["dimension"])) is not None:
                found.setdefault((row["id"], row["fingerprint"]), []).append(vector)
        return [
            Embedding(space, mean(np.stack(vectors)))
            for space, vectors in found.items()
            if len(vectors) == len(sequences)
        ]


def mean(vectors: Matrix) -> npt.NDArray[np.float32]:
    """Of unit vectors (N, D) that lie near to each other: their mean (D,), of unit length."""
    total = vectors.astype(np.float64).sum(axis=0)
    direction: npt.NDArray[np.float32] = (total / np.linalg.norm(total)).astype(np.float32)
    return direction


def _whole(found: Iterable[sqlite3.Row]) -> list[Candidate]:
    """Without those whose vector is damaged: nobody can tell what they are like."""
    vectors = ((row, rows.whole_vector(row["vector"], row["dimension"])) for row in found)
    return [
        Candidate(row["sequence"], vector, row["prototype"])
        for row, vector in vectors
        if vector is not None
    ]
