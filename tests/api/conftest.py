"""The real app over httpx, with the fake profile and a store in a temporary folder."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from memory_service.api import create_app
from memory_service.api.metrics import Metrics
from memory_service.api.middleware import CLIENT_CLOSED
from memory_service.settings import Settings

SAMPLES = Path(__file__).parents[2] / "samples/tuxpaint-stamps"


@cache
def declared() -> set[tuple[str, str, int]]:
    """(method, route, status) of all that the OpenAPI document says may be answered."""
    paths = create_app(settings=Settings(profile="fake")).openapi()["paths"]
    return {
        (method.upper(), path, int(status))
        for path, operations in paths.items()
        for method, operation in operations.items()
        for status in operation["responses"]
    }


@pytest.fixture(autouse=True)
def only_declared_statuses(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a test asks, the answer's status is one that the OpenAPI document has."""
    seen: set[tuple[str, str, int]] = set()
    request = Metrics.request

    def noted(self: Metrics, method: str, route: str, status: int, seconds: float) -> None:
        seen.add((method, route, status))
        request(self, method, route, status, seconds)

    monkeypatch.setattr(Metrics, "request", noted)
    yield
    routes = {(method, route) for method, route, _ in declared()}
    undeclared = {each for each in seen if each[:2] in routes} - declared()
    assert not undeclared - {each for each in seen if each[2] == CLIENT_CLOSED}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        data_dir=tmp_path / "data",
        profile="fake",
        max_upload_bytes=2_000_000,
        max_pixels=1_000_000,
        max_audio_s=20.0,
        max_text_chars=2_000,
        max_metadata_bytes=1_000,
        max_k=100,
    )


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings=settings), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="session")
def tiger() -> dict[str, bytes]:
    stem = SAMPLES / "animals/mammals/cats/tiger"
    return {
        "image": stem.with_suffix(".png").read_bytes(),
        "audio": stem.with_suffix(".ogg").read_bytes(),
        "text": stem.with_suffix(".txt").read_bytes(),
    }


@pytest.fixture
def stored(client: TestClient, tiger: dict[str, bytes]) -> dict:
    """An episode of all three modalities, as the service answered it."""
    answer = client.post("/store", files=tiger, data={"metadata": '{"place": "jungle"}'})
    assert answer.status_code == 201, answer.text
    return answer.json()["episode"]
