"""`Client`: the calls, over httpx, each until it is answered."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, TypeVar, Unpack

import httpx

from memory_service.client import operations, results
from memory_service.client.arguments import (
    EmbedArguments,
    ForgetArguments,
    GenerateArguments,
    RetrieveArguments,
    StoreArguments,
)
from memory_service.client.connection import DEFAULT_URL, headers
from memory_service.client.failures import ServiceError, unreachable
from memory_service.client.following import PATIENCE_S, Following
from memory_service.client.operations import Operation

T = TypeVar("T")


class Client:
    """Talks to one service. Every call may raise `ServiceError`; OSError for a missing file; and,
    before anything is sent, TypeError or ValueError for an argument that there is not or that
    cannot be sent.

    `api_key` is sent with every call; without it, that of the environment variable
    MEMORY_SERVICE_API_KEY, if there is one. `timeout_s` bounds each wait for the network;
    generating on a slow CPU takes seconds.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        timeout_s: float = 120.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = httpx.Client(
            base_url=url, headers=headers(api_key), timeout=timeout_s, transport=transport
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def _send(self, operation: Operation[T]) -> T:
        try:
            response = self._http.request(operation.method, operation.path, **operation.body)
        except httpx.HTTPError as cause:
            raise unreachable(self._http.base_url, cause) from cause
        return operation.answer(response)

    def _forget(
        self, operation: Operation[results.Forgotten], follow: bool, patience_s: float
    ) -> results.Forgotten:
        begun = self._send(operation)
        if not follow:
            return begun
        following = Following(begun, patience_s)
        while following.goes_on:
            time.sleep(following.pause_s())
            try:
                following.saw(self._send(following.job))
            except ServiceError as error:
                following.failed(error)
        found = following.receipt()
        return self._send(found) if isinstance(found, Operation) else found

    def store(self, **given: Unpack[StoreArguments]) -> results.Stored:
        """Store pictures, texts and sounds as one episode."""
        return self._send(operations.store(given))

    def store_batch(self, episodes: Iterable[StoreArguments]) -> Iterator[results.BatchAnswer]:
        """Store many episodes, each as the arguments of `store`; answers come in their order.

        Nothing is sent before the first answer is asked for, and then as many as fit in a request
        at a time. An episode that is refused is an answer with an error, and the rest goes on.
        """
        for operation in operations.store_requests(episodes):
            yield from self._send(operation)

    def retrieve(self, **given: Unpack[RetrieveArguments]) -> results.Retrieval:
        """Find the memories nearest to a query of any modalities, per modality asked for."""
        return self._send(operations.retrieve(given))

    def embed(self, **given: Unpack[EmbedArguments]) -> tuple[results.Embedded, ...]:
        """The vectors of pictures, texts and sounds, in this order of modalities; nothing is
        stored."""
        return self._send(operations.embed(given))

    def generate(self, **given: Unpack[GenerateArguments]) -> results.Generation:
        """Make a new picture, text or sound from the query and what it recalls."""
        return self._send(operations.generate(given))

    def memory(self, memory_id: str) -> results.Memory:
        """With its strength and its lineage."""
        return self._send(operations.memory(memory_id))

    def change(self, memory_id: str, **changes: Any) -> results.Memory:
        """Change `metadata` (merge patch: None takes a field away), `expires_at` or `ttl_s`."""
        return self._send(operations.change(memory_id, changes))

    def settings(self, namespace: str) -> Mapping[str, Any]:
        """How fast the memories of a namespace fade."""
        return self._send(operations.settings(namespace))

    def configure(self, namespace: str, **values: Any) -> Mapping[str, Any]:
        """Replace these settings: `half_life_s`, `trace_half_life_s`; None is no decay."""
        return self._send(operations.configure(namespace, values))

    def sweep(self) -> int:
        """Delete now what has expired; returns how many memories that were."""
        return self._send(operations.sweep())

    def consolidate(
        self,
        *,
        namespace: str | None = None,
        modalities: Sequence[str] | None = None,
        threshold: float | None = None,
        dry_run: bool = False,
    ) -> results.Job:
        """Begin to let prototypes stand for near-duplicates; see `job` for the rest."""
        return self._send(operations.consolidate(namespace, modalities, threshold, dry_run))

    def undo_consolidation(self, name: str) -> tuple[str, ...]:
        """Take apart the prototypes of a job, or the one of this id; returns their ids."""
        return self._send(operations.undo_consolidation(name))

    def evaluate(self, **given: Any) -> results.Job:
        """Begin to measure a namespace: `namespace`, `depth`, `max_items`, `queries`, `seed`,
        `field`; the job's result has the figures."""
        return self._send(operations.evaluate(given))

    def evaluation_page(self, job_id: str) -> str:
        """The HTML report of an evaluation that has succeeded."""
        return self._send(operations.evaluation_page(job_id))

    def memories(
        self,
        *,
        namespace: str | None = None,
        modality: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> results.Page:
        """One page of memories in the order of storing."""
        return self._send(operations.memories(namespace, modality, after, limit))

    def iterate(
        self, *, namespace: str | None = None, modality: str | None = None
    ) -> Iterator[results.Memory]:
        """All memories, page by page."""
        page = self.memories(namespace=namespace, modality=modality)
        yield from page.memories
        while page.next is not None:
            page = self.memories(namespace=namespace, modality=modality, after=page.next)
            yield from page.memories

    def content(
        self, memory_id: str, *, start_s: float | None = None, end_s: float | None = None
    ) -> bytes:
        """The bytes as they were stored; of a sound, a part in seconds as WAV."""
        return self._send(operations.content(memory_id, start_s, end_s))

    def thumbnail(self, memory_id: str) -> bytes:
        """A small JPEG of a picture or a sound."""
        return self._send(operations.thumbnail(memory_id))

    def forget(self, memory_id: str, **how: Unpack[ForgetArguments]) -> results.Forgotten:
        """Delete a memory for good; answers the receipt."""
        return self._send(operations.forget(memory_id, how))

    def count_matching(
        self,
        filter: Mapping[str, Any] | None = None,
        *,
        namespace: str = "default",
        modality: str | None = None,
        all: bool = False,
    ) -> int:
        """How many memories `forget_matching` would delete."""
        return self._send(operations.count_matching(filter, namespace, modality, all))

    def forget_matching(
        self,
        filter: Mapping[str, Any] | None = None,
        *,
        namespace: str = "default",
        modality: str | None = None,
        expected: int,
        all: bool = False,
        follow: bool = True,
        patience_s: float = PATIENCE_S,
        **how: Unpack[ForgetArguments],
    ) -> results.Forgotten:
        """Delete what a filter matches, or with `all` the whole namespace, if it is `expected`
        memories, as `count_matching` tells.

        Many are a job of the service, which is waited for, at most `patience_s`; besides, its
        failure is raised, and `timeout`, `cancelled` and `interrupted`, with `job` and `receipt_id`
        among the `details`. Without `follow` the receipt is answered as it is when the service has
        begun: one that is not `complete` is of a `job` that goes on.
        """
        operation = operations.forget_matching(filter, namespace, modality, all, expected, how)
        return self._forget(operation, follow, patience_s)

    def namespaces(self) -> tuple[Mapping[str, Any], ...]:
        """Those that hold anything, and how much."""
        return self._send(operations.namespaces())

    def namespace(self, name: str) -> Mapping[str, Any]:
        """How much it holds."""
        return self._send(operations.namespace(name))

    def forget_namespace(
        self,
        name: str,
        *,
        expected: int | None = None,
        follow: bool = True,
        patience_s: float = PATIENCE_S,
        **how: Unpack[ForgetArguments],
    ) -> results.Forgotten:
        """Delete its memories, generations and settings, if it has `expected` memories; many as
        `forget_matching` does."""
        operation = operations.forget_namespace(name, expected, how)
        return self._forget(operation, follow, patience_s)

    def receipt(self, receipt_id: str) -> results.Forgotten:
        """The receipt of an earlier deletion."""
        return self._send(operations.receipt(receipt_id))

    def episode(self, episode_id: str) -> results.Episode:
        return self._send(operations.episode(episode_id))

    def forget_episode(self, episode_id: str, **how: Unpack[ForgetArguments]) -> results.Forgotten:
        return self._send(operations.forget_episode(episode_id, how))

    def generation(self, generation_id: str) -> results.Generation:
        return self._send(operations.generation(generation_id))

    def generations(
        self,
        *,
        namespace: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> results.GenerationPage:
        """One page of the records of generations, the newest first."""
        return self._send(operations.generations(namespace, after, limit))

    def forget_generation(
        self, generation_id: str, **how: Unpack[ForgetArguments]
    ) -> results.Forgotten:
        """Delete what was generated, and the record of it."""
        return self._send(operations.forget_generation(generation_id, how))

    def generation_content(self, generation_id: str, output: str | None = None) -> bytes:
        """The bytes of one output, named by modality or id; the first by default."""
        return self._send(operations.generation_content(generation_id, output))

    def card(self, generation_id: str, *, picture: bool = False) -> bytes:
        """What was asked, remembered and made on one page: HTML, or a PNG as `picture`."""
        return self._send(operations.card(generation_id, picture))

    def explain(self, generation_id: str) -> results.Generation:
        """Measure what each memory did, by making it again without it: `Share.effects`."""
        return self._send(operations.explain(generation_id))

    def replay(self, generation_id: str) -> Mapping[str, bool]:
        """Generate again from the record; by output id, whether it came out bit for bit."""
        return self._send(operations.replay(generation_id))

    def stats(self) -> Mapping[str, Any]:
        return self._send(operations.stats())

    def models(self) -> Mapping[str, Any]:
        return self._send(operations.models())

    def reembed(
        self,
        profile: str,
        *,
        dry_run: bool = False,
        switch: bool = True,
        accept_failures: bool = False,
    ) -> results.Job:
        """Begin to re-embed all memories into another profile's space; see `job` for the rest."""
        return self._send(operations.reembed(profile, dry_run, switch, accept_failures))

    def backup(self, name: str = "default", *, with_access: bool = False) -> results.Job:
        """Begin to back up into a folder of this name, below the one that the service has set;
        `with_access`: the API keys and the audit log, too."""
        return self._send(operations.backup(name, with_access))

    def rollback(self) -> results.Job:
        """Begin to go back to before the last switch, or to drop an unfinished re-embedding."""
        return self._send(operations.rollback())

    def spaces(self) -> Mapping[str, Any]:
        """The spaces that memories have vectors in, and which of them are searched."""
        return self._send(operations.spaces())

    def drop_vectors(self, role: str) -> Mapping[str, Any]:
        """Delete vectors that are not searched: `old`, kept from before the last switch, or
        `new`, of an unfinished re-embedding."""
        return self._send(operations.drop_vectors(role))

    def jobs(self, limit: int | None = None) -> tuple[results.Job, ...]:
        """The newest first."""
        return self._send(operations.jobs(limit))

    def job(self, job_id: str) -> results.Job:
        return self._send(operations.job(job_id))

    def cancel_job(self, job_id: str) -> results.Job:
        """Ask a running job to stop; it can be taken up by the same request later."""
        return self._send(operations.cancel_job(job_id))

    def create_key(
        self,
        name: str,
        scope: Literal["read", "write", "admin"],
        *,
        namespaces: Sequence[str] | None = None,
        expires_at: float | None = None,
        requests_per_s: float | None = None,
        bytes_per_min: int | None = None,
    ) -> Mapping[str, Any]:
        """The key's record, and its text under `key`: it is told here, and never again."""
        return self._send(
            operations.create_key(
                name, scope, namespaces, expires_at, requests_per_s, bytes_per_min
            )
        )

    def api_keys(self) -> Sequence[Mapping[str, Any]]:
        """The oldest first, those that are revoked or expired among them."""
        return self._send(operations.api_keys())

    def revoke_key(self, key_id: str) -> Mapping[str, Any]:
        """From now on it opens nothing."""
        return self._send(operations.revoke_key(key_id))

    def ready(self) -> bool:
        """Whether the service answers and has loaded. Never raises `ServiceError`."""
        try:
            return self._send(operations.ready())
        except ServiceError:
            return False
