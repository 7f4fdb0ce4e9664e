"""Ranges of a memory's content, as a browser asks for them when it seeks in a sound."""

import io
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
from fastapi.testclient import TestClient
from PIL import Image

from memory_service.client import Client
from memory_service.demo.service import running_service


@pytest.fixture
def path(stored: dict) -> str:
    """Of the tiger's growl."""
    (sound,) = (each for each in stored["memories"] if each["modality"] == "audio")
    return f"/memories/{sound['id']}/content"


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-", 0, None),
        ("bytes=0-99", 0, 100),
        ("bytes=100-199", 100, 200),
        ("bytes=500-", 500, None),
        ("bytes=-70", -70, None),
        ("bytes=-99999999", 0, None),
        ("bytes=10-99999999", 10, None),
        ("Bytes = 3-3", 3, 4),
    ],
)
def test_a_range(
    client: TestClient, path: str, tiger: dict[str, bytes], asked: str, start: int, end: int | None
) -> None:
    whole = tiger["audio"]
    answer = client.get(path, headers={"Range": asked})
    assert answer.status_code == 206
    assert answer.content == whole[start:end]
    first = start % len(whole)
    last = first + len(answer.content) - 1
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(whole)}"
    assert answer.headers["content-length"] == str(len(answer.content))
    assert answer.headers["content-type"] == "audio/ogg"
    head = client.head(path, headers={"Range": asked})
    assert (head.status_code, head.content) == (206, b"")
    assert head.headers["content-range"] == answer.headers["content-range"]


@pytest.mark.parametrize(
    "asked",
    ["bytes=0-1,5-6", "bytes=9-2", "bytes=-", "bytes=a-b", "seconds=1-2", "5", "bytes=" + "9" * 30],
)
def test_what_is_no_single_range_gets_the_whole(
    client: TestClient, path: str, tiger: dict[str, bytes], asked: str
) -> None:
    answer = client.get(path, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (200, tiger["audio"])
    assert answer.headers["accept-ranges"] == "bytes"
    assert "content-range" not in answer.headers


@pytest.mark.parametrize("asked", ["bytes=99999999-", "bytes=-0", "bytes=99999999-999999999"])
def test_a_range_behind_the_end(
    client: TestClient, path: str, tiger: dict[str, bytes], asked: str
) -> None:
    answer = client.get(path, headers={"Range": asked})
    assert (answer.status_code, answer.json()["code"]) == (416, "range_not_satisfiable")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["content-range"] == f"bytes */{len(tiger['audio'])}"


def test_if_range(client: TestClient, path: str) -> None:
    etag = client.head(path).headers["etag"]
    same = client.get(path, headers={"Range": "bytes=5-", "If-Range": etag})
    other = client.get(path, headers={"Range": "bytes=5-", "If-Range": '"other"'})
    behind = client.get(path, headers={"Range": "bytes=99999999-", "If-Range": '"other"'})
    assert [each.status_code for each in (same, other, behind)] == [206, 200, 200]
    known = client.get(path, headers={"Range": "bytes=5-", "If-None-Match": etag})
    assert (known.status_code, known.content) == (304, b"")


def test_an_altered_content_is_not_answered(client: TestClient, stored: dict, path: str) -> None:
    (sound,) = (each for each in stored["memories"] if each["modality"] == "audio")
    blob = client.app.state.application.store.blobs.path(sound["sha256"])  # type: ignore[attr-defined]
    original = blob.read_bytes()
    blob.write_bytes(b"x" + original[1:])
    for headers in ({}, {"Range": "bytes=0-"}):
        answer = client.get(path, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (500, "storage_failure")
    blob.write_bytes(original[:-1])
    assert client.get(path, headers={"Range": "bytes=5-"}).status_code == 500
    blob.unlink()
    assert client.get(path, headers={"Range": "bytes=5-"}).status_code == 500


def test_the_start_alone_of_a_long_sound(client: TestClient) -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.full(20 * 8000, 0.1), 8000, format="FLAC")
    answer = client.post("/store", files={"audio": buffer.getvalue()})
    (sound,) = answer.json()["episode"]["memories"]
    part = client.get(f"/memories/{sound['id']}/content", params={"start_s": 12})
    assert part.status_code == 200
    assert soundfile.info(io.BytesIO(part.content)).duration == pytest.approx(8.0)


def test_a_memory_that_is_deleted_during_its_download(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3000, 3000, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "BMP")  # 27 MB: more than the sockets hold
    with (
        running_service(tmp_path / "data", tmp_path / "log", profile="fake") as service,
        Client(service.url) as memory,
    ):
        (picture,) = memory.store(image=file.getvalue()).episode.memories
        url = f"{service.url}/memories/{picture.id}/content"
        with httpx.stream("GET", url) as answer:
            chunks = answer.iter_bytes(1000)
            received = [next(chunks)]
            assert memory.forget(picture.id).blobs_removed == (picture.sha256,)
            received += chunks
        assert b"".join(received) == file.getvalue()
        assert httpx.get(url).status_code == 404
    assert "Traceback" not in (tmp_path / "log").read_text()
