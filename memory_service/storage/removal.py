"""Removes memories and generations for good, from every place, and says what was where.

Rows go first, in one transaction with a note of the contents that are to follow and with the
receipt; then index entries, and the contents: see storage.leaving. A crash in between leaves notes,
which the next start works off. Many are removed in several such steps, between which others have
their turn. Knows nothing about who asked.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np

from memory_service import trail
from memory_service.clock import Clock
from memory_service.errors import MemoryServiceError, StorageFull
from memory_service.records import PLAIN, Forgotten, Manner, Memory
from memory_service.storage import (
    damage,
    deletion,
    expiry,
    generations,
    jobs,
    lineage,
    receipts,
    rows,
)
from memory_service.storage.catalog import Catalog
from memory_service.storage.clearing import Clearing
from memory_service.storage.contents import Contents
from memory_service.storage.filters import Filter, where
from memory_service.storage.leaving import Leaving
from memory_service.storage.probe import Probe, summed
from memory_service.storage.quarantine import Quarantine
from memory_service.storage.reserve import Reserve
from memory_service.storage.tally import Part, Tally
from memory_service.storage.thumbnails import Thumbnails
from memory_service.storage.vectors import VectorIndexes

log = logging.getLogger(__name__)

AT_ONCE = 128  # memories per transaction: stores wait for no longer
TURN_S = 0.002  # between two of them: who waits for the write lock is woken, and takes it
UNASKED = Manner(keep_receipt=False)  # nobody waits for a receipt of what goes by itself

Batches = Iterator[Sequence[Memory]]


@dataclass(frozen=True)
class Steps:
    """Of a forgetting that its caller follows. `begun` is given the receipt, which can be read by
    then; `step`, between two transactions, how many memories are gone: what it raises ends it."""

    job: str
    begun: Callable[[Forgotten], None]
    step: Callable[[int], None]


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
        self._reserve = Reserve(folder, catalog.growth, lambda: catalog.rows_written)
        catalog.observers.append(self._reserve)
        self.thumbnails = Thumbnails(folder / "thumbnails")
        self.quarantine = Quarantine(folder / "quarantine")
        self._leaving = Leaving(catalog, blobs, self.thumbnails, self.quarantine)
        self._clearing = Clearing(catalog, blobs, indexes)
        self._mentions = jobs.Mentions()

    @property
    def full(self) -> bool:
        """Writes are refused for want of room, or only a reserve lets deletions pass."""
        return self._catalog.full or not self._reserve.held

    # What is to be forgotten.

    def memory(self, memory_id: str, manner: Manner = PLAIN) -> Forgotten:
        """A memory; raises NotFound."""

        def found() -> Batches:
            yield [self._catalog.remnant(memory_id)]

        return self._forget("memory", manner, found())

    def episode(self, episode_id: str, manner: Manner = PLAIN) -> Forgotten:
        """All memories of an episode; raises NotFound."""

        def found() -> Batches:
            self._catalog.namespace_of_episode(episode_id)  # there, and not expired
            yield expiry.in_episode(self._catalog, episode_id)

        return self._forget("episode", manner, found())

    def matching(
        self,
        namespace: str,
        modality: str | None,
        filter: Filter,
        found: Sequence[int],
        manner: Manner = PLAIN,
        steps: Steps | None = None,
    ) -> Forgotten:
        """Those of `found`, as `which_match` told them, that match still when their turn comes."""
        clause, values = where(namespace, modality, filter)
        clause = f"AND consolidated_by IS NULL {clause}"
        batches = self._by_sequence(found, "alive", clause, values)
        return self._forget("filter", manner, batches, namespace, steps)

    def which_match(self, namespace: str, modality: str | None, filter: Filter) -> list[int]:
        """The sequences, rising. Members of a prototype are among them, prototypes are not: they
        go with their members."""
        clause, values = where(namespace, modality, filter)
        found = self._catalog.select(
            f"SELECT sequence FROM alive WHERE consolidated_by IS NULL {clause} ORDER BY sequence",
            values,
        )
        return [row["sequence"] for row in found]

    def namespace(self, name: str, manner: Manner = PLAIN, steps: Steps | None = None) -> Forgotten:
        """All memories that the namespace has now, and its generations, whatever `descendants`
        says of those of other memories."""
        found = self._catalog.select(
            "SELECT sequence FROM memories WHERE namespace = ? ORDER BY sequence", (name,)
        )
        batches = self._by_sequence([row["sequence"] for row in found])

        def all_of_it(tally: Tally) -> None:
            self._delete_generations_of(tally)
            self._delete_all(tally, batches, steps)
            self._delete_generations_of(tally)  # made meanwhile

        return self._run(self._begun("namespace", manner, name), all_of_it, steps)

    def _delete_generations_of(self, tally: Tally) -> None:
        while ids := self._catalog.select(
            "SELECT id FROM generations WHERE namespace = ? ORDER BY id LIMIT ?",
            (tally.namespace, AT_ONCE),
        ):
            self._delete_generations(tally, [row["id"] for row in ids])

    def generation(self, generation_id: str, manner: Manner = PLAIN) -> Forgotten:
        """The record of a generation and its outputs; raises NotFound."""

        def it(tally: Tally) -> None:
            with self._catalog.write_lock:
                tally.namespace = generations.get(self._catalog, generation_id).namespace
                self._delete_generations(tally, [generation_id])

        return self._run(self._begun("generation", manner), it)

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

    def _by_sequence(
        self, found: Sequence[int], among: str = "memories", clause: str = "", values: Any = ()
    ) -> Batches:
        """Looked up when the batch's turn comes, under the write lock. `clause`: what else must
        hold then, of a batch that was read first: an index would find all that it holds of."""
        for first in range(0, len(found), AT_ONCE):
            part = json.dumps(list(found[first : first + AT_ONCE]))
            yield [
                rows.remnant(row)
                for row in self._catalog.select(
                    "WITH batch AS MATERIALIZED (SELECT m.* FROM json_each(?)"
                    f" CROSS JOIN {among} m ON sequence = value)"
                    f" SELECT * FROM batch WHERE TRUE {clause} ORDER BY sequence",
                    (part, *values),
                )
            ]

    # How it is forgotten.

    def _begun(self, what: str, manner: Manner, namespace: str = "") -> Tally:
        return Tally(what, manner, self._clock.now(), namespace)

    def _forget(
        self,
        what: str,
        manner: Manner,
        batches: Batches,
        namespace: str = "",
        steps: Steps | None = None,
    ) -> Forgotten:
        tally = self._begun(what, manner, namespace)
        return self._run(tally, lambda tally: self._delete_all(tally, batches, steps), steps)

    def _run(
        self, tally: Tally, delete: Callable[[Tally], None], steps: Steps | None = None
    ) -> Forgotten:
        if steps is not None:
            tally.job = steps.job
            self._with_reserve(lambda: self._settle(tally, complete=False))
            steps.begun(tally.receipt(complete=False))
        try:
            delete(tally)
        except BaseException:
            if not tally.nothing:
                self._end(tally, complete=False)
            raise
        if tally.nothing and not tally.manner.keep_receipt:
            return tally.receipt(complete=True)
        if tally.manner.wait:
            marks = tally.marks if tally.more_marks() else None
            tally.clean = self._clearing.all(tally.namespace, marks)
        if tally.manner.probe:
            tally.probe = summed(tally.probes)
        self._end(tally, complete=True)
        self._keep_reserve()
        return tally.receipt(complete=True)

    def _delete_all(self, tally: Tally, batches: Batches, steps: Steps | None = None) -> None:
        while True:
            with self._catalog.write_lock:
                memories = next(batches, None)
                if memories is None:
                    return
                # What a deleted memory has a share in goes with it: its prototype.
                memories = lineage.with_prototypes(self._catalog, memories)
                if memories:
                    self._delete(tally, memories)
            if steps is not None:
                steps.step(tally.removed["memories"])
            if len(memories) >= AT_ONCE:
                sleep(TURN_S)

    def _delete(self, tally: Tally, memories: Sequence[Memory]) -> None:
        tally.namespace = tally.namespace or memories[0].namespace
        # Contents are hashed as long as memories are probed: stores wait meanwhile.
        hashed = tally.more_probes()
        if hashed:
            tally.probes.append(Probe(self._catalog, self._indexes, self._blobs, memories))
        if tally.more_marks():
            tally.marks.update(self._clearing.marks(memories))
        damaged = damage.found(self._catalog, self._blobs, memories, hashed=hashed)
        leaving = self._with_reserve(lambda: self._delete_rows(tally, memories, damaged))
        grouped: dict[tuple[str, str], list[int]] = defaultdict(list)
        for memory in memories:
            grouped[memory.namespace, memory.modality].append(memory.sequence)
        for place, sequences in grouped.items():
            gone = self._indexes.remove(*place, np.array(sequences, np.int64))
            tally.removed["index_entries"] += gone
        self._changed()
        self._leaving.remove(tally, leaving)

    def _delete_rows(
        self, tally: Tally, memories: Sequence[Memory], damaged: Sequence[str]
    ) -> list[str]:
        """Returns the contents that the deleted rows named."""
        ids = [memory.id for memory in memories]
        counted: Counter[str] = Counter(memories=len(memories))
        with self._catalog.transaction("deleting") as connection:
            made = generations.made_from(connection, ids)
            erased = made if tally.manner.descendants == "erase" else []
            leaving = [memory.blob for memory in memories]
            leaving += generations.delete(connection, erased)
            counted["generations"] = len(erased)
            counted["job_entries"] = self._mentions.forget(connection, ids)
            counted.update(deletion.count_rows(connection, memories))
            deletion.delete_memories(connection, memories)
            emptied = [
                episode_id
                for episode_id in dict.fromkeys(memory.episode_id for memory in memories)
                if deletion.delete_episode_if_empty(connection, episode_id)
            ]
            lists = {
                "memory_ids": ids,
                "episode_ids": emptied,
                "contents": leaving,
                "generations_marked": made,
                "generations_erased": erased,
                "damaged": damaged,
            }
            part = tally.part(lists, counted, memories)
            self._note(connection, tally, part, leaving)
        self._deleted(tally, part, erased, memories)
        return leaving

    def _delete_generations(self, tally: Tally, ids: Sequence[str]) -> None:
        def delete() -> list[str]:
            with self._catalog.transaction("deleting generations") as connection:
                leaving = generations.delete(connection, ids)
                lists = {"contents": leaving, "generations_erased": ids}
                part = tally.part(lists, Counter(generations=len(ids)))
                self._note(connection, tally, part, leaving)
            self._deleted(tally, part, ids)
            return leaving

        with self._catalog.write_lock:
            self._leaving.remove(tally, self._with_reserve(delete))

    def _note(
        self,
        connection: sqlite3.Connection,
        tally: Tally,
        part: Part,
        leaving: Sequence[str] = (),
        *,
        complete: bool = False,
    ) -> None:
        """What is to be known after a crash, in the transaction that deletes; and which contents
        of earlier ones are gone."""
        self._leaving.note(connection, leaving, tally.settled)
        if tally.manner.keep_receipt:
            receipts.write(connection, tally, part, complete=complete)

    def _deleted(
        self, tally: Tally, part: Part, erased: Sequence[str], memories: Sequence[Memory] = ()
    ) -> None:
        tally.take(part)
        trail.told(
            namespaces=[each.namespace for each in memories] or [tally.namespace],
            memories=[each.id for each in memories],
            generations=erased,
            receipts=[tally.id] if tally.manner.keep_receipt else (),
        )
        self._clearing.deleted()

    def _with_reserve(self, delete: Callable[[], Any]) -> Any:
        try:
            return delete()
        except StorageFull:
            self._reserve.give_up()
            return delete()

    def _end(self, tally: Tally, *, complete: bool) -> None:
        try:
            self._settle(tally, complete=complete)
        except MemoryServiceError:  # it is deleted all the same, and its receipt says incomplete
            log.exception("the end of forgetting %s could not be recorded", tally.id)

    def _settle(self, tally: Tally, *, complete: bool) -> None:
        """Write how it stands, and take off the notes of files that are gone."""
        with self._catalog.transaction("recording what was forgotten") as connection:
            part = tally.part()
            self._note(connection, tally, part, complete=complete)
        tally.take(part)

    # Afterwards, and at the start.

    def tidy(self) -> None:
        """Remove files that a deletion left, and what the write-ahead log still says of it. Raises
        StorageFailure when that fails; then it is to be called again."""
        with self._catalog.write_lock:
            if leaving := self._leaving.noted():
                tally = self._begun("expired", UNASKED)
                self._leaving.remove(tally, leaving)
                self._settle(tally, complete=True)
        self._clearing.tidy()
        self._keep_reserve()
        self._catalog.look_for_room()

    def _keep_reserve(self) -> None:
        with self._catalog.write_lock:
            self._reserve.keep()

    def start(self) -> None:
        """Work off what a crash left: deletions to their end, and files that no row names, of a
        store that was not finished, or of a catalog that is older than they are, put aside."""
        self._keep_reserve()
        self.tidy()
        self._leaving.sweep()
