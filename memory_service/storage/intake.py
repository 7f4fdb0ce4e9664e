"""How new episodes come into the store: bytes, then rows, then index; many at one fsync.

Large contents are on the disk before the transaction that names them, small ones are part of it,
and the index follows once it is durable. A crash in between leaves at most a file that no row
names, which is put aside at the next start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from pydantic_core import to_json

from memory_service.errors import (
    KeyReused,
    NotFound,
    StorageFailure,
    StorageFull,
    TooManyNamespaces,
)
from memory_service.observing import tell
from memory_service.records import Claim, Episode, Memory
from memory_service.storage import idempotency, insertion, rows
from memory_service.storage.catalog import Catalog
from memory_service.storage.commits import GroupCommit
from memory_service.storage.contents import Contents, Incoming
from memory_service.storage.database import STORING
from memory_service.storage.insertion import EpisodeRow
from memory_service.storage.spaces import Embedding, SpaceKey
from memory_service.storage.vectors import SubMemory, VectorIndexes, stacked


@dataclass(frozen=True)
class NewMemory:
    """What belongs to a memory that is to be stored: its bytes and its vectors."""

    content: bytes
    embeddings: tuple[Embedding, ...]


@dataclass(frozen=True)
class NewEpisode:
    """`record` has the memories without sequence and blob. With `skip_duplicate`, an episode of the
    same contents, if there is one in the namespace, is answered in its place."""

    record: Episode
    memories: Sequence[NewMemory]  # of each in the record
    skip_duplicate: bool = False
    claim: Claim | None = None  # written along; where it was before, nothing else is


@dataclass(frozen=True)
class Added:
    episode: Episode  # as stored
    duplicate: bool = False  # it was there already
    replayed: bool = False  # for a request with this claim


Outcome = Added | Exception
_Embedded = tuple[Memory, Embedding]


@dataclass(frozen=True)
class _Fresh:
    """An answer that is there once the episode of this number is written."""

    number: int
    duplicate: bool = False  # of one that came before it in the same group
    replayed: bool = False


@dataclass(frozen=True)
class _Arrival:
    new: NewEpisode
    incoming: Sequence[Incoming]  # one content per memory
    contents: str  # hash of them all

    @property
    def place(self) -> tuple[str, str]:
        return self.new.record.namespace, self.contents

    @property
    def size_bytes(self) -> int:
        """Of contents, metadata and vectors."""
        new = self.new
        size = sum(len(to_json(each.metadata)) for each in new.record.memories if each.metadata)
        for memory in new.memories:
            size += len(memory.content) + sum(each.vector.nbytes for each in memory.embeddings)
        return size

    @property
    def largest(self) -> str:
        """The digest of the largest content, which hardly any other episode has."""
        sizes = [len(memory.content) for memory in self.new.memories]
        return self.incoming[sizes.index(max(sizes))].digest


@dataclass
class _Plan:
    """What is to be written for a group, and answered to each of it."""

    fresh: list[_Arrival] = field(default_factory=list)
    answers: list[Outcome | _Fresh] = field(default_factory=list)
    first: dict[tuple[str, str], int] = field(default_factory=dict)  # number by place
    claims: dict[tuple[str, str], tuple[Claim, Added | _Fresh]] = field(default_factory=dict)
    namespaces: set[str] = field(default_factory=set)  # that are new

    def claimed(self, claim: Claim) -> Added | _Fresh | None:
        """The answer of an earlier one of the group with this claim. Raises KeyReused."""
        found = self.claims.get((claim.namespace, claim.key))
        if found is None:
            return None
        idempotency.require_same(claim, found[0].request)
        return replace(found[1], replayed=True)


class Intake:
    """Safe for use from several threads. Not to be called by who holds the write lock."""

    def __init__(
        self,
        catalog: Catalog,
        contents: Contents,
        indexes: VectorIndexes,
        searched: Callable[[str, SpaceKey], None],
        most_namespaces: float,
    ) -> None:
        """`searched` is told the modality and the space of what is in the index now."""
        self._most_namespaces = most_namespaces
        self._catalog = catalog
        self._contents = contents
        self._indexes = indexes
        self._searched = searched
        self._commits = GroupCommit(catalog.write_lock, self._commit)

    def add(self, episodes: Sequence[NewEpisode]) -> list[Outcome]:
        """Store durably, each wholly or not at all; of each what became of it, or why nothing.

        What is stored when this returns, is found by every search that begins afterwards.
        """
        outcomes: list[Outcome | None] = []
        arrivals: list[_Arrival] = []
        try:
            for each in episodes:
                try:
                    arrivals.append(self._stage(each))
                    outcomes.append(None)
                except (StorageFull, StorageFailure) as error:
                    outcomes.append(error)
            done = iter(self._commits.do(arrivals) if arrivals else ())
            return [next(done) if each is None else each for each in outcomes]
        finally:
            for arrival in arrivals:
                self._contents.drop(arrival.incoming)

    def _stage(self, new: NewEpisode) -> _Arrival:
        incoming = self._contents.take(memory.content for memory in new.memories)
        return _Arrival(new, incoming, rows.contents_hash(each.digest for each in incoming))

    def _commit(self, arrivals: Sequence[_Arrival]) -> list[Outcome]:
        """In one transaction; where that fails, each in its own, so that others do not suffer."""
        count, size = len(arrivals), sum(each.size_bytes for each in arrivals)
        tell(self._catalog.observers, lambda observer: observer.grouped(count, size))
        plan = _Plan()
        for each in arrivals:
            self._plan(each, plan)
        try:
            stored, embedded = self._write(plan)
        except Exception as error:
            if len(arrivals) > 1:
                return [outcome for each in arrivals for outcome in self._commit([each])]
            self._contents.take_back(arrivals[0].incoming)
            return [error]
        self._index(embedded)
        return [
            Added(stored[each.number], each.duplicate, each.replayed)
            if isinstance(each, _Fresh)
            else each
            for each in plan.answers
        ]

    def _plan(self, arrival: _Arrival, plan: _Plan) -> None:
        new, number = arrival.new, len(plan.fresh)
        if new.claim is not None:
            try:
                answer = plan.claimed(new.claim) or self.replay(new.claim)
            except (KeyReused, NotFound) as error:
                plan.answers.append(error)
                return
            if answer is not None:
                plan.answers.append(answer)
                return
        there: Added | _Fresh | None = None
        if new.skip_duplicate:
            if arrival.place in plan.first:
                there = _Fresh(plan.first[arrival.place], duplicate=True)
            elif found := self._catalog.episode_with(*arrival.place, arrival.largest):
                there = Added(found, duplicate=True)
        if there is None:
            try:
                self._require_place(new.record.namespace, plan)
            except TooManyNamespaces as error:
                plan.answers.append(error)
                return
            plan.first.setdefault(arrival.place, number)
            plan.fresh.append(arrival)
        own = there or _Fresh(number)
        plan.answers.append(own)
        if new.claim is not None:
            plan.claims[new.claim.namespace, new.claim.key] = new.claim, own

    def _require_place(self, name: str, plan: _Plan) -> None:
        """Raises TooManyNamespaces when it would be one too many: each has indexes in memory."""
        if name in self._indexes.namespaces or name in plan.namespaces:
            return
        if self._full(plan):
            self._indexes.drop_empty()  # of namespaces that were forgotten
        if self._full(plan):
            raise TooManyNamespaces(
                f"there are {len(self._indexes.namespaces)} namespaces, and none may be added: "
                f"forget one, or keep {name[:80]!r} apart by metadata and filters",
                found=len(self._indexes.namespaces),
                accepted=self._most_namespaces,
            )
        plan.namespaces.add(name)

    def _full(self, plan: _Plan) -> bool:
        return len(self._indexes.namespaces | plan.namespaces) >= self._most_namespaces

    def replay(self, claim: Claim) -> Added | None:
        """What was answered for a request with this claim; None when there was none.

        Raises KeyReused, or NotFound when what was stored has been forgotten since.
        """
        found = idempotency.find(self._catalog, claim)
        if found is None:
            return None
        try:
            episode = self._catalog.episode(found.result)
        except NotFound as error:
            raise NotFound(
                f"what was stored with the idempotency key {claim.key[:80]!r} is forgotten",
                kind="episode",
                id=found.result,
            ) from error
        return Added(episode, found.duplicate, replayed=True)

    def _write(self, plan: _Plan) -> tuple[list[Episode], list[_Embedded]]:
        """What is stored now, and its vectors."""
        if not plan.fresh and not plan.claims:
            return [], []
        fresh = plan.fresh
        incoming = [one for each in fresh for one in each.incoming]
        self._contents.publish(incoming)
        named = [
            EpisodeRow(each.new.record, [one.digest for one in each.incoming], each.contents)
            for each in fresh
        ]
        with self._catalog.transaction(STORING) as connection:
            self._contents.insert(connection, incoming)
            stored = insertion.insert_episodes(connection, named)
            embedded = _embedded(stored, fresh)
            insertion.insert_vectors(connection, embedded)
            for claim, answer in plan.claims.values():
                episode = answer.episode if isinstance(answer, Added) else stored[answer.number]
                idempotency.insert(connection, claim, episode.id, answer.duplicate)
        return stored, embedded

    def _index(self, embedded: Sequence[_Embedded]) -> None:
        groups: dict[tuple[str, str, SpaceKey], list[_Embedded]] = {}
        for each in embedded:
            memory, embedding = each
            key = (memory.namespace, memory.modality, embedding.space)
            groups.setdefault(key, []).append(each)
        for (namespace, modality, space), own in groups.items():
            self._indexes.add(
                SubMemory(namespace, modality, *space),
                np.array([memory.sequence for memory, _ in own], np.int64),
                stacked([embedding.vector for _, embedding in own]),
                np.array([embedding.segment for _, embedding in own], np.int64),
            )
            self._searched(modality, space)


def _embedded(stored: Sequence[Episode], fresh: Sequence[_Arrival]) -> list[_Embedded]:
    """Each memory, as stored, with each of its vectors."""
    return [
        (memory, embedding)
        for episode, arrival in zip(stored, fresh, strict=True)
        for memory, new in zip(episode.memories, arrival.new.memories, strict=True)
        for embedding in new.embeddings
    ]
