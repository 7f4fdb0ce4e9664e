"""`AsyncClient`: the calls of `Client`, to be awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, TypeVar, Unpack

import anyio
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


class AsyncClient:
    """`Client` for asyncio and trio; see there."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        timeout_s: float = 120.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx.AsyncClient(
            base_url=url, headers=headers(api_key), timeout=timeout_s, transport=transport
        )

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def _send(self, operation: Operation[T]) -> T:
        try:
            response = await self._http.request(operation.method, operation.path, **operation.body)
        except httpx.HTTPError as cause:
            raise unreachable(self._http.base_url, cause) from cause
        return operation.answer(response)

    async def _forget(
        self, operation: Operation[results.Forgotten], follow: bool, patience_s: float
    ) -> results.Forgotten:
        begun = await self._send(operation)
        if not follow:
            return begun
        following = Following(begun, patience_s)
        while following.goes_on:
            await anyio.sleep(following.pause_s())
            try:
                following.saw(await self._send(following.job))
            except ServiceError as error:
                following.failed(error)
        found = following.receipt()
        return await self._send(found) if isinstance(found, Operation) else found

    async def store(self, **given: Unpack[StoreArguments]) -> results.Stored:
        return await self._send(operations.store(given))

    async def store_batch(
        self, episodes: Iterable[StoreArguments]
    ) -> AsyncIterator[results.BatchAnswer]:
        for operation in operations.store_requests(episodes):
            for answer in await self._send(operation):
                yield answer

    async def retrieve(self, **given: Unpack[RetrieveArguments]) -> results.Retrieval:
        return await self._send(operations.retrieve(given))

    async def embed(self, **given: Unpack[EmbedArguments]) -> tuple[results.Embedded, ...]:
        return await self._send(operations.embed(given))

    async def generate(self, **given: Unpack[GenerateArguments]) -> results.Generation:
        return await self._send(operations.generate(given))

    async def memory(self, memory_id: str) -> results.Memory:
        return await self._send(operations.memory(memory_id))

    async def change(self, memory_id: str, **changes: Any) -> results.Memory:
        return await self._send(operations.change(memory_id, changes))

    async def settings(self, namespace: str) -> Mapping[str, Any]:
        return await self._send(operations.settings(namespace))

    async def configure(self, namespace: str, **values: Any) -> Mapping[str, Any]:
        return await self._send(operations.configure(namespace, values))

    async def sweep(self) -> int:
        return await self._send(operations.sweep())

    async def consolidate(
        self,
        *,
        namespace: str | None = None,
        modalities: Sequence[str] | None = None,
        threshold: float | None = None,
        dry_run: bool = False,
    ) -> results.Job:
        return await self._send(operations.consolidate(namespace, modalities, threshold, dry_run))

    async def undo_consolidation(self, name: str) -> tuple[str, ...]:
        return await self._send(operations.undo_consolidation(name))

    async def evaluate(self, **given: Any) -> results.Job:
        return await self._send(operations.evaluate(given))

    async def evaluation_page(self, job_id: str) -> str:
        return await self._send(operations.evaluation_page(job_id))

    async def memories(
        self,
        *,
        namespace: str | None = None,
        modality: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> results.Page:
        return await self._send(operations.memories(namespace, modality, after, limit))

    async def iterate(
        self, *, namespace: str | None = None, modality: str | None = None
    ) -> AsyncIterator[results.Memory]:
        page = await self.memories(namespace=namespace, modality=modality)
        for memory in page.memories:
            yield memory
        while page.next is not None:
            page = await self.memories(namespace=namespace, modality=modality, after=page.next)
            for memory in page.memories:
                yield memory

    async def content(
        self, memory_id: str, *, start_s: float | None = None, end_s: float | None = None
    ) -> bytes:
        return await self._send(operations.content(memory_id, start_s, end_s))

    async def thumbnail(self, memory_id: str) -> bytes:
        return await self._send(operations.thumbnail(memory_id))

    async def forget(self, memory_id: str, **how: Unpack[ForgetArguments]) -> results.Forgotten:
        return await self._send(operations.forget(memory_id, how))

    async def count_matching(
        self,
        filter: Mapping[str, Any] | None = None,
        *,
        namespace: str = "default",
        modality: str | None = None,
        all: bool = False,
    ) -> int:
        return await self._send(operations.count_matching(filter, namespace, modality, all))

    async def forget_matching(
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
        operation = operations.forget_matching(filter, namespace, modality, all, expected, how)
        return await self._forget(operation, follow, patience_s)

    async def namespaces(self) -> tuple[Mapping[str, Any], ...]:
        return await self._send(operations.namespaces())

    async def namespace(self, name: str) -> Mapping[str, Any]:
        return await self._send(operations.namespace(name))

    async def forget_namespace(
        self,
        name: str,
        *,
        expected: int | None = None,
        follow: bool = True,
        patience_s: float = PATIENCE_S,
        **how: Unpack[ForgetArguments],
    ) -> results.Forgotten:
        operation = operations.forget_namespace(name, expected, how)
        return await self._forget(operation, follow, patience_s)

    async def receipt(self, receipt_id: str) -> results.Forgotten:
        return await self._send(operations.receipt(receipt_id))

    async def episode(self, episode_id: str) -> results.Episode:
        return await self._send(operations.episode(episode_id))

    async def forget_episode(
        self, episode_id: str, **how: Unpack[ForgetArguments]
    ) -> results.Forgotten:
        return await self._send(operations.forget_episode(episode_id, how))

    async def generation(self, generation_id: str) -> results.Generation:
        return await self._send(operations.generation(generation_id))

    async def generations(
        self,
        *,
        namespace: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> results.GenerationPage:
        return await self._send(operations.generations(namespace, after, limit))

    async def forget_generation(
        self, generation_id: str, **how: Unpack[ForgetArguments]
    ) -> results.Forgotten:
        return await self._send(operations.forget_generation(generation_id, how))

    async def generation_content(self, generation_id: str, output: str | None = None) -> bytes:
        return await self._send(operations.generation_content(generation_id, output))

    async def card(self, generation_id: str, *, picture: bool = False) -> bytes:
        return await self._send(operations.card(generation_id, picture))

    async def explain(self, generation_id: str) -> results.Generation:
        return await self._send(operations.explain(generation_id))

    async def replay(self, generation_id: str) -> Mapping[str, bool]:
        return await self._send(operations.replay(generation_id))

    async def stats(self) -> Mapping[str, Any]:
        return await self._send(operations.stats())

    async def models(self) -> Mapping[str, Any]:
        return await self._send(operations.models())

    async def reembed(
        self,
        profile: str,
        *,
        dry_run: bool = False,
        switch: bool = True,
        accept_failures: bool = False,
    ) -> results.Job:
        return await self._send(operations.reembed(profile, dry_run, switch, accept_failures))

    async def backup(self, name: str = "default", *, with_access: bool = False) -> results.Job:
        return await self._send(operations.backup(name, with_access))

    async def rollback(self) -> results.Job:
        return await self._send(operations.rollback())

    async def spaces(self) -> Mapping[str, Any]:
        return await self._send(operations.spaces())

    async def drop_vectors(self, role: str) -> Mapping[str, Any]:
        return await self._send(operations.drop_vectors(role))

    async def jobs(self, limit: int | None = None) -> tuple[results.Job, ...]:
        return await self._send(operations.jobs(limit))

    async def job(self, job_id: str) -> results.Job:
        return await self._send(operations.job(job_id))

    async def cancel_job(self, job_id: str) -> results.Job:
        return await self._send(operations.cancel_job(job_id))

    async def create_key(
        self,
        name: str,
        scope: Literal["read", "write", "admin"],
        *,
        namespaces: Sequence[str] | None = None,
        expires_at: float | None = None,
        requests_per_s: float | None = None,
        bytes_per_min: int | None = None,
    ) -> Mapping[str, Any]:
        return await self._send(
            operations.create_key(
                name, scope, namespaces, expires_at, requests_per_s, bytes_per_min
            )
        )

    async def api_keys(self) -> Sequence[Mapping[str, Any]]:
        return await self._send(operations.api_keys())

    async def revoke_key(self, key_id: str) -> Mapping[str, Any]:
        return await self._send(operations.revoke_key(key_id))

    async def ready(self) -> bool:
        try:
            return await self._send(operations.ready())
        except ServiceError:
            return False
