"""Recall by any modality into any modality. Knows no HTTP.

Two ways lead to a memory. *Direct*: its vector is near the query's, in a space that both share.
*Associative*: another memory of its episode is. `auto` takes both and joins the two rankings.
Where a prototype stands for its members, it is found in their place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from encoders.base import Modality
from memory_service.records import NEAREST, Hit, QueryPart, Retrieval, RetrievalMode, Weights
from memory_service.services import checks
from memory_service.services.active import ActiveModels, Service, steady
from memory_service.services.associative import AssociativeWay
from memory_service.services.direct import DirectWay
from memory_service.services.models import key_of, require_same_space
from memory_service.services.queries import Query, encode_parts
from memory_service.services.ranking import Found, by_score, joined
from memory_service.services.recalls import Recalls
from memory_service.services.searches import NONE_AHEAD, Ahead, Search
from memory_service.services.timing import Stopwatch
from memory_service.settings import Settings
from memory_service.storage import filters
from memory_service.storage.filters import Filter
from memory_service.storage.store import Store

MIN_DEPTH = 64  # how far each ranking goes at least before they are joined


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
        checks.namespace(namespace)
        queries = encode_parts(parts, self._models, self._settings)
        direct = DirectWay(self._store, self._models, namespace, queries)
        searches = []
        for modality in checks.modalities(modalities, self._models.encoders):
            found = direct.index(modality)
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
        direct = DirectWay(
            self._store,
            self._models,
            namespace,
            queries,
            filter=filters.parse(filter),
            depth=depth,
            context=weights.context,
            ahead=ahead,
        )
        associative = AssociativeWay(self._store, self._models, direct)
        with watch.stage("search"):
            hits: dict[str, tuple[Hit, ...]] = {
                modality: direct.hits(modality)
                if alone
                else self._hits(direct, associative, modality, mode, k, weights)
                for modality in asked
            }
            familiarity = self._familiarity(direct, asked)
        compared = {modality: direct.query(modality) for modality in asked}
        return Retrieval(
            hits,
            familiarity,
            queries[0].vector,
            watch.timings_ms(),
            {name: None if query is None else query.space.id for name, query in compared.items()},
        )

    def _hits(
        self,
        direct: DirectWay,
        associative: AssociativeWay,
        modality: Modality,
        mode: RetrievalMode,
        k: int,
        weights: Weights,
    ) -> tuple[Hit, ...]:
        """Of one modality, by one way or by both."""
        near = [] if mode == "associative" else direct.ranking(modality)
        met = [] if mode == "direct" else associative.ranking(modality, k)
        near, met = (self._weighted(direct.namespace, each, weights) for each in (near, met))
        found = (joined(near, met, self._sizes(near)) if near and met else near or met)[:k]
        memories = self._store.catalog.memories(each.sequence for each in found)
        own = direct.matches_of(modality, found)
        return tuple(
            Hit(memories[each.sequence], each.score, cosine, each.reached_by, segment)
            for each in found
            for cosine, segment in [own.get(each.sequence, (None, None))]
            if each.sequence in memories  # not forgotten in the meantime
        )

    def _sizes(self, found: Sequence[Found]) -> Mapping[str, int]:
        """How many memories the episodes have."""
        return self._store.catalog.episode_sizes(each.episode_id for each in found)

    def _weighted(self, namespace: str, found: list[Found], weights: Weights) -> list[Found]:
        """One way's ranking, by scores that recency and strength have their share in."""
        if not (found and (weights.recency or weights.strength)):
            return found
        scores = self._recalls.weighted(
            namespace, {each.sequence: each.score for each in found}, weights
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

    def _familiarity(self, direct: DirectWay, asked: Sequence[Modality]) -> dict[str, float]:
        """cos(query, trace) by modality; 0 for an empty sub-memory, left out without a query."""
        found: dict[str, float] = {}
        for modality in asked:
            query = direct.query(modality)
            if query is None:
                continue
            trace = self._store.catalog.trace(direct.namespace, modality, key_of(query.space))
            if trace is None or not (length := math.sqrt(trace @ trace)):
                found[modality] = 0.0
            else:
                found[modality] = float(query.vector @ trace) / length
        return found
