"""Both clients of the real app follow a large forgetting to its end, unless told not to."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from memory_service.client import AsyncClient, Client, Forgotten, ServiceError, following
from memory_service.errors import StorageFull
from memory_service.services import forgetting
from memory_service.storage import removal

COUNT = 5
Forget = Callable[..., Forgotten]


class Service:
    """Holds forgetting up before its last transaction, until it was asked for the job so often."""

    def __init__(self, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
        self.client = client
        self.asked = self.busy = 0
        self.until: float = 2
        self.error: Exception | None = None
        self._free = threading.Event()
        real = removal.Removal._delete

        def delete(store: Any, tally: Any, memories: Any) -> None:
            if tally.removed["memories"]:
                assert self._free.wait(20)
                if self.error is not None:
                    raise self.error
            real(store, tally, memories)

        monkeypatch.setattr(removal.Removal, "_delete", delete)

    def answer(self, request: httpx.Request) -> httpx.Response:
        """As the app does, of which TestClient is the one client that runs its lifespan."""
        if request.url.path.startswith("/jobs/") and request.method == "GET":
            self.asked += 1
            if self.busy:
                self.busy -= 1
                problem = {"code": "overloaded", "detail": "busy", "retry_after_s": 0}
                return httpx.Response(429, json=problem)
            if self.asked >= self.until:
                self.free()
        given = self.client.request(
            request.method, str(request.url), content=request.content, headers=request.headers
        )
        return httpx.Response(given.status_code, content=given.content, headers=given.headers)

    def free(self) -> None:
        self._free.set()


@pytest.fixture
def service(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setattr(forgetting, "LARGE", 3)
    monkeypatch.setattr(forgetting, "PATIENCE_S", 0.0)
    monkeypatch.setattr(removal, "AT_ONCE", 2)
    monkeypatch.setattr(following, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(following, "MOST_PAUSE_S", 0.02)
    for number in range(COUNT):
        body = {"items": [{"modality": "text", "text": f"note {number}"}], "metadata": {"a": 1}}
        assert client.post("/store", json=body).status_code == 201
    service = Service(client, monkeypatch)
    yield service
    service.free()


def _sync(service: Service, call: str, *given: Any, **more: Any) -> Forgotten:
    with Client("http://testserver", transport=httpx.MockTransport(service.answer)) as memory:
        found: Forgotten = getattr(memory, call)(*given, **more)
        return found


def _async(service: Service, call: str, *given: Any, **more: Any) -> Forgotten:
    async def ask() -> Forgotten:
        transport = httpx.MockTransport(service.answer)
        async with AsyncClient("http://testserver", transport=transport) as memory:
            found: Forgotten = await getattr(memory, call)(*given, **more)
            return found

    return asyncio.run(ask())


@pytest.fixture(params=[_sync, _async])
def forget(request: pytest.FixtureRequest, service: Service) -> Forget:
    return partial(request.param, service)


def test_the_receipt_is_that_of_the_end(forget: Forget, service: Service) -> None:
    receipt = forget("forget_matching", {"a": 1}, expected=COUNT)
    assert receipt.complete
    assert receipt.removed["memories"] == len(receipt.memory_ids) == COUNT
    assert service.asked >= 2


def test_of_a_namespace_too(forget: Forget) -> None:
    assert forget("forget_namespace", "default").removed["memories"] == COUNT


def test_without_following_it_goes_on(forget: Forget, service: Service) -> None:
    begun = forget("forget_matching", {"a": 1}, expected=COUNT, follow=False)
    assert (begun.complete, service.asked) == (False, 0)
    assert begun.job is not None
    assert service.client.get(f"/jobs/{begun.job}").json()["state"] == "running"


def test_a_busy_service_is_asked_again(forget: Forget, service: Service) -> None:
    service.busy = 2
    assert forget("forget_matching", {"a": 1}, expected=COUNT).complete
    assert service.asked >= 3


def test_patience_has_an_end(forget: Forget, service: Service) -> None:
    service.until = float("inf")
    with pytest.raises(ServiceError, match="goes on") as caught:
        forget("forget_matching", {"a": 1}, expected=COUNT, patience_s=0.05)
    assert caught.value.code == "timeout"
    job = service.client.get(f"/jobs/{caught.value.details['job']}").json()
    assert job["state"] == "running"
    receipt = service.client.get(f"/receipts/{caught.value.details['receipt_id']}").json()
    assert receipt["job"] == job["id"]


def test_what_it_fails_with_is_raised(forget: Forget, service: Service) -> None:
    service.error = StorageFull("the disk is full")
    with pytest.raises(ServiceError, match="the disk is full") as caught:
        forget("forget_matching", {"a": 1}, expected=COUNT)
    assert caught.value.code == "storage_full"


def test_one_that_was_cancelled_is_an_error(forget: Forget, service: Service) -> None:
    real = service.answer

    def cancelling(request: httpx.Request) -> httpx.Response:
        if request.url.path.startswith("/jobs/") and not service.asked:
            service.client.delete(request.url.path)
        return real(request)

    service.answer = cancelling  # type: ignore[method-assign]
    with pytest.raises(ServiceError, match="was cancelled") as caught:
        forget("forget_matching", {"a": 1}, expected=COUNT)
    assert caught.value.code == "cancelled"


def test_where_no_receipt_is_kept_the_counts_are_told(forget: Forget) -> None:
    receipt = forget("forget_matching", {"a": 1}, expected=COUNT, keep_receipt=False)
    assert receipt.complete
    assert receipt.removed["memories"] == COUNT
    assert receipt.memory_ids == ()
    assert receipt.digest is not None
