"""More than a thousand broken media and bodies: each is refused with a 4xx, nothing is stored, and
the service goes on.
"""

import base64
import json
from collections.abc import Callable, Iterator
from types import ModuleType

import broken_bodies
import broken_media
import httpx
import pytest
from fastapi.testclient import TestClient
from problem_answers import state

from memory_service.api import create_app
from memory_service.settings import Settings


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(
        data_dir=tmp_path_factory.mktemp("fuzz") / "data",
        profile="fake",
        max_upload_bytes=2_000_000,
        max_pixels=1_000_000,
        max_audio_s=20.0,
        max_text_chars=2_000,
        max_metadata_bytes=1_000,
        max_k=100,
    )


@pytest.fixture(scope="module")
def client(settings: Settings) -> Iterator[TestClient]:
    """A service that remembers something, so that queries and generations reach all of it."""
    with TestClient(create_app(settings=settings), raise_server_exceptions=False) as client:
        for modality, content in broken_media.GOOD.values():
            assert client.post("/store", files={modality: content}).status_code == 201
        yield client


def wrong(client: TestClient, answer: httpx.Response, stats: dict, good: bool) -> str | None:
    """What is not as it should be about an answer, and about the store after it."""
    if good:
        if not answer.is_success:
            return f"{answer.status_code} in place of success: {answer.text[:200]}"
        if answer.request.url.path == "/store":
            forgotten = client.delete(f"/episodes/{answer.json()['episode']['id']}")
            assert forgotten.status_code == 200
        return None
    if not answer.is_client_error:
        return f"{answer.status_code}: {answer.text[:200]}"
    if answer.headers["content-type"] != "application/problem+json":
        return f"{answer.status_code} as {answer.headers['content-type']}"
    if not (answer.json()["code"] and answer.json()["detail"]) or len(answer.content) > 20_000:
        return f"{answer.status_code} that says little, or too much: {answer.text[:200]}"
    if client.get("/stats").json() != stats:
        return f"{answer.status_code}, but the store is another"
    return None


def size_of(module: ModuleType) -> int:
    return len(module.corpus())


def test_the_corpus_is_large_and_the_same_at_every_run() -> None:
    assert size_of(broken_media) > 300
    assert size_of(broken_bodies) > 300
    assert broken_media.corpus() == broken_media.corpus()
    for module in (broken_media, broken_bodies):
        assert set(module.corpus()) >= module.STILL_GOOD


@pytest.mark.parametrize("route", ["/store", "/retrieve", "/generate"])
@pytest.mark.parametrize("make", broken_media.MAKERS, ids=lambda make: make.__name__)
def test_broken_media_are_refused(
    client: TestClient,
    settings: Settings,
    make: Callable[[], Iterator[broken_media.Broken]],
    route: str,
) -> None:
    found: dict[str, str] = {}
    before = state(client, settings)
    for name, modality, content in make():
        good = name in broken_media.STILL_GOOD
        if good and route == "/generate":  # which would be remembered
            continue
        answer = client.post(route, files={modality: ("file", content)})
        if problem := wrong(client, answer, before[0], good):
            found[name] = problem
    assert not found
    assert state(client, settings) == before


def lines_of_batches() -> dict[str, bytes]:
    """The broken bodies of /store, and the broken media as items, each in a line of its own."""
    lines = {
        name: content
        for name, route, headers, content in broken_bodies.corpus().values()
        if route == "/store" and headers == broken_bodies.JSON
        if b"\n" not in content and content.strip()
    }
    for name, modality, content in broken_media.corpus().values():
        item = {"modality": modality, "data": base64.b64encode(content).decode()}
        lines[name] = json.dumps({"items": [item]}).encode()
    return lines


def test_broken_lines_of_a_batch_are_refused(client: TestClient, settings: Settings) -> None:
    before = state(client, settings)
    lines = lines_of_batches()
    assert len(lines) > 500
    answer = client.post(
        "/store/batch",
        content=b"\n".join(lines.values()),
        headers={"content-type": "application/x-ndjson"},
    )
    assert answer.status_code == 200, answer.text
    answers = [json.loads(line) for line in answer.text.splitlines()]
    assert [each["index"] for each in answers] == list(range(len(lines)))
    good = broken_media.STILL_GOOD | broken_bodies.STILL_GOOD
    found = {}
    for name, each in zip(lines, answers, strict=True):
        if name in good and each["status"] == 201:
            client.delete(f"/episodes/{each['episode']['id']}")
        elif name in good or not 400 <= each["status"] < 500 or not each["code"]:
            found[name] = each
    assert not found
    assert state(client, settings) == before


@pytest.mark.parametrize("make", broken_bodies.MAKERS, ids=lambda make: make.__name__)
def test_broken_bodies_are_refused(
    client: TestClient, settings: Settings, make: Callable[[], Iterator[broken_bodies.Body]]
) -> None:
    found: dict[str, str] = {}
    before = state(client, settings)
    for name, route, headers, content in make():
        good = name in broken_bodies.STILL_GOOD
        answer = client.post(route, content=content, headers=headers)
        if problem := wrong(client, answer, before[0], good):
            found[name] = problem
        if good and route == "/generate":
            before = state(client, settings)
    assert not found
    assert state(client, settings) == before
