"""Rates by key, slow and large uploads, requests that take too long or whose client has left."""

import asyncio
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.requests import ClientDisconnect

from memory_service.api import create_app
from memory_service.api.calls import Calls
from memory_service.api.metrics import Metrics
from memory_service.api.rates import Bucket
from memory_service.app import Application
from memory_service.errors import TimedOut, WaitedTooLong
from memory_service.services.timing import Stopwatch
from memory_service.settings import Settings

ITEM = {"items": [{"modality": "text", "text": "a hen"}]}


def test_a_bucket_fills_up_again() -> None:
    bucket = Bucket(per_s=2.0, size=3.0, now=10.0)
    assert [bucket.take(1, 10.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert bucket.take(1, 10.25) == pytest.approx(0.25)
    assert bucket.take(1, 10.5) == 0.0
    assert [bucket.take(1, 100.0) for _ in range(3)] == [0.0] * 3  # never more than its size
    assert bucket.take(1, 100.0) == 0.5


def limited(settings: Settings, **given: Any) -> TestClient:
    return TestClient(create_app(settings=settings.model_copy(update=given)))


def test_each_key_has_its_own_rate(settings: Settings) -> None:
    with limited(settings, auth="required", requests_per_s=0.001, request_burst=2) as client:
        keys = client.app.state.application.keys  # type: ignore[attr-defined]
        one, other = (
            {"Authorization": f"Bearer {keys.create(name, 'read')[1]}"} for name in ("one", "other")
        )
        free = keys.create("free", "read", requests_per_s=0)[1]
        assert [client.get("/stats", headers=one).status_code for _ in range(3)] == [200, 200, 429]
        refused = client.get("/stats", headers=one)
        assert refused.json()["code"] == "rate_limited"
        assert int(refused.headers["retry-after"]) == refused.json()["retry_after_s"] > 100
        assert client.get("/stats", headers=other).status_code == 200
        unlimited = {"Authorization": f"Bearer {free}"}
        assert {client.get("/stats", headers=unlimited).status_code for _ in range(9)} == {200}
        assert {client.get("/livez").status_code for _ in range(9)} == {200}


def test_bytes_per_minute_declared_or_streamed(settings: Settings) -> None:
    with limited(settings, bytes_per_min=1_000) as client:
        text = {"items": [{"modality": "text", "text": "a" * 600}]}
        assert client.post("/store", json=text).status_code == 201
        refused = client.post("/store", json=text)
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        pieces = iter([b'{"items": [{"modality": "text", "text": "', b"b" * 600, b'"}]}'])
        streamed = client.post("/store", content=pieces)
        assert (streamed.status_code, streamed.json()["code"]) == (429, "rate_limited")
        whole = client.post("/store", json={"items": [{"modality": "text", "text": "c" * 1_500}]})
        assert (whole.status_code, whole.json()["code"]) == (413, "too_large")
        assert client.get("/stats").json()["memories"] == 1


def test_a_file_above_its_limit_is_refused_before_the_rest_is_read(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with limited(settings, max_upload_bytes=100_000) as client:
        answer = client.post("/store", files={"audio": b"x" * 100_001})
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        assert answer.json()["accepted"] == 100_000
        many = [("text", ("t", b"a")) for _ in range(65)]
        answer = client.post("/store", files=many)
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed_body")


@pytest.mark.anyio
async def test_an_upload_that_stops_is_given_up(settings: Settings) -> None:
    app = create_app(settings=settings.model_copy(update={"upload_idle_s": 0.05}))
    sent: list[dict[str, Any]] = []
    coming = [{"type": "http.request", "body": b'{"items":', "more_body": True}]

    async def receive() -> dict[str, Any]:
        if coming:
            return coming.pop()
        await asyncio.sleep(60)
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/store",
        "raw_path": b"/store",
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": [(b"host", b"localhost"), (b"content-length", b"500")],
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 1),
    }
    async with app.router.lifespan_context(app):
        await app(scope, receive, send)
    assert sent[0]["status"] == 408
    assert b"slow_upload" in sent[1]["body"]


class Gate:
    """A function that runs until it is let go, in stages."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()
        self.second_stage = False
        self.ended: BaseException | None = None

    def __call__(self) -> str:
        try:
            watch = Stopwatch()
            with watch.stage("decode"):
                self.entered.set()
                assert self.open.wait(20)
            with watch.stage("write"):
                self.second_stage = True
        except BaseException as error:
            self.ended = error
            raise
        return "done"


class FakeRequest:
    """One whose body has been read; `leave` is its client going away."""

    def __init__(self) -> None:
        self.scope: dict[str, Any] = {}
        self.headers: dict[str, str] = {}
        self.leave = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.leave.wait()
        return {"type": "http.disconnect"}


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


@pytest.mark.anyio
async def test_what_has_not_begun_in_time_is_not_done(gate: Gate) -> None:
    metrics = Metrics()
    calls = Calls(1, 5, timeout_s=0.2, observer=metrics)
    first = asyncio.create_task(calls.run(gate))
    await asyncio.to_thread(gate.entered.wait, 10)
    done = []
    with pytest.raises(WaitedTooLong) as caught:
        await calls.run(lambda: done.append("late"))
    assert caught.value.details["retry_after_s"] >= 1
    with pytest.raises(TimedOut):
        await first
    assert calls._present == 1  # it still has its thread
    gate.open.set()
    for _ in range(1000):
        if calls._present:
            await asyncio.sleep(0.01)
    assert isinstance(gate.ended, TimedOut)
    assert not gate.second_stage  # the next stage was not begun
    assert not done
    text = metrics.text().decode()
    assert 'given_up_total{begun="no",reason="timeout"} 1.0' in text
    assert 'given_up_total{begun="yes",reason="timeout"} 1.0' in text
    calls._timeout_s = 60.0
    assert await calls.run(lambda: 7) == 7


@pytest.mark.anyio
async def test_a_queued_request_whose_client_left_is_not_done(gate: Gate) -> None:
    calls = Calls(1, 5)
    first = asyncio.create_task(calls.run(gate))
    await asyncio.to_thread(gate.entered.wait, 10)
    request, done = FakeRequest(), []
    waiting = asyncio.create_task(calls.run(lambda: done.append("late"), request))  # type: ignore[arg-type]
    await asyncio.sleep(0.02)
    assert calls.waiting == 1
    request.leave.set()
    with pytest.raises(ClientDisconnect):
        await waiting
    gate.open.set()
    assert await first == "done"
    assert not done
    assert calls._present == 0


@pytest.mark.anyio
async def test_a_body_that_is_still_coming_is_not_touched() -> None:
    request = FakeRequest()
    request.headers["transfer-encoding"] = "chunked"
    request.leave.set()  # would be taken for a client that left
    calls = Calls(1, 0)
    assert await calls.run(lambda: 7, request) == 7  # type: ignore[arg-type]


def test_a_request_that_takes_too_long_is_answered(settings: Settings) -> None:
    with limited(settings, request_timeout_s=0.05) as client:
        storing = client.app.state.application.storing  # type: ignore[attr-defined]
        real, open_ = storing.store, threading.Event()

        def slow(order: Any) -> Any:
            open_.wait(10)
            return real(order)

        storing.store = slow
        answer = client.post("/store", json=ITEM)
        open_.set()
    assert (answer.status_code, answer.json()["code"]) == (504, "timed_out")
    assert answer.json()["title"] == "Timed out"


def test_indexes_are_visited_once_for_all_their_metrics(
    client: TestClient, stored: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, visits = Application.index_sizes, []

    def noted(self: Application) -> list[tuple[tuple[str, str, str], int, int]]:
        visits.append(real(self))
        return visits[-1]

    monkeypatch.setattr(Application, "index_sizes", noted)
    assert client.get("/metrics").text.count("\nmemory_service_index_") == 2 * len(
        stored["memories"]
    )
    assert len(visits) == 1


def test_metrics_of_what_is_there(client: TestClient, stored: dict[str, Any]) -> None:
    text = client.get("/metrics").text
    assert 'memory_service_index_vectors{modality="image",namespace="default"' in text
    size = re.search(r'memory_service_index_bytes{modality="text".*} (\S+)', text)
    assert size is not None
    assert 2 * 384 < float(size[1]) < 2 * 384 + 64  # one vector in fp16, and its number
    assert 'memory_service_disk_bytes{what="free"}' in text
    assert 'memory_service_batch_encode_seconds_count{modality="text"} 1.0' in text
    assert "memory_service_request_wait_seconds_count" in text
    assert "memory_service_commit_group_episodes_count 1.0" in text
    assert "memory_service_commit_group_episodes_sum 1.0" in text
    assert 'memory_service_catalog_write_seconds_count{what="storing the episode"} 1.0' in text


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
