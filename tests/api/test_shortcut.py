"""Frequent requests go past the router, and are answered as if they had not."""

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from memory_service.api import create_app
from memory_service.api.shortcut import Shortcut
from memory_service.settings import Settings

STORE = {"items": [{"modality": "text", "text": "a cat"}]}
REQUESTS: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/retrieve", {"json": {"query": {"text": "a cat"}, "modalities": ["text"]}}),
    ("POST", "/retrieve", {"json": {"query": {"text": "a cat"}, "k": 0}}),
    ("POST", "/retrieve", {"json": {"query": {"text": "a cat"}, "unknown": 1}}),
    ("POST", "/retrieve", {"json": {"query": {"text": "a cat"}, "filter": {"$nope": 1}}}),
    ("POST", "/retrieve", {"content": b"{", "headers": {"content-type": "application/json"}}),
    ("POST", "/retrieve", {"content": b"x", "headers": {"content-type": "text/csv"}}),
    ("POST", "/store", {"json": {"items": []}}),
    ("POST", "/store", {"json": STORE | {"if_duplicate": "skip"}}),
    ("GET", "/store", {}),
    ("PUT", "/retrieve", {}),
    ("POST", "/retrieve/", {"json": {}}),
]
OWN = {"x-request-id", "date"}


def told(answer: Any) -> tuple[int, dict[str, str], Any]:
    body = answer.json()
    if "timings_ms" in body:
        body["timings_ms"] = sorted(body["timings_ms"])
    headers = {k: v for k, v in answer.headers.items() if k not in OWN | {"content-length"}}
    return answer.status_code, headers, json.dumps(body, sort_keys=True)


def test_the_answers_are_those_of_the_router(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.post("/store", json=STORE)

    def answers() -> list[tuple[int, dict[str, str], Any]]:
        return [told(client.request(*each[:2], **each[2])) for each in REQUESTS]

    short = answers()

    async def the_long_way(self: Shortcut, *asgi: Any) -> None:
        await self._app(*asgi)

    monkeypatch.setattr(Shortcut, "__call__", the_long_way)
    assert answers() == short


def test_what_nobody_expects_is_an_internal_error(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    retriever = client.app.state.application.retriever  # type: ignore[attr-defined]
    monkeypatch.setattr(retriever, "retrieve", lambda *_, **__: 1 / 0)
    answer = client.post("/retrieve", json={"query": {"text": "a cat"}})
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")


def test_requests_are_counted_under_their_route(client: TestClient) -> None:
    client.post("/retrieve", json={"query": {"text": "a cat"}})
    line = 'memory_service_requests_total{method="POST",route="/retrieve",status="200"} 1.0'
    assert line in client.get("/metrics").text


def test_a_key_is_asked_for(settings: Settings) -> None:
    app = create_app(settings=settings.model_copy(update={"auth": "required"}))
    with TestClient(app) as client:
        assert client.post("/store", json=STORE).status_code == 401
