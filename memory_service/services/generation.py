"""Generating media from what is remembered, with provenance. Knows no HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from encoders.base import Space
from generator.base import Condition
from generator.fusion import fingerprint
from memory_service.clock import Clock
from memory_service.errors import (
    ModalityUnavailable,
    NothingRemembered,
)
from memory_service.ids import new_id
from memory_service.records import (
    NEAREST,
    AskedPart,
    Claim,
    FusionMethod,
    Generation,
    MemoryShare,
    QueryPart,
    RetrievalMode,
    Weights,
)
from memory_service.services import idempotency, neighbours, planning
from memory_service.services.active import ActiveModels, Service, steady
from memory_service.services.explaining import effects, explained
from memory_service.services.making import Maker, agreement
from memory_service.services.queries import Query, encode_parts
from memory_service.services.recalls import Recalls
from memory_service.services.retrieval import Retriever
from memory_service.services.timing import Stopwatch
from memory_service.settings import Settings
from memory_service.storage import lineage
from memory_service.storage.store import Store


class GenerationService(Service):
    """Safe for use from several threads."""

    def __init__(
        self,
        store: Store,
        active: ActiveModels,
        retriever: Retriever,
        recalls: Recalls,
        settings: Settings,
        clock: Clock,
    ) -> None:
        self._store = store
        self._active = active
        self._retriever = retriever
        self._recalls = recalls
        self._settings = settings
        self._clock = clock
        self._under_way = idempotency.UnderWay()

    def generate_once(
        self, key: str | None, parts: Sequence[QueryPart], **options: Any
    ) -> tuple[Generation, bool]:
        """`generate`, or what the same request with this idempotency key has generated before, and
        whether that was so. Raises KeyReused, KeyInUse, or NotFound when it is gone since."""
        if key is None:
            return self.generate(parts, **options), False
        ttl_s = self._settings.idempotency_ttl_s
        claim = idempotency.of_generation(key, parts, options, self._clock.now(), ttl_s)
        with self._under_way.alone(claim):
            if found := self._store.generated(claim):
                return found, True
            return self.generate(parts, claim=claim, **options), False

    @steady
    def generate(
        self,
        parts: Sequence[QueryPart],
        *,
        outputs: Sequence[str] = ("image",),
        namespace: str = "default",
        k: int = 4,
        fusion: FusionMethod = "attention",
        creativity: float = 0.3,
        seed: int | None = None,
        mode: RetrievalMode = "auto",
        filter: Mapping[str, Any] | None = None,
        weights: Weights = NEAREST,
        reinforce: bool = True,
        max_similarity: float | None = None,
        candidates: int | None = None,
        explain: bool = False,
        modes: Mapping[str, str] | None = None,
        claim: Claim | None = None,
    ) -> Generation:
        """Generate one item per output modality from the `k` best episodes, and record how.

        `weights` and `reinforce` as for `Retriever.retrieve`; what it was made from grows stronger.
        Without a seed one is drawn; it is in the record. Of `candidates` of each output (1 to 8;
        None: as many as is usual for it) the best is kept; one whose cosine to a memory is above
        `max_similarity` is left out, and where all are, as many are drawn again. `explain`
        measures what each memory did: `explain`.
        `modes`: by modality, how to make it; a sound that is speech says the text in its mode.
        Raises what `Retriever.retrieve` raises, ModalityUnavailable without a generator,
        NothingRemembered when nothing was found, TooSimilar, and StorageFull; nothing is kept then.
        """
        watch = Stopwatch()
        plan = planning.plan(
            self._models,
            parts,
            outputs=outputs,
            namespace=namespace,
            k=k,
            most_k=self._settings.max_k,
            fusion=fusion,
            creativity=creativity,
            seed=seed,
            max_similarity=max_similarity,
            candidates=candidates,
            modes=modes or {},
        )
        with watch.stage("encode"):
            queries = encode_parts(parts, self._models, self._settings)
            query = self._query_in(plan.space, queries)
        sources = self._recall(plan, queries, query, mode, filter, weights, watch)
        record = Generation(
            id=new_id(),
            namespace=plan.namespace,
            created_at=self._clock.now(),
            seed=plan.seed,
            creativity=plan.creativity,
            fusion=plan.fusion,
            fusion_fingerprint=fingerprint(plan.fusion, plan.space.id),
            space_id=plan.space.id,
            space_fingerprint=plan.space.fingerprint,
            query_vector=query.vector,
            memories=(),
            outputs=(),
            timings_ms={},
            query=tuple(_asked(part) for part in parts),
            modes=plan.modes,
            options={
                "k": plan.k,
                "mode": mode,
                "filter": None if filter is None else dict(filter),
                "candidates": plan.candidates,
                "max_similarity": plan.max_similarity,
                "context_weight": weights.context,
                "recency_weight": weights.recency,
                "strength_weight": weights.strength,
            },
        )
        with watch.stage("fuse"):
            condition = neighbours.condition_of(record, sources, self._models.calibration)
        record = replace(record, memories=_shares(condition, sources))
        maker = Maker(
            record,
            sources,
            self._store,
            self._models,
            max_similarity=plan.max_similarity,
            candidates=plan.candidates,
        )
        with watch.stage("generate"):
            made = maker.make_all(plan.outputs, condition)
        outputs_made = tuple(each.output for each in made)
        record = replace(
            record, outputs=outputs_made, agreement=agreement(outputs_made, self._models)
        )
        if explain:
            with watch.stage("explain"):
                record = explained(record, effects(record, sources, self._models))
        record = replace(record, timings_ms=watch.timings_ms())
        with watch.stage("write"):
            stored = self._store.add_generation(record, [each.content for each in made], claim)
        if reinforce:
            self._reinforce(plan.namespace, sources)
        return replace(stored, timings_ms=watch.timings_ms())

    def _reinforce(self, namespace: str, sources: Sequence[neighbours.Source]) -> None:
        """What was used, and the prototypes that it is found by."""
        used = [source.memory.sequence for source in sources]
        shown = lineage.prototypes_of(self._store.catalog, used).values()
        self._recalls.note(namespace, dict.fromkeys([*used, *shown]))

    def _query_in(self, space: Space, queries: Sequence[Query]) -> Query:
        for query in queries:
            if query.space == space:
                return query
        fitting = [each.modality for each in self._models.all_encoders() if each.space == space]
        raise ModalityUnavailable(
            f"the generators need a query in space {space.id}: give one part of {fitting}",
            accepted=fitting,
        )

    def _recall(
        self,
        plan: planning.Plan,
        queries: tuple[Query, ...],
        query: Query,
        mode: RetrievalMode,
        filter: Mapping[str, Any] | None,
        weights: Weights,
        watch: Stopwatch,
    ) -> list[neighbours.Source]:
        retrieval = self._retriever.recall(
            queries,
            namespace=plan.namespace,
            modalities=None,
            mode=mode,
            k=plan.k,
            filter=filter,
            weights=weights,
            watch=watch,
        )
        with watch.stage("read"):
            chosen = neighbours.choose(
                retrieval,
                query,
                plan.k,
                plan.outputs,
                store=self._store,
                models=self._models,
            )
            sources = neighbours.load(chosen, query.vector, plan.space, self._store, self._models)
        if not sources:
            raise NothingRemembered(
                f"nothing in namespace {plan.namespace!r} matches, so there is nothing to "
                "generate from: store something first, or widen the filter",
                namespace=plan.namespace,
            )
        return sources


def _asked(part: QueryPart) -> AskedPart:
    text = None
    if part.modality == "text" and part.content is not None:
        text = part.content.decode("utf-8", errors="replace")
    return AskedPart(None if part.content is None else part.modality, text, part.weight)


def _shares(condition: Condition, sources: Sequence[neighbours.Source]) -> tuple[MemoryShare, ...]:
    return tuple(
        MemoryShare(
            memory_id=source.memory.id,
            episode_id=source.memory.episode_id,
            modality=source.memory.modality,
            weight=float(weight),
            cosine=float(np.dot(condition.query, source.neighbour.vector)),
            segment=source.segment,
        )
        for source, weight in zip(sources, condition.weights, strict=True)
    )
