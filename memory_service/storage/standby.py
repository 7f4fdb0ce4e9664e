"""Spaces that hold vectors beside those that are searched: one being filled, and those kept.

`new`: a re-embedding fills it. `old`: it was searched before the last switch. What is in neither
role is searched, and only that is in FAISS, together with the `new` spaces while a re-embedding
runs. Every vector is in its space's trace, whatever the role. Knows no encoder.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from memory_service.records import Job, Memory
from memory_service.storage import insertion, jobs, loading, rows, traces
from memory_service.storage.catalog import Catalog
from memory_service.storage.spaces import Embedding, Role, SpaceKey
from memory_service.storage.vectors import SubMemory, VectorIndexes

Targets = Mapping[str, Mapping[SpaceKey, int]]  # by modality, the spaces and their dimensions
Failures = Mapping[int, tuple[str, str]]  # by sequence: code and reason

DROPPED_AT_ONCE = 512  # vectors per transaction: stores wait for no longer

_OF_TARGETS = "v.space IN (SELECT value FROM json_each(?))"


@dataclass(frozen=True)
class Coverage:
    """Of one modality's memories: how many have a vector in every target space."""

    memories: int
    embedded: int
    failed: int  # for a reason that is recorded

    @property
    def missing(self) -> int:
        return self.memories - self.embedded - self.failed


@dataclass(frozen=True)
class Failure:
    memory_id: str
    modality: str
    code: str
    reason: str


