"""Removes memories and generations for good, from every place, and says what was where.

Rows go first, in one transaction with a note of the files that are to follow and with the receipt;
then index entries, files and thumbnails. A crash in between leaves notes, which the next start
works off. Knows nothing about who asked.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from memory_service import trail
from memory_service.clock import Clock
from memory_service.errors import MemoryServiceError, StorageFailure, StorageFull, UnexpectedCount
from memory_service.ids import new_id
from memory_service.records import PLAIN, Forgotten, Manner, Memory
from memory_service.storage import expiry, generations, jobs, lineage, receipts, rows
from memory_service.storage.catalog import Catalog
from memory_service.storage.clearing import Clearing
from memory_service.storage.contents import Contents
from memory_service.storage.filters import Filter, where
from memory_service.storage.probe import Probe, summed
from memory_service.storage.quarantine import Quarantine
from memory_service.storage.reserve import Reserve
from memory_service.storage.thumbnails import Thumbnails
from memory_service.storage.vectors import VectorIndexes

log = logging.getLogger(__name__)

AT_ONCE = 256  # memories per transaction: stores wait for no longer
UNASKED = Manner(keep_receipt=False)  # nobody waits for a receipt of what goes by itself

Batches = Iterator[Sequence[Memory]]


@dataclass
class _Forgetting:
    """One forgetting, of one batch or several, while it goes on."""

    what: str
    manner: Manner
    time: float
    namespace: str = ""  # known with the first memory
    id: str = field(default_factory=new_id)
    memory_ids: list[str] = field(default_factory=list)
    episode_ids: list[str] = field(default_factory=list)
    contents: dict[str, None] = field(default_factory=dict)
    blobs_removed: list[str] = field(default_factory=list)
    removed: Counter[str] = field(default_factory=Counter)
    marked: dict[str, None] = field(default_factory=dict)
    erased: list[str] = field(default_factory=list)
    probes: list[Probe] = field(default_factory=list)
    marks: set[bytes] = field(default_factory=set)  # to look for, where `wait` is asked for
    clean: bool = False
    probe: dict[str, Any] | None = None

    def receipt(self, *, complete: bool) -> Forgotten:
        gone = set(self.erased)
        return Forgotten(
            id=self.id,
            time=self.time,
            what=self.what,
            namespace=self.namespace,
            memory_ids=tuple(self.memory_ids),
            episode_ids=tuple(self.episode_ids),
            contents=tuple(self.contents),
            blobs_removed=tuple(self.blobs_removed),
            removed=dict(self.removed),
            generations_marked=tuple(each for each in self.marked if each not in gone),
            generations_erased=tuple(self.erased),
            kept=self.manner.keep_receipt,
            complete=complete,
            clean=self.clean,
            probe=self.probe,
        )


class Removal:
    """Part of a store; `changed` is called when other spaces may be searched than before.

    Every method that forgets may raise StorageFull or StorageFailure; what was deleted by then is
    deleted. What is found is looked up under the write lock, so that it is what is deleted.
    """

    def __init__(
        self,
        catalog: Catalog,
        blobs: Contents,
        indexes: VectorIndexes,
        folder: Path,
        clock: Clock,
        changed: Callable[[], None],
    ) -> None:
        self._catalog = catalog
        self._blobs = blobs
        self._indexes = indexes
        self._clock = clock
        self._changed = changed
        self._reserve = Reserve(folder)
        self.thumbnails = Thumbnails(folder / "thumbnails")
        self.quarantine = Quarantine(folder / "quarantine")
        self._clearing = Clearing(catalog, blobs, indexes)

    # What is to be forgotten.

    def memory(self, memory_id: str, manner: Manner = PLAIN) -> Forgotten:
        """A memory; raises NotFound."""

        def found() -> Batches:
            yield [self._catalog.memory(memory_id)]

        return self._forget("memory", manner, found())

    def episode(self, episode_id: str, manner: Manner = PLAIN) -> Forgotten:
        """All memories of an episode; raises NotFound."""

        def found() -> Batches:
            self._catalog.episode(episode_id)  # there, and not expired
            yield expiry.in_episode(self._catalog, episode_id)

        return self._forget("episode", manner, found())

    def matching(
        self,
        namespace: str,
        modality: str | None,
        filter: Filter,
        expected: int,
        manner: Manner = PLAIN,
    ) -> Forgotten:
        """What `count_matching` counts, if that is `expected`; raises UnexpectedCount."""
        wanted = self._matching(namespace, modality, filter)
        if len(wanted) != expected:
            raise UnexpectedCount(
                f"{len(wanted)} memories would be forgotten, not {expected}: nothing was. Look at "
                "what the filter matches, and say that number",
                found=len(wanted),
                accepted=expected,
            )
        return self._forget("filter", manner, self._by_sequence(wanted), namespace)

    def count_matching(self, namespace: str, modality: str | None, filter: Filter) -> int:
        """Members of a prototype are counted, prototypes are not: they go with their members."""
        return len(self._matching(namespace, modality, filter))

    def _matching(self, namespace: str, modality: str | None, filter: Filter) -> list[int]:
        clause, values = where(namespace, modality, filter)
        found = self._catalog.select(
            f"SELECT sequence FROM alive WHERE consolidated_by IS NULL {clause} ORDER BY sequence",
            values,
        )
        return [row["sequence"] for row in found]

    def namespace(self, name: str, manner: Manner = PLAIN) -> Forgotten:
        """All memories that the namespace has now, and its generations, whatever `descendants`
        says of those of other memories."""
        ((last,),) = self._catalog.select("SELECT COALESCE(MAX(sequence), 0) FROM memories")

        def found() -> Batches:
            while batch := self._rows(
                "namespace = ? AND sequence <= ? ORDER BY sequence LIMIT ?", name, last, AT_ONCE
            ):
                yield batch

        forgetting = self._begun("namespace", manner, name)
        self._delete_all(forgetting, found())
        while ids := self._catalog.select(
            "SELECT id FROM generations WHERE namespace = ? ORDER BY id LIMIT ?", (name, AT_ONCE)
        ):
            self._delete_generations(forgetting, [row["id"] for row in ids])
        return self._finish(forgetting)

    def generation(self, generation_id: str, manner: Manner = PLAIN) -> Forgotten:
        """The record of a generation and its outputs; raises NotFound."""
        with self._catalog.write_lock:
            record = generations.get(self._catalog, generation_id)
            forgetting = self._begun("generation", manner, record.namespace)
            self._delete_generations(forgetting, [generation_id])
        return self._finish(forgetting)

    def expired(self, now: float, limit: int) -> Forgotten:
        """At most `limit` memories that expired. No receipt is kept."""

        def found() -> Batches:
            yield expiry.due(self._catalog, now, limit)

        return self._forget("expired", UNASKED, found())

    def prototypes(self, prototypes: Sequence[Memory]) -> Forgotten:
        """Those that are still there; their members are ranked again. No receipt is kept."""
        return self._forget(
            "prototype", UNASKED, self._by_sequence([each.sequence for each in prototypes])
        )

    def _by_sequence(self, sequences: Sequence[int]) -> Batches:
        for first in range(0, len(sequences), AT_ONCE):
            part = json.dumps(list(sequences[first : first + AT_ONCE]))
            yield self._rows("sequence IN (SELECT value FROM json_each(?))", part)

    def _rows(self, condition: str, *values: Any) -> list[Memory]:
        found = self._catalog.select(f"SELECT * FROM memories WHERE {condition}", values)
        return [rows.memory(row) for row in found]

    # How it is forgotten.

    def _begun(self, what: str, manner: Manner, namespace: str = "") -> _Forgetting:
        return _Forgetting(what, manner, self._clock.now(), namespace)

    def _forget(
        self, what: str, manner: Manner, batches: Batches, namespace: str = ""
    ) -> Forgotten:
        forgetting = self._begun(what, manner, namespace)
        self._delete_all(forgetting, batches)
        return self._finish(forgetting)

    def _delete_all(self, forgetting: _Forgetting, batches: Batches) -> None:
        while True:
            with self._catalog.write_lock:
                memories = next(batches, None)
                if memories is None:
                    return
                # What a deleted memory has a share in goes with it: its prototype.
                memories = lineage.with_prototypes(self._catalog, memories)
                if memories:
                    self._delete(forgetting, memories)

    def _delete(self, forgetting: _Forgetting, memories: Sequence[Memory]) -> None:
        forgetting.namespace = forgetting.namespace or memories[0].namespace
        if forgetting.manner.probe:
            forgetting.probes.append(Probe(self._catalog, self._indexes, self._blobs, memories))
        if forgetting.manner.wait:
            forgetting.marks.update(self._clearing.marks(memories))
        leaving = self._with_reserve(lambda: self._delete_rows(forgetting, memories))
        grouped: dict[tuple[str, str], list[int]] = defaultdict(list)
        for memory in memories:
            grouped[memory.namespace, memory.modality].append(memory.sequence)
        for place, sequences in grouped.items():
            gone = self._indexes.remove(*place, np.array(sequences, np.int64))
            forgetting.removed["index_entries"] += gone
        self._changed()
        self._remove_files(forgetting, leaving)

    def _delete_rows(self, forgetting: _Forgetting, memories: Sequence[Memory]) -> list[str]:
        """Returns the contents that the deleted rows named."""
        ids = [memory.id for memory in memories]
        counted: Counter[str] = Counter(memories=len(memories))
        with self._catalog.transaction("deleting") as connection:
            made = generations.made_from(connection, ids)
            erased = made if forgetting.manner.descendants == "erase" else []
            leaving = [memory.blob for memory in memories]
            leaving += generations.delete(connection, erased)
            counted["generations"] = len(erased)
            counted["job_entries"] = jobs.forget(connection, ids)
            counted.update(_count_rows(connection, memories))
            for memory in memories:
                self._catalog.delete_memory(connection, memory)
            emptied = [
                episode_id
                for episode_id in dict.fromkeys(memory.episode_id for memory in memories)
                if self._catalog.delete_episode_if_empty(connection, episode_id)
            ]
            self._note(connection, forgetting, memories, leaving)
        forgetting.memory_ids += ids
        forgetting.episode_ids += emptied
        forgetting.marked.update(dict.fromkeys(made))
        self._count(forgetting, leaving, erased, counted, memories)
        return leaving

    def _delete_generations(self, forgetting: _Forgetting, ids: Sequence[str]) -> None:
        def delete() -> list[str]:
            with self._catalog.transaction("deleting generations") as connection:
                leaving = generations.delete(connection, ids)
                self._note(connection, forgetting, (), leaving)
            self._count(forgetting, leaving, ids, Counter(generations=len(ids)))
            return leaving

        with self._catalog.write_lock:
            self._remove_files(forgetting, self._with_reserve(delete))

    def _note(
        self,
        connection: sqlite3.Connection,
        forgetting: _Forgetting,
        memories: Sequence[Memory],
        leaving: Sequence[str],
    ) -> None:
        """What is to be known after a crash, in the transaction that deletes."""
        connection.executemany(
            "INSERT OR IGNORE INTO leaving VALUES (?)", [(each,) for each in leaving]
        )
        if forgetting.manner.keep_receipt:
            receipts.begin(connection, forgetting.receipt(complete=False), memories)

    def _count(
        self,
        forgetting: _Forgetting,
        leaving: Sequence[str],
        erased: Sequence[str],
        counted: Counter[str],
        memories: Sequence[Memory] = (),
    ) -> None:
        forgetting.contents.update(dict.fromkeys(leaving))
        forgetting.erased += erased
        forgetting.removed.update(counted)
        trail.told(
            namespaces=[each.namespace for each in memories] or [forgetting.namespace],
            memories=[each.id for each in memories],
            generations=erased,
            receipts=[forgetting.id] if forgetting.manner.keep_receipt else (),
        )
        self._clearing.deleted()

    def _with_reserve(self, delete: Callable[[], list[str]]) -> list[str]:
        try:
            return delete()
        except StorageFull:
            self._reserve.give_up()
            return delete()

    def _remove_files(self, forgetting: _Forgetting, blobs: Iterable[str]) -> None:
        """Of contents that no row names. The rows are gone by now: a failure here is not the
        caller's, and what is left is worked off later."""
        for digest in self._catalog.unreferenced(blobs):
            try:
                self._blobs.delete(digest)
                if digest not in self._blobs:
                    forgetting.blobs_removed.append(digest)
                    forgetting.removed["blobs"] += 1
                forgetting.removed["thumbnails"] += self.thumbnails.delete(digest)
                forgetting.removed["quarantined"] += self.quarantine.delete(digest)
            except StorageFailure:
                log.exception("the file of a deleted memory could not be removed: %s", digest)

    def _finish(self, forgetting: _Forgetting) -> Forgotten:
        if not (forgetting.memory_ids or forgetting.erased or forgetting.manner.keep_receipt):
            return forgetting.receipt(complete=True)
        self._reserve.keep()
        if forgetting.manner.wait:
            forgetting.clean = self._clearing.all(forgetting.namespace, forgetting.marks)
        if forgetting.manner.probe:
            forgetting.probe = summed(forgetting.probes)
        receipt = forgetting.receipt(complete=True)
        try:
            with self._catalog.write_lock:
                self._settle(receipt)
        except MemoryServiceError:  # it is deleted all the same, and its receipt says incomplete
            log.exception("the end of forgetting %s could not be recorded", receipt.id)
        return receipt

    def _settle(self, receipt: Forgotten | None = None) -> None:
        """Write the end of a receipt, and take off the notes of files that are gone."""
        with self._catalog.transaction("recording what was forgotten") as connection:
            noted = [row["blob"] for row in connection.execute("SELECT blob FROM leaving")]
            gone = [digest for digest in noted if digest not in self._blobs]
            still_named = set(noted) - set(self._catalog.unreferenced(noted))
            connection.execute(
                "DELETE FROM leaving WHERE blob IN (SELECT value FROM json_each(?))",
                (json.dumps([*gone, *still_named]),),
            )
            if receipt is not None and receipt.kept:
                receipts.finish(connection, receipt)

    # Afterwards, and at the start.

    def tidy(self) -> None:
        """Remove files that a deletion left, and what the write-ahead log still says of it. Raises
        StorageFailure when that fails; then it is to be called again."""
        with self._catalog.write_lock:
            leaving = [row["blob"] for row in self._catalog.select("SELECT blob FROM leaving")]
            if leaving:
                self._remove_files(self._begun("expired", UNASKED), leaving)
                self._settle()
        self._clearing.tidy()

    def start(self) -> None:
        """Work off what a crash left: deletions to their end, and files that no row names, of a
        store that was not finished, or of a catalog that is older than they are, put aside."""
        self._reserve.keep()
        self.tidy()
        if found := self._blobs.sweep(self._catalog.referenced_blobs(), self.quarantine.take):
            log.warning(
                "%d files that no memory names were cleared: whole ones are in %s",
                found,
                self.quarantine.folder,
            )


def _count_rows(connection: sqlite3.Connection, memories: Sequence[Memory]) -> dict[str, int]:
    sequences = json.dumps([memory.sequence for memory in memories])
    return {
        table: connection.execute(
            f"SELECT COUNT(*) FROM {table} WHERE sequence IN (SELECT value FROM json_each(?))",
            (sequences,),
        ).fetchone()[0]
        for table in ("vectors", "recalls")
    }
