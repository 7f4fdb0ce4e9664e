"""Too much at a time: 429 with Retry-After, nothing stored, and the rest is answered."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest
from fastapi.testclient import TestClient

from memory_service.api import create_app, factory
from memory_service.api.calls import Calls
from memory_service.bootstrap import build
from memory_service.errors import Overloaded
from memory_service.settings import Settings


class Gate:
    """Holds up the text encoder inside the batching one."""

    def __init__(self, client: TestClient) -> None:
        (self.batching,) = (
            each
            for each in client.app.state.application.batching  # type: ignore[attr-defined]
            if each.modality == "text"
        )
        encode = self.batching.encoder.encode
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()

        def held_up(batch: list[str]) -> np.ndarray:
            self.entered.release()
            assert self.open.wait(20)
            return encode(batch)

        self.batching.encoder.encode = held_up


@pytest.fixture
def tight(settings: Settings) -> Iterator[TestClient]:
    """At most three texts wait for the encoder, and two requests for a thread."""
    settings = settings.model_copy(update={"queue_items": 3, "queue_requests": 2})
    with build(settings) as application, TestClient(create_app(application)) as client:
        yield client


@pytest.fixture
def gate(tight: TestClient) -> Iterator[Gate]:
    gate = Gate(tight)
    yield gate
    gate.open.set()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(32) as pool:
        yield pool


def items(*texts: str) -> dict:
    return {"items": [{"modality": "text", "text": text} for text in texts]}


def store(client: TestClient, pool: ThreadPoolExecutor, *texts: str) -> Future:
    return pool.submit(client.post, "/store", json=items(*texts))


def wait_for(condition: threading.Event, true: object) -> None:
    for _ in range(2000):
        if true():  # type: ignore[operator]
            return
        condition.wait(0.005)
    raise AssertionError("it never happened")


def refused(answer: object) -> None:
    assert answer.status_code == 429  # type: ignore[attr-defined]
    assert answer.headers["content-type"] == "application/problem+json"  # type: ignore[attr-defined]
    problem = answer.json()  # type: ignore[attr-defined]
    assert problem["code"] == "overloaded"
    assert problem["title"] == "Too many requests"
    assert 1 <= int(answer.headers["retry-after"]) <= 60  # type: ignore[attr-defined]
    assert problem["retry_after_s"] == int(answer.headers["retry-after"])  # type: ignore[attr-defined]


def test_a_full_queue_of_an_encoder(
    tight: TestClient, gate: Gate, pool: ThreadPoolExecutor
) -> None:
    first = store(tight, pool, "first")
    assert gate.entered.acquire(timeout=10)
    waiting = store(tight, pool, "a", "b", "c")
    wait_for(threading.Event(), lambda: gate.batching._queued == 3)
    refused(tight.post("/store", json=items("late")))
    refused(tight.post("/retrieve", json={"query": {"text": "late"}}))
    assert tight.get("/stats").json()["memories"] == 0
    metrics = tight.get("/metrics").text
    assert 'memory_service_batch_queue_items{modality="text"} 3.0' in metrics
    assert 'memory_service_batch_rejected_items_total{modality="text"} 2.0' in metrics
    gate.open.set()
    assert [first.result(10).status_code, waiting.result(10).status_code] == [201, 201]
    texts = [each["text"] for each in tight.get("/memories").json()["memories"]]
    assert sorted(texts) == ["a", "b", "c", "first"]
    metrics = tight.get("/metrics").text
    assert 'memory_service_batch_queue_items{modality="text"} 0.0' in metrics
    assert 'memory_service_batch_items_bucket{le="1.0",modality="text"} 1.0' in metrics
    assert 'memory_service_batch_items_bucket{le="4.0",modality="text"} 2.0' in metrics
    assert 'memory_service_batch_wait_seconds_count{modality="text"} 4.0' in metrics


def test_too_many_requests_wait_for_a_thread(
    tight: TestClient, gate: Gate, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate.batching._max_queue = 100
    calls: Calls = tight.app.state.calls  # type: ignore[attr-defined]
    most = factory.CONCURRENT_CALLS + 2
    sent = [store(tight, pool, f"text {number}") for number in range(most)]
    wait_for(threading.Event(), lambda: calls.waiting == 2)
    refused(tight.post("/store", json=items("late")))
    refused(tight.get("/memories"))
    # What operators ask is answered all the same.
    assert tight.get("/readyz").status_code == 200
    metrics = tight.get("/metrics").text
    assert "memory_service_requests_waiting 2.0" in metrics
    assert "memory_service_requests_rejected_total 2.0" in metrics
    gate.open.set()
    assert {each.result(10).status_code for each in sent} == {201}
    assert tight.get("/stats").json()["memories"] == most
    assert calls.waiting == 0


def test_stores_of_given_vectors_wait_for_no_encoder(
    tight: TestClient, gate: Gate, pool: ThreadPoolExecutor
) -> None:
    gate.batching._max_queue = 100
    calls: Calls = tight.app.state.calls  # type: ignore[attr-defined]
    most = factory.CONCURRENT_CALLS + 2
    sent = [store(tight, pool, f"text {number}") for number in range(most)]
    wait_for(threading.Event(), lambda: calls.waiting == 2)
    item = {"modality": "text", "text": "given", "space": "fake", "vector": [1.0] * 384}
    assert tight.post("/store", json={"items": [item]}).status_code == 201
    refused(tight.post("/store", json={"items": [item, *items("late")["items"]]}))
    gate.open.set()
    assert {each.result(10).status_code for each in sent} == {201}


def test_one_request_of_many_items_is_let_in_while_nobody_waits(tight: TestClient) -> None:
    assert tight.post("/store", json=items("a", "b", "c", "d", "e")).status_code == 201
    assert "memory_service_batch_rejected_items_total{" not in tight.get("/metrics").text


@pytest.mark.anyio
async def test_how_long_to_stay_away_follows_from_how_long_calls_take() -> None:
    calls = Calls(concurrent=2, most_waiting=0)
    calls._call_s = 12.0
    calls._present = 2
    with pytest.raises(Overloaded) as caught:
        await calls.run(lambda: None)
    assert caught.value.details["retry_after_s"] == 12
    calls._present = 0
    assert await calls.run(lambda: 7) == 7
    assert calls._call_s < 12.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
