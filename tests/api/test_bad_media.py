"""Media that are broken, of another type or too large are refused, and nothing is stored."""

import base64
import io
import struct
import zlib

import httpx
import numpy as np
import pytest
import soundfile
from fastapi.testclient import TestClient
from PIL import Image
from problem_answers import OGG, PNG, assert_problem, state

from memory_service.settings import Settings
from memory_service.storage import blobs


def png(side: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """Of a picture that has nothing of what its header promises but the first bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = b"\0" * max(1000, (3 * side + 1) * min(side, 8))
    own = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in own)


def bomb() -> bytes:
    """A few bytes whose header promises 10^10 pixels."""
    return png(100_000)


# name: (modality, bytes, found, accepted, setting), by the limits of conftest
LARGE = {
    "above Pillow's limit": ("image", png(60_000), 3_600_000_000, 1_000_000, "MAX_PIXELS"),
    "above ours": ("image", png(2_000), 4_000_000, 1_000_000, "MAX_PIXELS"),
    "a long text": ("text", b"word " * 500, 2500, 2000, "MAX_TEXT_CHARS"),
}


@pytest.mark.parametrize("name", LARGE)
def test_what_is_too_large_is_told_in_numbers_and_by_the_setting(
    client: TestClient, name: str
) -> None:
    modality, content, found, accepted, setting = LARGE[name]
    answer = client.post("/store", files={modality: content})
    assert_problem(answer, 413, "too_large")
    told = answer.json()
    assert (told["found"], told["accepted"]) == (found, accepted)
    assert told["setting"] == f"MEMORY_SERVICE_{setting}"
    for each in (str(found), str(accepted), told["setting"]):
        assert each in told["detail"]


def test_a_large_text_in_a_picture_is_not_called_broken(client: TestClient) -> None:
    def stored(text: bytes) -> httpx.Response:
        picture = png(8, (b"zTXt", b"Comment\0\0" + zlib.compress(text)))
        return client.post("/store", files={"image": picture})

    assert stored(b"x").status_code == 201
    answer = stored(b"x" * 2_000_000)
    assert_problem(answer, 413, "too_large")
    assert "zTXt" in answer.json()["detail"]
    assert "broken" not in answer.json()["detail"]


def wav(seconds: float, rate: int = 8000, value: float = 0.1) -> bytes:
    buffer = io.BytesIO()
    samples = np.full(int(seconds * rate), value, np.float32)
    soundfile.write(buffer, samples, rate, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


def two_hours() -> bytes:
    """A FLAC of two silent hours: long, but small."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(7200 * 100, np.int16), 100, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


JPEG = io.BytesIO()


Image.new("RGB", (64, 64), "red").save(JPEG, "JPEG")


# name: (multipart files, form fields, status, code)
STORES = {
    "broken picture": ({"image": b"\x89PNG\r\n\x1a\n" + b"\1" * 100}, {}, 422, "invalid_media"),
    "truncated picture": ({"image": PNG[: len(PNG) // 2]}, {}, 422, "invalid_media"),
    "truncated jpeg": ({"image": JPEG.getvalue()[:400]}, {}, 422, "invalid_media"),
    "truncated sound": ({"audio": wav(1)[:5000]}, {}, 422, "invalid_media"),
    "truncated Ogg": ({"audio": OGG[: len(OGG) * 3 // 4]}, {}, 422, "invalid_media"),
    "broken sound": ({"audio": b"OggS" + b"\2" * 200}, {}, 422, "invalid_media"),
    "sound that is a picture": ({"audio": PNG}, {}, 415, "unsupported_media"),
    "picture that is a sound": ({"image": OGG}, {}, 415, "unsupported_media"),
    "picture that is a PDF": ({"image": b"%PDF-1.7 ..."}, {}, 415, "unsupported_media"),
    "text that is a picture": ({"text": PNG}, {}, 415, "unsupported_media"),
    "text that is not UTF-8": ({"text": b"caf\xe9 au lait"}, {}, 422, "invalid_media"),
    "blank text": ({"text": b" \n"}, {}, 422, "invalid_media"),
    "empty picture": ({"image": b""}, {}, 422, "invalid_media"),
    "decompression bomb": ({"image": bomb()}, {}, 413, "too_large"),
    "two hours of sound": ({"audio": two_hours()}, {}, 413, "too_large"),
    "long text": ({"text": b"word " * 500}, {}, 413, "too_large"),
    "sound with NaN": ({"audio": wav(0.2, value=float("nan"))}, {}, 422, "invalid_media"),
    "sound without samples": ({"audio": wav(0)}, {}, 422, "invalid_media"),
    "good picture, broken sound": (
        {"image": PNG, "audio": OGG[:300]},
        {},
        422,
        "invalid_media",
    ),
    "metadata that is not JSON": ({"text": b"a"}, {"metadata": "{a"}, 422, "invalid_input"),
    "metadata that is a list": ({"text": b"a"}, {"metadata": "[1]"}, 422, "invalid_input"),
    "metadata too large": (
        {"text": b"a"},
        {"metadata": '{"a": "' + "x" * 2000 + '"}'},
        413,
        "too_large",
    ),
    "namespace with a path": ({"text": b"a"}, {"namespace": "../etc"}, 422, "invalid_input"),
    "unknown field": ({"text": b"a"}, {"colour": "red"}, 422, "invalid_input"),
    "unknown if_duplicate": ({"text": b"a"}, {"if_duplicate": "drop"}, 422, "invalid_input"),
}


@pytest.mark.parametrize("name", STORES)
def test_store_refuses(client: TestClient, settings: Settings, stored: dict, name: str) -> None:
    files, fields, status, code = STORES[name]
    before = state(client, settings)
    assert_problem(client.post("/store", files=files, data=fields), status, code)
    assert state(client, settings) == before


def test_a_full_disk_is_said_and_nothing_is_stored(
    client: TestClient, settings: Settings, stored: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state(client, settings)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(blobs.os, "write", full)
        files = {"text": b"one more", "audio": wav(1)}  # of which the sound becomes a file
        assert_problem(client.post("/store", files=files), 507, "storage_full")
    assert state(client, settings) == before
    assert client.post("/store", files=files).status_code == 201


@pytest.mark.parametrize("path", ["/store", "/store/batch", "/retrieve", "/generate", "/evaluate"])
def test_a_packed_body_is_refused(client: TestClient, path: str) -> None:
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    answer = client.post(path, content=b"\x1f\x8b123", headers=headers)
    assert_problem(answer, 415, "unsupported_content_type")
    assert answer.json()["found"] == "gzip"
    assert answer.json()["accepted"] == ["identity"]
    assert answer.headers["accept-encoding"] == "identity"


def test_identity_is_no_packing(client: TestClient) -> None:
    body = {"items": [{"modality": "text", "text": "a hen"}]}
    headers = {"Content-Encoding": "identity"}
    assert client.post("/store", json=body, headers=headers).status_code == 201


FOUND = {
    "a mode": ("/retrieve", {"query": {"text": "a"}, "modalities": ["poem"]}, "poem"),
    "k": ("/generate", {"query": {"text": "a"}, "k": 0}, 0),
    "a weight": ("/retrieve", {"query": {"text": "a"}, "recency_weight": -1}, -1),
    "a time": ("/store", {"items": [{"modality": "text", "text": "a"}], "ttl_s": 1e308}, 1e308),
    "a name": ("/store", {"items": [{"modality": "text", "text": "a"}], "namespace": "a b"}, "a b"),
}


@pytest.mark.parametrize("name", FOUND)
def test_found_is_the_value_itself(client: TestClient, name: str) -> None:
    path, body, found = FOUND[name]
    answer = client.post(path, json=body)
    assert_problem(answer, 422, "invalid_input")
    assert answer.json()["found"] == found


def test_a_time_beyond_all_is_told_the_latest(client: TestClient) -> None:
    body = {"items": [{"modality": "text", "text": "a"}], "ttl_s": 1e308}
    assert "at most 1e+12" in client.post("/store", json=body).json()["detail"]


def test_what_is_accepted_is_said(client: TestClient) -> None:
    body = client.post("/store", files={"image": OGG}).json()
    assert body["found"] == "audio/ogg"
    assert "image/png" in body["accepted"]


def test_base64_media_must_decode(client: TestClient) -> None:
    part = {"image": base64.b64encode(b"no picture").decode()}
    assert_problem(client.post("/retrieve", json={"query": part}), 415, "unsupported_media")


def test_base64_may_have_line_breaks(client: TestClient) -> None:
    for data in (
        base64.encodebytes(PNG).decode(),
        "DATA:image/png;base64," + base64.b64encode(PNG).decode(),
    ):
        body = {"items": [{"modality": "image", "data": data}]}
        assert client.post("/store", json=body).status_code == 201
