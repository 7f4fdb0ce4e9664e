"""Recall by any modality into any modality. Knows no HTTP.

Two ways lead to a memory. *Direct*: its vector is near the query's, in a space that both share.
*Associative*: another memory of its episode is. `auto` takes both and joins the two rankings.

Where a prototype stands for its members, it is found in their place, and leads to the episodes of
all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from encoders.base import Modality
from memory_service.records import (
    NEAREST,
    Hit,
    QueryPart,
    Reach,
    Retrieval,
    RetrievalMode,
    Segment,
    Vector,
    Weights,
)
from memory_service.services import checks
from memory_service.services.active import ActiveModels, Service, steady
from memory_service.services.models import Models, key_of, require_same_space
from memory_service.services.queries import Query, best_for, encode_parts, primed
from memory_service.services.ranking import Found, by_score, joined, keep_better
from memory_service.services.recalls import Recalls
from memory_service.services.searches import NONE_AHEAD, Ahead, Search
from memory_service.services.timing import Stopwatch
from memory_service.settings import Settings
from memory_service.storage import filters, lineage, segments
from memory_service.storage.allowed import NOBODY
from memory_service.storage.filters import Filter
from memory_service.storage.store import Store
from memory_service.storage.vectors import NOTHING, Allowed, Nearest, SubMemory, VectorIndex

SAME_ITEM = 0.999  # cosine, within the query's modality, from which a memory is the query itself
MIN_DEPTH = 64  # how far each ranking goes at least before they are joined
DEEPER = 8  # times as far, when what was found is hidden or has expired

Ranked = TypeVar("Ranked")
_Match = tuple[float, Segment | None]  # cosine, and the segment that it is of; None: the whole


@dataclass(frozen=True)
class _Request:
    """What holds for all modalities of one retrieval."""

    namespace: str
    queries: tuple[Query, ...]
    filter: Filter = ()
    depth: int = 0
    weights: Weights = NEAREST
    # By modality, the query in a space of its.
    found: dict[str, Query | None] = field(default_factory=dict)
    # Searches without a restriction: each modality asked for follows the same ones.
    searched: dict[Modality, list[Found]] = field(default_factory=dict)
    branched: dict[Modality, list[Found]] = field(default_factory=dict)
    # By modality, the query with its share of the trace, where that is asked for.
    primed: dict[Modality, Query] = field(default_factory=dict)
    # By modality, what the filter allows.
    allowed: dict[Modality, Allowed] = field(default_factory=dict)
    ahead: Ahead = NONE_AHEAD

    def query_for(self, models: Models, modality: str) -> Query | None:
        """The query vector in a space of the modality, if there is one."""
        if modality not in self.found:
            self.found[modality] = best_for(self.queries, models.spaces(modality))
        return self.found[modality]


class Retriever(Service):
    """Safe for use from several threads."""

    def __init__(
        self, store: Store, active: ActiveModels, recalls: Recalls, settings: Settings
    ) -> None:
        self._store = store
        self._active = active
        self._recalls = recalls
        self._settings = settings

    @steady
    def retrieve(
        self,
        parts: Sequence[QueryPart],
        *,
        namespace: str = "default",
        modalities: Sequence[str] | None = None,
        mode: RetrievalMode = "auto",
        k: int = 10,
        filter: Mapping[str, Any] | Filter | None = None,
        weights: Weights = NEAREST,
        reinforce: bool = True,
        ahead: Ahead = NONE_AHEAD,
    ) -> Retrieval:
        """The best `k` memories of each modality asked for (all by default).

        `filter` maps metadata fields to a value, or to a list of which one must hold. `weights`
        say what else than likeness the ranking goes by. With `reinforce`, the hits grow stronger.
        `ahead`: what `begins_with` was found to be.
        Raises InvalidInput, InvalidVector, UnsupportedMedia, InvalidMedia, TooLarge,
        ModalityUnavailable, SpaceMismatch or StorageFailure. An empty memory gives no hits.
        """
        watch = Stopwatch({"search": ahead.seconds * 1e3}, ahead.seconds)
        # Before the query is encoded: what is wrong with the request shows at once.
        checks.namespace(namespace)
        checks.modalities(modalities, self._models.encoders)
        with watch.stage("encode"):
            queries = encode_parts(parts, self._models, self._settings)
        found = self.recall(
            queries,
            namespace=namespace,
            modalities=modalities,
            mode=mode,
            k=k,
            filter=filter,
            weights=weights,
            watch=watch,
            ahead=ahead,
        )
        if reinforce:
            hits = (hit for ranked in found.hits.values() for hit in ranked)
            self._recalls.note(namespace, (hit.memory.sequence for hit in hits))
        return found

    @steady
    def begins_with(
        self,
        parts: Sequence[QueryPart],
        *,
        namespace: str,
        modalities: Sequence[str] | None,
        k: int,
    ) -> list[Search]:
        """The searches that `retrieve` begins with, by likeness alone and without a filter. Raises
        as `retrieve`."""
        request = _Request(
            checks.namespace(namespace), encode_parts(parts, self._models, self._settings)
        )
        searches = []
        for modality in checks.modalities(modalities, self._models.encoders):
            found = self._index(request, modality)
            if found is not None:
                searches.append(Search(*found, checks.count("k", k, self._settings.max_k)))
        return searches

    @staticmethod
    def understood(filter: Mapping[str, Any] | None) -> Filter:
        """A filter as `at_hand` and `retrieve` take it. Raises InvalidInput."""
        return filters.parse(filter)

    def at_hand(self, namespace: str, modalities: Sequence[str] | None, filter: Filter) -> bool:
        """Whether it is known what the filter allows. Raises InvalidInput."""
        asked = checks.modalities(modalities, self._models.encoders)
        return all(self._store.allowed.at_hand(namespace, each, filter) for each in asked)

    @steady
    def recall(
        self,
        queries: tuple[Query, ...],
        *,
        namespace: str,
        modalities: Sequence[str] | None,
        mode: RetrievalMode,
        k: int,
        filter: Mapping[str, Any] | Filter | None,
        weights: Weights,
        watch: Stopwatch,
        ahead: Ahead = NONE_AHEAD,
    ) -> Retrieval:
        """`retrieve`, of a query that is encoded already; reinforces nothing."""
        checks.namespace(namespace)
        checks.one_of("mode", mode, checks.MODES)
        asked = checks.modalities(modalities, self._models.encoders)
        k = checks.count("k", k, self._settings.max_k)
        weights = checks.weights(weights)
        for modality in asked if mode == "direct" else self._models.encoders:
            require_same_space(modality, self._models, self._store)
        alone = mode == "direct" and not (weights.recency or weights.strength)
        depth = k if alone else max(4 * k, MIN_DEPTH)
        request = _Request(namespace, queries, filters.parse(filter), depth, weights, ahead=ahead)
        with watch.stage("search"):
            hits: dict[str, tuple[Hit, ...]] = {
                modality: self._nearest_alone(request, modality)
                if alone
                else self._hits(request, modality, mode, k)
                for modality in asked
            }
            familiarity = self._familiarity(request, asked)
        compared = {modality: request.query_for(self._models, modality) for modality in asked}
        return Retrieval(
            hits,
            familiarity,
            queries[0].vector,
            watch.timings_ms(),
            {name: None if query is None else query.space.id for name, query in compared.items()},
        )

    def _hits(
        self, request: _Request, modality: Modality, mode: RetrievalMode, k: int
    ) -> tuple[Hit, ...]:
        direct = [] if mode == "associative" else self._direct(request, modality)
        associative = [] if mode == "direct" else self._associative(request, modality, k)
        direct, associative = (self._weighted(request, each) for each in (direct, associative))
        if direct and associative:
            found = joined(direct, associative, self._sizes(direct))[:k]
        else:
            found = (direct or associative)[:k]
        memories = self._store.catalog.memories(each.sequence for each in found)
        own = self._own_matches(request, modality, found)
        return tuple(
            Hit(memories[each.sequence], each.score, cosine, each.reached_by, segment)
            for each in found
            for cosine, segment in [own.get(each.sequence, (None, None))]
            if each.sequence in memories  # not forgotten in the meantime
        )

    def _nearest_alone(self, request: _Request, modality: Modality) -> tuple[Hit, ...]:
        """One ranking by likeness alone, which is not joined, nor put into another order: its best
        are all, and are read whole at once."""
        query = self._query(request, modality)
        if query is None:
            return ()
        allowed = self._allowed(request, modality)
        read = partial(self._store.catalog.memories, members=allowed is not None)
        nearest, memories = self._nearest_ranked(request, modality, allowed, read)
        scores = self._scores(nearest, query, modality)
        hits: list[Hit] = []
        for (sequence, (cosine, segment)), score in zip(
            self._matches(nearest, query).items(), scores, strict=True
        ):
            if (memory := memories.get(sequence)) is not None:
                reach = Reach("direct", len(hits) + 1, cosine, segment=segment)
                hits.append(Hit(memory, score, cosine, (reach,), segment))
        return tuple(hits[: request.depth])

    def _direct(self, request: _Request, modality: Modality) -> list[Found]:
        """Memories near the query, best first."""
        allowed = self._allowed(request, modality)
        return self._search(request, modality, allowed, members=allowed is not None)

    def _weighted(self, request: _Request, found: list[Found]) -> list[Found]:
        """One way's ranking, by scores that recency and strength have their share in."""
        weights = request.weights
        if not (found and (weights.recency or weights.strength)):
            return found
        scores = self._recalls.weighted(
            request.namespace, {each.sequence: each.score for each in found}, weights
        )
        ranking = sorted(
            (
                replace(each, score=scores[each.sequence])
                for each in found
                if each.sequence in scores
            ),
            key=by_score,
        )
        return [
            replace(each, reached_by=(replace(each.reached_by[0], rank=rank),))
            for rank, each in enumerate(ranking, start=1)
        ]

    def _query(self, request: _Request, modality: Modality) -> Query | None:
        """The query to search a modality by: with a share of its trace, if that is asked for."""
        query = request.query_for(self._models, modality)
        if query is None or not request.weights.context:
            return query
        if modality not in request.primed:
            key = key_of(query.space)
            trace = self._store.catalog.trace(request.namespace, modality, key)
            request.primed[modality] = primed(query, trace, request.weights.context)
        return request.primed[modality]

    def _allowed(self, request: _Request, modality: Modality) -> Allowed | None:
        """What the filter leaves of a modality; None for all."""
        if not request.filter:
            return None
        if modality not in request.allowed:
            request.allowed[modality] = self._store.allowed.of(
                request.namespace, modality, request.filter
            )
        return request.allowed[modality]

    def _search(
        self,
        request: _Request,
        modality: Modality,
        allowed: Allowed | None,
        *,
        members: bool = False,
    ) -> list[Found]:
        """Memories of one modality near the query, best first, those just forgotten left out, and
        members of prototypes unless `members` says otherwise."""
        query = self._query(request, modality)
        if query is None:
            return []
        if allowed is None and modality in request.searched:
            return request.searched[modality]
        read = partial(self._store.catalog.places, members=members)
        nearest, places = self._nearest_ranked(request, modality, allowed, read)
        scores = self._scores(nearest, query, modality)
        matches = self._matches(nearest, query)
        found: list[Found] = []
        for (sequence, (cosine, segment)), score in zip(matches.items(), scores, strict=True):
            if sequence in places:
                reach = Reach("direct", len(found) + 1, cosine, segment=segment)
                same = query.modality == modality and cosine >= SAME_ITEM
                found.append(Found(sequence, *places[sequence], score, (reach,), same))
        found = found[: request.depth]
        if allowed is None:
            request.searched[modality] = found
        return found

    def _nearest_ranked(
        self,
        request: _Request,
        modality: Modality,
        allowed: Allowed | None,
        read: Callable[[Sequence[int]], dict[int, Ranked]],
    ) -> tuple[Nearest, dict[int, Ranked]]:
        """The nearest, and what `read` finds of those of them that may be ranked: as many as are
        asked for, if there are."""
        depth = request.depth
        while True:
            nearest = self._nearest(request, modality, depth, allowed)
            ranked = read(nearest.sequences.tolist())
            if len(ranked) >= request.depth or len(nearest.sequences) < depth:
                return nearest, ranked
            depth *= DEEPER

    def _scores(self, nearest: Nearest, query: Query, modality: Modality) -> list[float]:
        """1 for what is the query itself."""
        scores = self._models.calibration.score(nearest.cosines, query.modality, modality)
        if query.modality == modality:
            scores = np.where(nearest.cosines >= SAME_ITEM, 1.0, scores)
        found: list[float] = scores.tolist()
        return found

    def _nearest(
        self, request: _Request, modality: Modality, depth: int, allowed: Allowed | None
    ) -> Nearest:
        found = self._index(request, modality)
        if found is None:
            return NOTHING
        index, vector = found
        ahead = request.ahead.of(index, depth) if allowed is None else None
        return index.nearest(vector, depth, allowed) if ahead is None else ahead

    def _index(self, request: _Request, modality: Modality) -> tuple[VectorIndex, Vector] | None:
        """Where to search a modality, and by which vector."""
        query = self._query(request, modality)
        if query is None:
            return None
        index = self._store.index(SubMemory(request.namespace, modality, *key_of(query.space)))
        return None if index is None else (index, query.vector)

    def _matches(self, nearest: Nearest, query: Query) -> dict[int, _Match]:
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

    def _associative(self, request: _Request, modality: Modality, k: int) -> list[Found]:
        """Memories whose episode holds another one near the query, best first.

        Such a memory has the score of the one that matched. First the nearest memories of every
        reachable modality are followed to their episodes; where that gives too few, only memories
        that have a mate among the targets are searched, which is exact.
        """
        space = key_of(self._models.space(modality))
        index = self._store.index(SubMemory(request.namespace, modality, *space))
        if index is None or not len(index):
            return []
        targets = self._allowed(request, modality)
        found = self._follow(request, modality, targets)
        if len(found) < min(k, len(index if targets is None else targets)):
            mates = self._store.allowed.mates(request.namespace, modality, request.filter)
            found = self._follow(request, modality, targets, mates)
        return [
            replace(each, reached_by=(replace(each.reached_by[0], rank=rank),))
            for rank, each in enumerate(found[: request.depth], start=1)
        ]

    def _follow(
        self,
        request: _Request,
        modality: Modality,
        targets: Allowed | None,
        mates: Mapping[str, Allowed] | None = None,
    ) -> list[Found]:
        """From matches to other memories of their episodes; ranks are not yet set.

        With `targets`, only to these; with `mates`, only from these, which are mates of a target.
        """
        catalog = self._store.catalog
        best: dict[int, Found] = {}
        for route in self._models.encoders:
            allowed = None if mates is None else mates.get(route, NOBODY)
            if allowed is not None and not len(allowed):
                continue
            matches = self._branched(request, route, allowed)
            members = catalog.members_of((match.episode_id for match in matches), modality)
            for match in matches:
                for sequence, memory_id in members.get(match.episode_id, ()):
                    if targets is None or sequence in targets:
                        keep_better(best, sequence, memory_id, match, route)
        if targets is None:  # the filter's targets are all to be ranked
            ranked = catalog.places(list(best))
            best = {sequence: each for sequence, each in best.items() if sequence in ranked}
        return sorted(best.values(), key=by_score)

    def _branched(
        self, request: _Request, modality: Modality, allowed: Allowed | None
    ) -> list[Found]:
        """What is near the query, a prototype once for each episode of its members: it leads to
        all of them."""
        if allowed is None and modality in request.branched:
            return request.branched[modality]
        matches = self._search(request, modality, allowed)
        stands_for = lineage.members(self._store.catalog, [each.sequence for each in matches])
        branched = []
        for match in matches:
            members = stands_for.get(match.sequence)
            if members is None:
                branched.append(match)
                continue
            own = frozenset(sequence for sequence, _, _ in members)
            for episode in dict.fromkeys(episode for _, _, episode in members):
                branched.append(replace(match, episode_id=episode, members=own))
        if allowed is None:
            request.branched[modality] = branched
        return branched

    def _sizes(self, found: Sequence[Found]) -> Mapping[str, int]:
        """How many memories the episodes have."""
        return self._store.catalog.episode_sizes(each.episode_id for each in found)

    def _own_matches(
        self, request: _Request, modality: Modality, found: Sequence[Found]
    ) -> dict[int, _Match]:
        """The memories' own cosines to the query, by sequence; empty where spaces differ."""
        known: dict[int, _Match] = {
            each.sequence: (each.reached_by[0].cosine, each.reached_by[0].segment)
            for each in found
            if each.reached_by[0].path == "direct"
        }
        lacking = [each.sequence for each in found if each.sequence not in known]
        query = self._query(request, modality)
        if lacking and query is not None:
            allowed = Allowed(np.array(lacking, np.int64))
            nearest = self._nearest(request, modality, len(lacking), allowed)
            known.update(self._matches(nearest, query))
        return known

    def _familiarity(self, request: _Request, asked: Sequence[Modality]) -> dict[str, float]:
        """cos(query, trace) by modality; 0 for an empty sub-memory, left out without a query."""
        found: dict[str, float] = {}
        for modality in asked:
            query = request.query_for(self._models, modality)
            if query is None:
                continue
            trace = self._store.catalog.trace(request.namespace, modality, key_of(query.space))
            if trace is None or not (length := math.sqrt(trace @ trace)):
                found[modality] = 0.0
            else:
                found[modality] = float(query.vector @ trace) / length
        return found
