"""How new episodes come into the store: bytes, then rows, then index; many at one fsync.

Large contents are on the disk before the transaction that names them, small ones are part of it,
and the index follows once it is durable. A crash in between leaves at most a file that no row
names, which is put aside at the next start.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np

from memory_service.errors import StorageFailure, StorageFull
from memory_service.records import Episode, Memory
from memory_service.storage import insertion, rows
from memory_service.storage.catalog import Catalog, Embedding, SpaceKey
from memory_service.storage.commits import GroupCommit
from memory_service.storage.contents import Contents, Incoming
from memory_service.storage.vectors import SubMemory, VectorIndexes


@dataclass(frozen=True)
class NewMemory:
    """A memory to be stored: `record` without sequence and blob, its bytes and its vectors."""

    record: Memory
    content: bytes
    embeddings: tuple[Embedding, ...]


@dataclass(frozen=True)
class NewEpisode:
    """`record` without memories. With `skip_duplicate`, an episode of the same contents, if there
    is one in the namespace, is answered in its place."""

    record: Episode
    memories: tuple[NewMemory, ...]
    skip_duplicate: bool = False


@dataclass(frozen=True)
class Added:
    episode: Episode  # as stored
    duplicate: bool = False  # it was there already


Outcome = Added | Exception


@dataclass(frozen=True)
class _Arrival:
    new: NewEpisode
    incoming: Sequence[Incoming]  # one content per memory
    contents: str  # hash of them all

    @property
    def place(self) -> tuple[str, str]:
        return self.new.record.namespace, self.contents


class Intake:
    """Safe for use from several threads. Not to be called by who holds the write lock."""

    def __init__(
        self,
        catalog: Catalog,
        contents: Contents,
        indexes: VectorIndexes,
        searched: Callable[[str, SpaceKey], None],
    ) -> None:
        """`searched` is told the modality and the space of what is in the index now."""
        self._catalog = catalog
        self._contents = contents
        self._indexes = indexes
        self._searched = searched
        self._commits = GroupCommit(catalog.write_lock, self._commit)

    def add(self, episodes: Sequence[NewEpisode]) -> list[Outcome]:
        """Store durably, each wholly or not at all; of each what became of it, or why nothing.

        What is stored when this returns, is found by every search that begins afterwards.
        """
        with ExitStack() as staged:
            outcomes: list[Outcome | None] = []
            arrivals = []
            for each in episodes:
                try:
                    arrivals.append(self._stage(each, staged))
                    outcomes.append(None)
                except (StorageFull, StorageFailure) as error:
                    outcomes.append(error)
            done = iter(self._commits.do(arrivals) if arrivals else ())
            return [next(done) if each is None else each for each in outcomes]

    def _stage(self, new: NewEpisode, staged: ExitStack) -> _Arrival:
        incoming = staged.enter_context(
            self._contents.stage([memory.content for memory in new.memories])
        )
        return _Arrival(new, incoming, rows.contents_hash(each.digest for each in incoming))

    def _commit(self, arrivals: Sequence[_Arrival]) -> list[Outcome]:
        """In one transaction; where that fails, each in its own, so that others do not suffer."""
        fresh, plan = self._plan(arrivals)
        try:
            stored = self._write(fresh)
        except Exception as error:
            if len(arrivals) > 1:
                return [outcome for each in arrivals for outcome in self._commit([each])]
            self._contents.take_back(arrivals[0].incoming)
            return [error]
        self._index(stored, fresh)
        return [
            each if isinstance(each, Added) else Added(stored[each[0]], duplicate=each[1])
            for each in plan
        ]

    def _plan(
        self, arrivals: Sequence[_Arrival]
    ) -> tuple[list[_Arrival], list[Added | tuple[int, bool]]]:
        """Those to be written, and for each arrival the answer: what is there already, or the
        number among those to be written, and whether another one caused that."""
        fresh: list[_Arrival] = []
        plan: list[Added | tuple[int, bool]] = []
        first: dict[tuple[str, str], int] = {}
        for each in arrivals:
            if each.new.skip_duplicate:
                if each.place in first:
                    plan.append((first[each.place], True))
                    continue
                if found := self._catalog.episode_with(*each.place):
                    plan.append(Added(found, duplicate=True))
                    continue
            first.setdefault(each.place, len(fresh))
            plan.append((len(fresh), False))
            fresh.append(each)
        return fresh, plan

    def _write(self, fresh: Sequence[_Arrival]) -> list[Episode]:
        if not fresh:
            return []
        incoming = [one for each in fresh for one in each.incoming]
        self._contents.publish(incoming)
        named = []
        for each in fresh:
            pairs = zip(each.new.memories, each.incoming, strict=True)
            memories = tuple(replace(new.record, blob=one.digest) for new, one in pairs)
            named.append((replace(each.new.record, memories=memories), each.contents))
        with self._catalog.transaction("storing the episode") as connection:
            self._contents.insert(connection, incoming)
            stored = insertion.insert_episodes(connection, named)
            insertion.insert_vectors(connection, list(_embedded(stored, fresh)))
        return stored

    def _index(self, stored: Sequence[Episode], fresh: Sequence[_Arrival]) -> None:
        groups: dict[SubMemory, list[tuple[int, Embedding]]] = defaultdict(list)
        for memory, embedding in _embedded(stored, fresh):
            key = SubMemory(memory.namespace, memory.modality, *embedding.space)
            groups[key].append((memory.sequence, embedding))
        for key, own in groups.items():
            self._indexes.add(
                key,
                np.array([sequence for sequence, _ in own], np.int64),
                np.stack([embedding.vector for _, embedding in own]),
                np.array([embedding.segment for _, embedding in own], np.int64),
            )
            self._searched(key.modality, (key.space_id, key.fingerprint))


def _embedded(
    stored: Sequence[Episode], fresh: Sequence[_Arrival]
) -> Iterator[tuple[Memory, Embedding]]:
    """Each memory, as stored, with each of its vectors."""
    for episode, arrival in zip(stored, fresh, strict=True):
        for memory, new in zip(episode.memories, arrival.new.memories, strict=True):
            for embedding in new.embeddings:
                yield memory, embedding
