"""What the tests of bad input share: a good picture and sound, and what to see of an answer."""

from pathlib import Path

import httpx
from fastapi.testclient import TestClient

from memory_service.settings import Settings

TIGER = Path(__file__).parents[2] / "samples/tuxpaint-stamps/animals/mammals/cats/tiger"


PNG = TIGER.with_suffix(".png").read_bytes()


OGG = TIGER.with_suffix(".ogg").read_bytes()


def state(client: TestClient, settings: Settings) -> tuple:
    """Everything that a failed request must not change."""
    files = sorted(path.name for path in (settings.data_dir / "blobs").rglob("*") if path.is_file())
    memories = [memory["id"] for memory in client.get("/memories").json()["memories"]]
    return client.get("/stats").json(), files, memories


def assert_problem(answer: httpx.Response, status: int, code: str) -> dict:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["status"], body["code"]) == (status, code)
    assert body["title"]
    assert body["detail"]
    return body
