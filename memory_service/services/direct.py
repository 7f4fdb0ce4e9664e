"""The direct way to a memory: its vector is near the query's, in a space that both share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import numpy as np

from encoders.base import Modality
from memory_service.records import Hit, Reach, Segment, Vector
from memory_service.services.models import Models, key_of
from memory_service.services.queries import Query, best_for, primed
from memory_service.services.ranking import Found
from memory_service.services.searches import NONE_AHEAD, Ahead
from memory_service.storage import segments
from memory_service.storage.filters import Filter
from memory_service.storage.store import Store
from memory_service.storage.vectors import NOTHING, Allowed, Nearest, SubMemory, VectorIndex

SAME_ITEM = 0.999  # cosine, within the query's modality, from which a memory is the query itself
DEEPER = 8  # times as far, when what was found is hidden or has expired

Ranked = TypeVar("Ranked")
Match = tuple[float, Segment | None]  # cosine, and the segment that it is of; None: the whole


class DirectWay:
    """Of one retrieval, by one thread: what was found once is kept for other modalities."""

    def __init__(
        self,
        store: Store,
        models: Models,
        namespace: str,
        queries: tuple[Query, ...],
        *,
        filter: Filter = (),
        depth: int = 0,
        context: float = 0.0,
        ahead: Ahead = NONE_AHEAD,
    ) -> None:
        """`depth`: how many are looked for. `context`: the share of its trace that the query gets
        in each modality. `ahead`: what searches have found already."""
        self._store = store
        self._models = models
        self.namespace = namespace
        self.filter = filter
        self.depth = depth
        self._queries = queries
        self._context = context
        self._ahead = ahead
        # Each by modality: the query in a space of its, the same with its share of the trace, what
        # the filter allows, and the searches without a restriction, which all follow.
        self._query: dict[str, Query | None] = {}
        self._primed: dict[Modality, Query] = {}
        self._allowed: dict[Modality, Allowed] = {}
        self._found: dict[Modality, list[Found]] = {}

    def query(self, modality: Modality) -> Query | None:
        """The query in a space of the modality, if there is one."""
        if modality not in self._query:
            self._query[modality] = best_for(self._queries, self._models.spaces(modality))
        return self._query[modality]

    def allowed(self, modality: Modality) -> Allowed | None:
        """What the filter leaves of a modality; None for all."""
        if not self.filter:
            return None
        if modality not in self._allowed:
            self._allowed[modality] = self._store.allowed.of(self.namespace, modality, self.filter)
        return self._allowed[modality]

    def index(self, modality: Modality) -> tuple[VectorIndex, Vector] | None:
        """Where to search a modality, and by which vector."""
        query = self._primed_query(modality)
        if query is None:
            return None
        index = self._store.index(SubMemory(self.namespace, modality, *key_of(query.space)))
        return None if index is None else (index, query.vector)

    def _primed_query(self, modality: Modality) -> Query | None:
        """The query to search a modality by: with a share of its trace, if that is asked for."""
        query = self.query(modality)
        if query is None or not self._context:
            return query
        if modality not in self._primed:
            trace = self._store.catalog.trace(self.namespace, modality, key_of(query.space))
            self._primed[modality] = primed(query, trace, self._context)
        return self._primed[modality]

    def ranking(self, modality: Modality) -> list[Found]:
        """Memories near the query, best first."""
        allowed = self.allowed(modality)
        return self.search(modality, allowed, members=allowed is not None)

    def search(
        self, modality: Modality, allowed: Allowed | None, *, members: bool = False
    ) -> list[Found]:
        """Memories of one modality near the query, best first, those just forgotten left out, and
        members of prototypes unless `members` says otherwise."""
        query = self._primed_query(modality)
        if query is None:
            return []
        if allowed is None and modality in self._found:
            return self._found[modality]
        read = partial(self._store.catalog.places, members=members)
        nearest, places = self._nearest_ranked(modality, allowed, read)
        scores = self._scores(nearest, query, modality)
        matches = self._matches(nearest, query)
        found: list[Found] = []
        for (sequence, (cosine, segment)), score in zip(matches.items(), scores, strict=True):
            if sequence in places:
                reach = Reach("direct", len(found) + 1, cosine, segment=segment)
                same = query.modality == modality and cosine >= SAME_ITEM
                found.append(Found(sequence, *places[sequence], score, (reach,), same))
        found = found[: self.depth]
        if allowed is None:
            self._found[modality] = found
        return found

    def hits(self, modality: Modality) -> tuple[Hit, ...]:
        """The ranking by likeness alone, which is not joined, nor put into another order: its best
        are all, and are read whole at once."""
        query = self._primed_query(modality)
        if query is None:
            return ()
        allowed = self.allowed(modality)
        read = partial(self._store.catalog.memories, members=allowed is not None)
        nearest, memories = self._nearest_ranked(modality, allowed, read)
        scores = self._scores(nearest, query, modality)
        hits: list[Hit] = []
        for (sequence, (cosine, segment)), score in zip(
            self._matches(nearest, query).items(), scores, strict=True
        ):
            if (memory := memories.get(sequence)) is not None:
                reach = Reach("direct", len(hits) + 1, cosine, segment=segment)
                hits.append(Hit(memory, score, cosine, (reach,), segment))
        return tuple(hits[: self.depth])

    def matches_of(self, modality: Modality, found: Sequence[Found]) -> dict[int, Match]:
        """The memories' own cosines to the query, by sequence, whichever way led to them; empty
        where spaces differ."""
        known: dict[int, Match] = {
            each.sequence: (each.reached_by[0].cosine, each.reached_by[0].segment)
            for each in found
            if each.reached_by[0].path == "direct"
        }
        lacking = [each.sequence for each in found if each.sequence not in known]
        query = self._primed_query(modality)
        if lacking and query is not None:
            allowed = Allowed(np.array(lacking, np.int64))
            nearest = self._nearest(modality, len(lacking), allowed)
            known.update(self._matches(nearest, query))
        return known

    def _nearest_ranked(
        self,
        modality: Modality,
        allowed: Allowed | None,
        read: Callable[[Sequence[int]], dict[int, Ranked]],
    ) -> tuple[Nearest, dict[int, Ranked]]:
        """The nearest, and what `read` finds of those of them that may be ranked: as many as are
        asked for, if there are."""
        depth = self.depth
        while True:
            nearest = self._nearest(modality, depth, allowed)
            ranked = read(nearest.sequences.tolist())
            if len(ranked) >= self.depth or len(nearest.sequences) < depth:
                return nearest, ranked
            depth *= DEEPER

    def _nearest(self, modality: Modality, depth: int, allowed: Allowed | None) -> Nearest:
        found = self.index(modality)
        if found is None:
            return NOTHING
        index, vector = found
        ahead = self._ahead.of(index, depth) if allowed is None else None
        return index.nearest(vector, depth, allowed) if ahead is None else ahead

    def _scores(self, nearest: Nearest, query: Query, modality: Modality) -> list[float]:
        """1 for what is the query itself."""
        scores = self._models.calibration.score(nearest.cosines, query.modality, modality)
        if query.modality == modality:
            scores = np.where(nearest.cosines >= SAME_ITEM, 1.0, scores)
        found: list[float] = scores.tolist()
        return found

    def _matches(self, nearest: Nearest, query: Query) -> dict[int, Match]:
        """By sequence, best first: the cosine, and the segment of the memory that it is of."""
        sequences, numbers = nearest.sequences.tolist(), nearest.segments.tolist()
        if not any(numbers):
            whole = ((cosine, None) for cosine in nearest.cosines.tolist())
            return dict(zip(sequences, whole, strict=True))
        pairs = list(zip(sequences, numbers, strict=True))
        times = segments.times(self._store.catalog, pairs, key_of(query.space))
        return {
            pair[0]: (cosine, times.get(pair))
            for pair, cosine in zip(pairs, nearest.cosines.tolist(), strict=True)
        }
