"""The source of truth: SQLite with episodes, memories and their vectors. Knows no encoder."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from memory_service.clock import Clock
from memory_service.errors import NotFound
from memory_service.records import Episode, Memory, SubMemoryStats, Vector
from memory_service.storage import rows, traces
from memory_service.storage.changes import Changes
from memory_service.storage.database import Database
from memory_service.storage.filters import Filter, where
from memory_service.storage.kept import AT_ONCE, KeptMemories
from memory_service.storage.spaces import SpaceKey

Double = npt.NDArray[np.float64]
Sequences = npt.NDArray[np.int64]

MOST_TRACES = 64  # are kept between two commits

_MEMBERS_OF = (
    "SELECT sequence, m.id, episode_id FROM json_each(?)"
    " JOIN alive m ON episode_id = value WHERE modality = ? AND consolidated_by IS NULL"
)
_MATES = (
    "SELECT DISTINCT mate.sequence, mate.modality FROM json_each(?) wanted"
    " JOIN alive target ON target.sequence = wanted.value"
    " JOIN alive mate ON mate.episode_id = target.episode_id"
    " AND mate.sequence != target.sequence"
)
# As above, where a prototype has the mates of its members, and is one in their place.
_MATES_OF_MEMBERS = (
    "WITH wanted AS (SELECT value AS sequence FROM json_each(?)),"
    " target AS (SELECT sequence, sequence AS shown FROM wanted UNION ALL"
    " SELECT member, prototype FROM wanted JOIN lineage ON prototype = sequence)"
    " SELECT DISTINCT COALESCE(p.sequence, mate.sequence) AS sequence, mate.modality"
    " FROM target JOIN alive t USING (sequence)"
    " JOIN alive mate ON mate.episode_id = t.episode_id AND mate.sequence != t.sequence"
    " LEFT JOIN lineage l ON l.member = mate.sequence"
    " LEFT JOIN alive p ON p.sequence = l.prototype"
    " WHERE mate.consolidated_by IS NULL AND COALESCE(p.sequence, mate.sequence) != target.shown"
)


def _within(namespaces: Collection[str] | None) -> tuple[str, list[str]]:
    """SQL after a WHERE that already has a condition, and the values that it binds."""
    if namespaces is None:
        return "", []
    return f"AND namespace IN ({', '.join('?' * len(namespaces))})", list(namespaces)


class Catalog(Database):
    """What episodes, memories and vectors there are, and what is in them. Every method raises
    StorageFailure when the database cannot be read."""

    def __init__(self, path: Path, clock: Clock | None = None) -> None:
        self._kept = KeptMemories()
        self._prototypes = (-1, False)  # whether there are any, as of this change of lineage
        # By sub-memory, as of so many commits.
        self._traces: dict[tuple[str, str, SpaceKey], tuple[int, Double | None]] = {}
        super().__init__(path, Changes(self._kept.changed), clock)

    def memory(self, memory_id: str) -> Memory:
        return rows.memory(self._row(memory_id))

    def _row(self, memory_id: str) -> sqlite3.Row:
        found = self.select("SELECT * FROM alive WHERE id = ?", (memory_id,))
        if not found:
            raise NotFound(f"there is no memory {memory_id!r}", kind="memory", id=memory_id)
        return found[0]

    def remnant(self, memory_id: str) -> Memory:
        """The memory, or of a damaged one what can be read; raises NotFound."""
        return rows.remnant(self._row(memory_id))

    def memories(self, sequences: Iterable[int], *, members: bool = True) -> dict[int, Memory]:
        """Those of `sequences` that exist; without `members`, none that a prototype stands for."""
        wanted = [int(sequence) for sequence in sequences]
        ranked = not members and self.any_prototype()
        if ranked or len(wanted) > AT_ONCE:
            found = self._rows(wanted, "ranked" if ranked else "alive")
            return {row["sequence"]: each for row in found if (each := rows.readable(row))}
        kept, moment = self._kept.of(wanted)
        if len(kept) < len(wanted):
            lacking = self._rows([each for each in wanted if each not in kept], "alive")
            read = [
                (each, len(row["text"] or "") + len(row["metadata"]))
                for row in lacking
                if (each := rows.readable(row))
            ]
            kept.update((each.sequence, each) for each, _ in read)
            self._kept.keep(read, moment)
        now = self._clock.now()
        return {
            sequence: memory
            for sequence in wanted
            if (memory := kept.get(sequence)) is not None
            and (memory.expires_at is None or memory.expires_at > now)
        }

    def _rows(self, sequences: Sequence[int], view: str) -> list[sqlite3.Row]:
        return self.select(
            f"SELECT m.* FROM json_each(?) JOIN {view} m ON sequence = value",
            (json.dumps(sequences),),
        )

    def episode(self, episode_id: str) -> Episode:
        found = self.select("SELECT * FROM episodes WHERE id = ?", (episode_id,))
        members = self.members([episode_id])
        if not found or not members:  # without members: deleted between the two statements
            raise NotFound(f"there is no episode {episode_id!r}", kind="episode", id=episode_id)
        row = found[0]
        return Episode(row["id"], row["namespace"], row["created_at"], tuple(members))

    def namespace_of_episode(self, episode_id: str) -> str:
        """Of one that has a memory, damaged or not; raises NotFound."""
        found = self.select(
            "SELECT e.namespace FROM episodes e JOIN alive m ON m.episode_id = e.id"
            " WHERE e.id = ? AND m.consolidated_by IS NULL LIMIT 1",
            (episode_id,),
        )
        if not found:
            raise NotFound(f"there is no episode {episode_id!r}", kind="episode", id=episode_id)
        namespace: str = found[0]["namespace"]
        return namespace

    def members(self, episode_ids: Iterable[str]) -> list[Memory]:
        """What was stored in these episodes, in that order: prototypes are left out."""
        found = self.select(
            "SELECT alive.* FROM json_each(?) JOIN alive ON episode_id = value"
            " WHERE consolidated_by IS NULL ORDER BY sequence",
            (json.dumps(list(episode_ids)),),
        )
        return [each for row in found if (each := rows.readable(row))]

    def episode_sizes(self, episode_ids: Iterable[str]) -> dict[str, int]:
        """How many memories each of these episodes has."""
        found = self.select(
            "SELECT episode_id, COUNT(*) AS size FROM json_each(?)"
            " JOIN alive ON episode_id = value WHERE consolidated_by IS NULL GROUP BY episode_id",
            (json.dumps(list(dict.fromkeys(episode_ids))),),
        )
        return {row["episode_id"]: row["size"] for row in found}

    def episode_with(self, namespace: str, contents: str, blob: str) -> Episode | None:
        """The first episode of exactly these contents, none of which has expired; `blob` is the
        digest of one of them, best of one that few others have."""
        found = self.select(
            "SELECT e.id FROM memories m JOIN episodes e ON e.id = m.episode_id"
            " WHERE m.blob = ? AND e.namespace = ? AND e.contents = ? AND NOT EXISTS"
            " (SELECT 1 FROM memories WHERE episode_id = e.id AND expires_at <= now())"
            " ORDER BY m.sequence LIMIT 1",
            (blob, namespace, contents),
        )
        return self.episode(found[0]["id"]) if found else None

    def list_memories(
        self,
        *,
        namespace: str | None = None,
        namespaces: Collection[str] | None = None,
        modality: str | None = None,
        filter: Filter = (),
        after: int = 0,
        limit: int = -1,
    ) -> list[Memory]:
        """`namespaces`: all that may be listed, whatever `namespace` says; None: any. Damaged ones
        are left out."""
        clause, values = where(namespace, modality, filter)
        own, names = _within(namespaces)
        statement = (
            f"SELECT * FROM alive WHERE sequence > ? {own} {clause} ORDER BY sequence LIMIT ?"
        )
        listed: list[Memory] = []
        while True:
            left = limit - len(listed) if limit >= 0 else -1
            found = self.select(statement, (after, *names, *values, left))
            listed += [each for row in found if (each := rows.readable(row))]
            if limit < 0 or len(found) < left or len(listed) == limit:
                return listed
            after = found[-1]["sequence"]

    def sequences(
        self,
        namespace: str,
        modality: str,
        filter: Filter,
        *,
        after: int = 0,
        among: Iterable[int] | None = None,
    ) -> Sequences:
        """The sequences of the memories that a filter allows: those behind one, or `among` some.

        Members of a prototype are among them where the filter does not allow that.
        """
        clause, values = where(namespace, modality, filter)
        if among is not None:
            clause += " AND sequence IN (SELECT value FROM json_each(?))"
            values.append(json.dumps(list(among)))
        statement = f"SELECT sequence FROM alive WHERE sequence > ? {clause}"
        if filter and self.any_prototype():
            statement = (
                f"WITH allowed AS MATERIALIZED ({statement})"
                " SELECT sequence FROM allowed WHERE sequence NOT IN (SELECT member FROM lineage"
                " WHERE prototype IN (SELECT sequence FROM allowed))"
            )
        found = self.select(statement, (after, *values))
        return np.fromiter((row[0] for row in found), np.int64, len(found))

    def newest(self) -> int:
        """The highest sequence that a memory has; 0 without any."""
        return int(self.select("SELECT COALESCE(MAX(sequence), 0) FROM memories")[0][0])

    def next_prototype_expires(self) -> float:
        """When, in Unix seconds; infinity where none will."""
        ((when,),) = self.select(
            "SELECT MIN(expires_at) FROM alive WHERE consolidated_by IS NOT NULL"
        )
        return float("inf") if when is None else float(when)

    def now(self) -> float:
        """Unix seconds by the clock that decides what has expired."""
        return self._clock.now()

    def mates(self, targets: Sequences) -> dict[str, Sequences]:
        """By modality, the memories whose episode holds another one that is, or is represented
        by, one of `targets`. Members of a prototype are represented by it here, too."""
        found: dict[str, list[int]] = {}
        wanted = (json.dumps(targets.tolist()),)
        for row in self.select(_MATES_OF_MEMBERS if self.any_prototype() else _MATES, wanted):
            found.setdefault(row["modality"], []).append(row["sequence"])
        return {modality: np.array(each, np.int64) for modality, each in found.items()}

    def any_prototype(self) -> bool:
        """Mostly there is none, and statements that look for them take longer."""
        changes, (known, any_of_them) = self.changes.lineage, self._prototypes
        if known != changes:
            any_of_them = bool(self.select("SELECT EXISTS (SELECT 1 FROM lineage)")[0][0])
            self._prototypes = changes, any_of_them
        return any_of_them

    def places(
        self, sequences: Sequence[int], *, members: bool = False
    ) -> dict[int, tuple[str, str]]:
        """(memory id, episode id) of those of `sequences` that may be ranked; with `members`, also
        those that a prototype stands for."""
        found = self.select(
            "SELECT sequence, m.id, episode_id FROM json_each(?)"
            f" JOIN {'alive' if members else 'ranked'} m ON sequence = value",
            (json.dumps(sequences),),
        )
        return {row["sequence"]: (row["id"], row["episode_id"]) for row in found}

    def members_of(
        self, episode_ids: Iterable[str], modality: str
    ) -> dict[str, list[tuple[int, str]]]:
        """By episode, (sequence, id) of its memories of one modality, and of the prototypes that
        stand for one of these."""
        found: dict[str, list[tuple[int, str]]] = {}
        wanted = json.dumps(list(dict.fromkeys(episode_ids)))
        statement = _MEMBERS_OF
        if self.any_prototype():
            statement = (
                f"WITH own AS ({_MEMBERS_OF}) SELECT * FROM own UNION SELECT p.sequence, p.id,"
                " own.episode_id FROM own JOIN lineage ON member = own.sequence"
                " JOIN alive p ON p.sequence = prototype ORDER BY sequence"
            )
        for row in self.select(statement, (wanted, modality)):
            found.setdefault(row["episode_id"], []).append((row["sequence"], row["id"]))
        return found

    def vector(self, sequence: int, space: SpaceKey) -> Vector | None:
        """The vector of the whole memory; None where there is none, or it is damaged."""
        found = self.select(
            "SELECT vector, dimension FROM vectors JOIN spaces ON space = number"
            " WHERE sequence = ? AND id = ? AND fingerprint = ? AND segment = 0",
            (sequence, *space),
        )
        return rows.whole_vector(found[0]["vector"], found[0]["dimension"]) if found else None

    def spaces_by_modality(self) -> dict[str, set[SpaceKey]]:
        """For each modality, the spaces that stored vectors bear, those on standby left out."""
        found: dict[str, set[SpaceKey]] = {}
        for row in self.select(
            "SELECT DISTINCT t.modality, s.id, s.fingerprint"
            " FROM traces_by_role t JOIN spaces s ON t.space = s.number WHERE t.role IS NULL"
        ):
            found.setdefault(row["modality"], set()).add((row["id"], row["fingerprint"]))
        return found

    def trace(self, namespace: str, modality: str, space: SpaceKey) -> Double | None:
        """The trace (D,) of a sub-memory; None when that is empty. Not to be changed."""
        key, commits = (namespace, modality, space), self.changes.commits
        known = self._traces.get(key)
        if known is not None and known[0] == commits:
            return known[1]
        found = self.select(
            "SELECT t.vector FROM traces t JOIN spaces s ON t.space = s.number WHERE"
            " t.namespace = ? AND t.modality = ? AND s.id = ? AND s.fingerprint = ?",
            (namespace, modality, *space),
        )
        trace = np.frombuffer(found[0]["vector"], "<f8") if found else None
        if len(self._traces) >= MOST_TRACES:
            self._traces.clear()
        self._traces[key] = commits, trace
        return trace

    def stats(self) -> list[SubMemoryStats]:
        found = self.select(
            "SELECT t.namespace, t.modality, s.id, t.count, t.vector, t.half_life_s, t.reference"
            " FROM traces_by_role t JOIN spaces s ON t.space = s.number"
            " WHERE t.role IS NULL ORDER BY 1, 2, 3"
        )
        now = self._clock.now()
        return [
            SubMemoryStats(
                namespace=row["namespace"],
                modality=row["modality"],
                space_id=row["id"],
                count=row["count"],
                trace_norm=traces.length_now(row, now),
            )
            for row in found
        ]

    def count_memories(self, namespaces: Collection[str] | None = None) -> int:
        """Those that were stored: prototypes are left out."""
        own, names = _within(namespaces)
        statement = f"SELECT COUNT(*) AS size FROM alive WHERE consolidated_by IS NULL {own}"
        return int(self.select(statement, names)[0]["size"])
