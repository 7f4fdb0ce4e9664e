"""Storing episodes, one or many at a time: checked, decoded, encoded together, written. No HTTP."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from encoders.media import Decoded
from memory_service import trail
from memory_service.clock import Clock
from memory_service.errors import (
    InvalidInput,
    MemoryServiceError,
    NotFound,
    Overloaded,
    TooLarge,
    told,
)
from memory_service.ids import new_id
from memory_service.records import Claim, Episode, Memory, Stored, StoreOrder, Upload
from memory_service.services import checks, expiry, given_vectors, idempotency
from memory_service.services.active import ActiveModels, Service, steady
from memory_service.services.models import require_same_space
from memory_service.services.timing import Stopwatch
from memory_service.settings import Settings
from memory_service.storage import rows
from memory_service.storage.intake import NewEpisode, NewMemory
from memory_service.storage.spaces import Embedding
from memory_service.storage.store import Store

Outcome = Stored | Exception


@dataclass
class Draft:
    """An episode on its way into the store."""

    order: StoreOrder
    created_at: float = 0.0  # Unix seconds
    fields: Mapping[str, Any] = field(default_factory=dict)
    expires_at: float | None = None
    given: list[Embedding | None] = field(default_factory=list)  # per upload, as are the following
    decoded: list[Decoded] = field(default_factory=list)
    embeddings: Sequence[tuple[Embedding, ...]] = ()
    claim: Claim | None = None
    outcome: Outcome | None = None  # None: to be written


@dataclass
class Prepared:
    """Drafts with their vectors, and the models that made these."""

    drafts: list[Draft]
    encoded_by: object
    watch: Stopwatch


class Storing(Service):
    """Safe for use from several threads."""

    def __init__(
        self, store: Store, active: ActiveModels, settings: Settings, clock: Clock
    ) -> None:
        self._store = store
        self._active = active
        self._settings = settings
        self._clock = clock

    @steady
    def store(self, order: StoreOrder) -> Stored:
        """Durable when it returns.

        Raises InvalidInput, InvalidVector, UnsupportedMedia, InvalidMedia, TooLarge,
        ModalityUnavailable, SpaceMismatch, Overloaded, StorageFull or StorageFailure; the store is
        then as before.
        """
        (outcome,) = self.store_all([order])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    @steady
    def store_all(self, orders: Sequence[StoreOrder]) -> list[Outcome]:
        """`store` of each, in one go; what it would raise is the outcome."""
        prepared = self.prepare(orders)
        outcomes = self.write(prepared)
        timings_ms = prepared.watch.timings_ms()
        return [
            Stored(each.episode, each.duplicate, each.replayed, timings_ms)
            if isinstance(each, Stored)
            else each
            for each in outcomes
        ]

    @steady
    def prepare(self, orders: Sequence[StoreOrder]) -> Prepared:
        """Everything but the writing; what is wrong with an order is its outcome.

        Items of the same modality are encoded together. Raises Overloaded when too many wait for
        an encoder.
        """
        watch = Stopwatch()
        with watch.stage("decode"):
            drafts = [self._draft(order) for order in orders]
        prepared = Prepared(drafts, self._active.state, watch)
        with watch.stage("encode"):
            self._encode([each for each in drafts if each.outcome is None])
        return prepared

    @steady
    def write(self, prepared: Prepared) -> list[Outcome]:
        """Write what is to be written, in one go; of each order its outcome, in their order."""
        ready = [each for each in prepared.drafts if each.outcome is None]
        if prepared.encoded_by != self._active.state:
            # Other models since: vectors of the former must not come into the store.
            with prepared.watch.stage("encode"):
                for draft in ready:
                    self._check_again(draft)
                ready = [each for each in ready if each.outcome is None]
                self._encode(ready)
                ready = [each for each in ready if each.outcome is None]
        with prepared.watch.stage("write"):
            written = self._store.add_episodes([_new_episode(each) for each in ready])
        for draft, added in zip(ready, written, strict=True):
            draft.outcome = (
                added
                if isinstance(added, Exception)
                else Stored(added.episode, added.duplicate, replayed=added.replayed)
            )
        outcomes = [each.outcome for each in prepared.drafts if each.outcome is not None]
        note(outcomes)
        return outcomes

    def _draft(self, order: StoreOrder) -> Draft:
        """What is wrong becomes the outcome."""
        draft = Draft(order)
        try:
            self._check(draft)
            if draft.outcome is None:
                draft.decoded = [
                    self._models.decode(upload.modality, upload.content, item=number)
                    for number, upload in enumerate(order.uploads)
                ]
        except MemoryServiceError as error:
            draft.outcome = error
        return draft

    def _check(self, draft: Draft) -> None:
        order, settings = draft.order, self._settings
        checks.namespace(order.namespace)
        draft.claim = idempotency.of_order(order, self._clock.now(), settings.idempotency_ttl_s)
        if draft.claim is not None and (before := self._store.replay(draft.claim)):
            draft.outcome = Stored(before.episode, before.duplicate, replayed=True)
            return
        checks.not_empty(order.uploads, "items of an episode", settings.max_parts_per_store)
        checks.one_of("if_duplicate", order.if_duplicate, ("keep", "skip"))
        draft.fields = checks.metadata(order.metadata, settings.max_metadata_bytes)
        draft.created_at = self._moment(order.created_at)
        draft.expires_at = expiry.moment(order.expires_at, order.ttl_s, self._clock.now())
        for upload in order.uploads:
            require_same_space(upload.modality, self._models, self._store)
            self._check_size(upload)
        draft.given = self._given(order)
        if draft.claim is not None:
            return  # the key has to be written, whether the episode is there or not
        if order.if_duplicate == "skip" and (found := self._same_contents(order)):
            draft.outcome = Stored(found, duplicate=True)

    def _given(self, order: StoreOrder) -> list[Embedding | None]:
        return [
            given_vectors.of_upload(upload, self._models, number)
            for number, upload in enumerate(order.uploads)
        ]

    def _check_again(self, draft: Draft) -> None:
        """What depends on the models."""
        try:
            for upload in draft.order.uploads:
                require_same_space(upload.modality, self._models, self._store)
            draft.given = self._given(draft.order)
        except MemoryServiceError as error:
            draft.outcome = error

    def _moment(self, created_at: float | None) -> float:
        if created_at is None:
            return self._clock.now()
        if not math.isfinite(created_at):
            raise InvalidInput("created_at must be Unix seconds", found=told(created_at))
        return float(created_at)

    def _check_size(self, upload: Upload) -> None:
        if len(upload.content) > self._settings.max_upload_bytes:
            raise TooLarge(
                f"{len(upload.content)} bytes were given, "
                f"at most {self._settings.max_upload_bytes} are accepted",
                found=len(upload.content),
                accepted=self._settings.max_upload_bytes,
            )

    def _same_contents(self, order: StoreOrder) -> Episode | None:
        contents = [upload.content for upload in order.uploads]
        digests = [hashlib.sha256(content).hexdigest() for content in contents]
        largest = digests[contents.index(max(contents, key=len))]
        whole = rows.contents_hash(digests)
        try:
            return self._store.catalog.episode_with(order.namespace, whole, largest)
        except NotFound:  # forgotten in this very moment
            return None

    def _encode(self, drafts: Sequence[Draft]) -> None:
        """All together; where that fails, each alone, so that only what is at fault fails."""
        decoded = [media for each in drafts for media in each.decoded]
        given = [vector for each in drafts for vector in each.given]
        try:
            embeddings = iter(self._active.embed(decoded, given))
        except Overloaded:
            raise
        except Exception as error:
            if len(drafts) > 1:
                for draft in drafts:
                    self._encode([draft])
            else:
                drafts[0].outcome = error
            return
        for draft in drafts:
            draft.embeddings = [next(embeddings) for _ in draft.decoded]


def note(outcomes: Iterable[Outcome]) -> None:
    """Tell the audit trail of this context what was stored. What one thread stores for several
    callers is in none of theirs: it is to be noted in each."""
    new = [
        each.episode
        for each in outcomes
        if isinstance(each, Stored) and not (each.duplicate or each.replayed)
    ]
    if new:
        trail.told(
            namespaces=[each.namespace for each in new],
            episodes=[each.id for each in new],
            memories=[memory.id for each in new for memory in each.memories],
        )


def _new_episode(draft: Draft) -> NewEpisode:
    episode_id, uploads = new_id(), draft.order.uploads
    memories = tuple(
        _memory(draft, episode_id, upload, media)
        for upload, media in zip(uploads, draft.decoded, strict=True)
    )
    return NewEpisode(
        Episode(episode_id, draft.order.namespace, draft.created_at, memories),
        [
            NewMemory(upload.content, vectors)
            for upload, vectors in zip(uploads, draft.embeddings, strict=True)
        ],
        skip_duplicate=draft.order.if_duplicate == "skip",
        claim=draft.claim,
    )


def _memory(draft: Draft, episode_id: str, upload: Upload, decoded: Decoded) -> Memory:
    return Memory(
        id=new_id(),
        sequence=0,  # given by the catalog
        namespace=draft.order.namespace,
        episode_id=episode_id,
        modality=decoded.modality,
        media_type=decoded.media_type,
        blob="",  # given by the store
        size_bytes=len(upload.content),
        metadata=draft.fields,
        created_at=draft.created_at,
        text=decoded.media if isinstance(decoded.media, str) else None,
        expires_at=draft.expires_at,
    )