class Standby:
    """Part of a store; `changed` is called when other spaces are searched than before."""

    def __init__(
        self, catalog: Catalog, indexes: VectorIndexes, changed: Callable[[], None]
    ) -> None:
        self._catalog = catalog
        self._indexes = indexes
        self._changed = changed
        self._read()

    def _read(self) -> None:
        found: dict[str, dict[SpaceKey, Role]] = defaultdict(dict)
        for row in self._catalog.select(
            "SELECT modality, id, fingerprint, role FROM standby_spaces"
            " JOIN spaces ON space = number"
        ):
            found[row["modality"]][row["id"], row["fingerprint"]] = row["role"]
        self._roles = dict(found)
        self._changed()

    def spaces(self, modality: str, role: Role | None = None) -> set[SpaceKey]:
        """Those of a modality that are in this role, or in any."""
        roles = self._roles.get(modality, {})
        return {key for key, each in roles.items() if role in (None, each)}

    def in_role(self, role: Role) -> dict[str, set[SpaceKey]]:
        """By modality, the spaces in this role; without the modalities that have none."""
        found = {modality: self.spaces(modality, role) for modality in self._roles}
        return {modality: keys for modality, keys in found.items() if keys}

    def census(self) -> list[tuple[str, str, str, Role | None, int]]:
        """(modality, space id, fingerprint, role, vectors) of every space that has vectors."""
        return [
            tuple(row)
            for row in self._catalog.select(
                "SELECT t.modality, s.id, s.fingerprint, t.role, SUM(t.count)"
                " FROM traces_by_role t JOIN spaces s ON t.space = s.number"
                " GROUP BY 1, 2, 3, 4 ORDER BY 1, 4, 2, 3"
            )
        ]

    # Filling.

    def open(self, targets: Targets, running: Targets) -> None:
        """Put target spaces that are not searched into the role `new`, and into FAISS.

        What was kept of earlier switches is dropped, unless it is a target. Stores wait while the
        vectors that a target holds already are read. `running`: the spaces that new memories are
        embedded into; where a modality has no vector yet, these are the ones searched.
        """
        if any(
            set(spaces) - self._searched(modality, running) for modality, spaces in targets.items()
        ):  # not what is searched already: then the way back stays
            self.drop("old", keep=targets)
        with self._catalog.write_lock:
            with self._catalog.transaction("preparing a space") as connection:
                for modality, number, key in self._numbers(connection, targets):
                    if key not in self._searched(modality, running):
                        connection.execute(
                            "INSERT OR REPLACE INTO standby_spaces VALUES (?, ?, 'new')",
                            (modality, number),
                        )
            self._read()
            self.close()
            loading.fill(self._catalog, self._indexes, "new")

    def close(self) -> None:
        """Take the `new` spaces out of FAISS: nothing is added to them until the next `open`."""
        with self._catalog.write_lock:
            for modality, keys in self.in_role("new").items():
                for key in keys:
                    self._indexes.drop(modality, *key)

    def _searched(self, modality: str, running: Targets) -> set[SpaceKey]:
        return self._catalog.spaces_by_modality().get(modality, set(running.get(modality, {})))

    def _numbers(
        self, connection: sqlite3.Connection, targets: Targets
    ) -> list[tuple[str, int, SpaceKey]]:
        """(modality, space number, space key) of every target."""
        return [
            (modality, insertion.space_number(connection, key, dimension), key)
            for modality, spaces in targets.items()
            for key, dimension in spaces.items()
        ]

    def _known_numbers(self, keys: Mapping[SpaceKey, int]) -> list[int]:
        """Those of `keys` that any vector was ever made for."""
        return [
            row["number"]
            for key in keys
            for row in self._catalog.select(
                "SELECT number FROM spaces WHERE id = ? AND fingerprint = ?", key
            )
        ]

    def lacking(self, modality: str, targets: Targets, after: int, limit: int) -> list[Memory]:
        """Memories behind a sequence that lack a vector of a target space, and did not fail."""
        condition, values = self._lacks(modality, targets, after)
        found = self._catalog.select(
            f"SELECT * FROM memories m WHERE {condition}"
            " AND sequence NOT IN (SELECT sequence FROM embedding_failures)"
            " ORDER BY sequence LIMIT ?",
            (*values, limit),
        )
        return [rows.memory(row) for row in found]

    def extents(
        self, modality: str, targets: Targets, after: int, limit: int
    ) -> list[tuple[int, int, int]]:
        """(sequence, bytes, most vectors in any space) of what `lacking` finds, and of what failed:
        a long memory has a vector of each of its segments besides that of the whole."""
        condition, values = self._lacks(modality, targets, after)
        found = self._catalog.select(
            "SELECT sequence, size_bytes, 1 + COALESCE("
            "(SELECT MAX(segment) FROM vectors v WHERE v.sequence = m.sequence), 0)"
            f" FROM memories m WHERE {condition} ORDER BY sequence LIMIT ?",
            (*values, limit),
        )
        return [tuple(row) for row in found]

    def _lacks(self, modality: str, targets: Targets, after: int) -> tuple[str, tuple[Any, ...]]:
        """The condition that a memory `m` lacks a vector of a target, and the values in it."""
        spaces = targets.get(modality, {})
        return (
            "modality = ? AND sequence > ?"
            " AND (SELECT COUNT(DISTINCT v.space) FROM vectors v WHERE v.sequence = m.sequence"
            f" AND {_OF_TARGETS}) < ?",
            (modality, after, json.dumps(self._known_numbers(spaces)), max(1, len(spaces))),
        )

    def coverage(self, targets: Targets) -> dict[str, Coverage]:
        """Of every modality that has memories, whether it has a target or not."""
        return {
            row["modality"]: self._coverage(row["modality"], row["count"], targets)
            for row in self._catalog.select(
                "SELECT modality, COUNT(*) AS count FROM memories GROUP BY modality ORDER BY 1"
            )
        }

    def _coverage(self, modality: str, memories: int, targets: Targets) -> Coverage:
        spaces = targets.get(modality, {})
        covered = (
            "SELECT m.sequence FROM memories m JOIN vectors v USING (sequence)"
            f" WHERE m.modality = ? AND {_OF_TARGETS}"
            " GROUP BY m.sequence HAVING COUNT(DISTINCT v.space) = ?"
        )
        values = (modality, json.dumps(self._known_numbers(spaces)), max(1, len(spaces)))
        ((embedded,),) = self._catalog.select(f"SELECT COUNT(*) FROM ({covered})", values)
        ((failed,),) = self._catalog.select(
            "SELECT COUNT(*) FROM embedding_failures JOIN memories USING (sequence)"
            f" WHERE modality = ? AND sequence NOT IN ({covered})",
            (modality, *values),
        )
        return Coverage(memories, embedded, failed)

    def vectors(self, targets: Targets) -> dict[str, tuple[int, int]]:
        """By modality, how many memories the catalog has in the targets, and FAISS."""
        return {
            modality: (self._in_catalog(modality, spaces), self._in_faiss(modality, spaces))
            for modality, spaces in targets.items()
        }

    def _in_catalog(self, modality: str, spaces: Mapping[SpaceKey, int]) -> int:
        ((count,),) = self._catalog.select(
            "SELECT COUNT(*) FROM memories m JOIN vectors v USING (sequence)"
            f" WHERE m.modality = ? AND v.segment = 0 AND {_OF_TARGETS}",
            (modality, json.dumps(self._known_numbers(spaces))),
        )
        return int(count)

    def _in_faiss(self, modality: str, spaces: Mapping[SpaceKey, int]) -> int:
        return sum(
            len(index)
            for key, index in self._indexes.items()
            if key.modality == modality and (key.space_id, key.fingerprint) in spaces
        )

    def add(
        self,
        found: Mapping[int, Sequence[Embedding]],
        failures: Failures,
        targets: Targets,
        job: Job,
    ) -> None:
        """Add the vectors of memories, by sequence, and the job's progress, in one transaction.

        What was forgotten since it was read stays forgotten; vectors that are there already stay.
        """
        added: dict[SubMemory, list[tuple[int, Embedding]]] = defaultdict(list)
        with self._catalog.write_lock:
            alive = self._catalog.memories([*found, *failures])
            with self._catalog.transaction("adding vectors") as connection:
                held = self._held(found)
                new: list[tuple[Memory, Embedding]] = []
                for sequence, memory in alive.items():
                    for embedding in found.get(sequence, ()):
                        if embedding.space not in targets[memory.modality]:
                            raise ValueError(f"{embedding.space} is no target: {targets}")
                        if (sequence, *embedding.space) in held:
                            continue
                        new.append((memory, embedding))
                        key = SubMemory(memory.namespace, memory.modality, *embedding.space)
                        added[key].append((sequence, embedding))
                insertion.insert_vectors(connection, new)
                connection.executemany(
                    "INSERT OR REPLACE INTO embedding_failures VALUES (?, ?, ?)",
                    [(each, *failures[each]) for each in failures if each in alive],
                )
                jobs.write(connection, job)
            for key, pairs in added.items():
                sequences = np.array([sequence for sequence, _ in pairs], np.int64)
                segments = np.array([each.segment for _, each in pairs], np.int64)
                vectors = np.stack([each.vector for _, each in pairs])
                self._indexes.add(key, sequences, vectors, segments)

    def _held(self, sequences: Mapping[int, object]) -> set[tuple[int, str, str]]:
        found = self._catalog.select(
            "SELECT DISTINCT sequence, spaces.id, fingerprint FROM json_each(?)"
            " JOIN vectors ON sequence = value JOIN spaces ON space = number",
            (json.dumps(list(sequences)),),
        )
        return {(row["sequence"], row["id"], row["fingerprint"]) for row in found}

    def fail_all(self, modality: str, code: str, reason: str) -> None:
        """Record that no memory of a modality can be embedded."""
        with self._catalog.transaction("recording failures") as connection:
            connection.execute(
                "INSERT OR REPLACE INTO embedding_failures"
                " SELECT sequence, ?, ? FROM memories WHERE modality = ?",
                (code, reason, modality),
            )

    def forget_failures(self) -> None:
        """So that what failed is tried again."""
        with self._catalog.transaction("forgetting failures") as connection:
            connection.execute("DELETE FROM embedding_failures")

    def failures(self, limit: int) -> list[Failure]:
        found = self._catalog.select(
            "SELECT id, modality, code, reason FROM embedding_failures"
            " JOIN memories USING (sequence) ORDER BY sequence LIMIT ?",
            (limit,),
        )
        return [Failure(row["id"], row["modality"], row["code"], row["reason"]) for row in found]

    # Afterwards.

    def switch(self, targets: Targets, job: Job | None = None) -> None:
        """From now on the targets are searched; what was, is `old`. One transaction.

        Modalities without a target stay as they are. The targets must be in FAISS: see `open`.
        """
        with self._catalog.write_lock:
            with self._catalog.transaction("switching") as connection:
                numbers = self._numbers(connection, targets)
                for modality in targets:
                    own = json.dumps([number for name, number, _ in numbers if name == modality])
                    connection.execute(
                        "INSERT OR REPLACE INTO standby_spaces SELECT DISTINCT modality, space,"
                        " 'old' FROM traces WHERE modality = ?"
                        " AND space NOT IN (SELECT value FROM json_each(?))",
                        (modality, own),
                    )
                    connection.execute(
                        "DELETE FROM standby_spaces WHERE modality = ?"
                        " AND space IN (SELECT value FROM json_each(?))",
                        (modality, own),
                    )
                if job is not None:
                    jobs.write(connection, job)
            self._read()
            for modality, keys in self.in_role("old").items():
                for key in keys:
                    self._indexes.drop(modality, *key)

    def drop(self, role: Role, keep: Targets | None = None) -> int:
        """Delete the vectors of a role for good; returns how many. Little by little: stores,
        deletes and retrievals go on beside it, and an end in between leaves a consistent rest."""
        dropped = 0
        for modality, keys in self.in_role(role).items():
            for key in keys - set((keep or {}).get(modality, {})):
                self._indexes.drop(modality, *key)
                (number,) = self._known_numbers({key: 0})
                after = 0
                while found := self._drop_some(modality, number, after):
                    dropped += len(found)
                    after = found[-1]
                with self._catalog.transaction("dropping a space") as connection:
                    connection.execute(
                        "DELETE FROM standby_spaces WHERE modality = ? AND space = ?",
                        (modality, number),
                    )
                self._read()
        return dropped

    def _drop_some(self, modality: str, space: int, after: int) -> list[int]:
        """Returns the sequences of the vectors that are gone, in rising order."""
        with self._catalog.write_lock:
            found = self._catalog.select(
                "SELECT namespace, sequence, segment, vector, dimension, created_at,"
                " consolidated_by FROM vectors JOIN memories USING (sequence)"
                " JOIN spaces ON number = space WHERE modality = ? AND space = ?"
                " AND sequence >= ? ORDER BY sequence LIMIT ?",
                (modality, space, after, DROPPED_AT_ONCE),
            )
            with self._catalog.transaction("dropping vectors") as connection:
                for row in found:
                    # The whole alone is in the trace, and no prototype.
                    if row["segment"] > 0 or row["consolidated_by"] is not None:
                        continue
                    vector = rows.whole_vector(row["vector"], row["dimension"])
                    if vector is None:  # what it added is lost; the trace goes with the last
                        vector = np.zeros(row["dimension"], np.float32)
                    key = (row["namespace"], modality, space)
                    traces.shift(connection, key, vector, -1, row["created_at"])
                connection.executemany(
                    "DELETE FROM vectors WHERE sequence = ? AND space = ? AND segment = ?",
                    [(row["sequence"], space, row["segment"]) for row in found],
                )
        return [row["sequence"] for row in found]
