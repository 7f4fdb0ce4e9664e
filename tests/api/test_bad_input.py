"""Bad input gets a clear problem with a stable code, and leaves the store unchanged."""

import base64
import io
import struct
import zlib
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
from fastapi.testclient import TestClient
from PIL import Image

from memory_service.settings import Settings
from memory_service.storage import blobs

TIGER = Path(__file__).parents[2] / "samples/tuxpaint-stamps/animals/mammals/cats/tiger"
PNG = TIGER.with_suffix(".png").read_bytes()
OGG = TIGER.with_suffix(".ogg").read_bytes()


def bomb() -> bytes:
    """A PNG of a few bytes whose header promises 10^10 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


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


BODIES = {
    "empty body": (b"", 400, "malformed_json"),
    "malformed JSON": (b'{"items": [', 400, "malformed_json"),
    "no items": (b'{"items": []}', 422, "invalid_input"),
    "unknown modality": (b'{"items": [{"modality": "smell", "data": "YQ=="}]}', 422, None),
    "malformed base64": (b'{"items": [{"modality": "image", "data": "a$b"}]}', 422, None),
    "malformed data URI": (b'{"items": [{"modality": "image", "data": "data:x"}]}', 422, None),
    "neither data nor text": (b'{"items": [{"modality": "text"}]}', 422, "invalid_input"),
    "text as picture": (b'{"items": [{"modality": "image", "text": "a"}]}', 422, None),
    "metadata of NaN": (
        b'{"items": [{"modality": "text", "text": "a"}], "metadata": {"a": NaN}}',
        422,
        "invalid_input",
    ),
}


@pytest.mark.parametrize("name", BODIES)
def test_store_refuses_json(
    client: TestClient, settings: Settings, stored: dict, name: str
) -> None:
    content, status, code = BODIES[name]
    before = state(client, settings)
    answer = client.post("/store", content=content, headers={"content-type": "application/json"})
    assert_problem(answer, status, code or "invalid_input")
    assert state(client, settings) == before


FORM = {"content-type": "multipart/form-data; boundary=b"}


def form(*parts: tuple[str, bytes], end: bytes = b"--b--\r\n") -> bytes:
    """A multipart body by hand: (header of the part, content) each, then `end`."""
    return b"".join(
        b"--b\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + content + b"\r\n"
        for head, content in parts
    ) + end  # fmt: skip


TEXT = ('name="text"; filename="a.txt"', b"a cat")
FORMS = {
    "no last boundary": form(TEXT, ('name="text"; filename="b.txt"', b"a dog"), end=b""),
    "cut within a part": form(TEXT)[:-20],
    "a field that is not UTF-8": form(TEXT, ('name="metadata"', b'{"a": "caf\xe9"}')),
    "no boundary at all": b"what is this",
    "a part without a name": form(("", b"a cat")),
}


@pytest.mark.parametrize("name", FORMS)
def test_store_refuses_broken_forms(
    client: TestClient, settings: Settings, stored: dict, name: str
) -> None:
    assert client.post("/store", content=form(TEXT), headers=FORM).status_code == 201
    before = state(client, settings)
    answer = client.post("/store", content=FORMS[name], headers=FORM)
    assert_problem(answer, 400, "malformed_body")
    assert state(client, settings) == before


def test_json_nested_beyond_reason_is_refused(client: TestClient, stored: dict) -> None:
    deep = "[" * 100_000
    answer = client.post("/store", files={"text": b"a"}, data={"metadata": deep})
    assert_problem(answer, 422, "invalid_input")


def test_a_body_of_another_type_is_refused(client: TestClient) -> None:
    answer = client.post("/store", content=b"<a/>", headers={"content-type": "text/xml"})
    body = assert_problem(answer, 415, "unsupported_content_type")
    assert body["accepted"] == ["application/json", "multipart/form-data"]


def test_a_body_above_the_limit_is_refused_by_its_header(client: TestClient) -> None:
    assert_problem(client.post("/store", content=b"x" * 5_000_000), 413, "too_large")


def test_a_body_above_the_limit_is_refused_while_it_streams(
    client: TestClient, settings: Settings, stored: dict
) -> None:
    before = state(client, settings)
    chunks = (b"x" * 100_000 for _ in range(50))  # no Content-Length
    answer = client.post("/store", content=chunks, headers={"content-type": "application/json"})
    assert_problem(answer, 413, "too_large")
    assert state(client, settings) == before


VECTOR = [0.1] * 384
QUERIES = {
    "k of 0": ({"query": {"text": "a"}, "k": 0}, "invalid_input"),
    "k of a million": ({"query": {"text": "a"}, "k": 1_000_000}, "invalid_input"),
    "vector of a wrong dimension": ({"query": {"vector": [0.1] * 5}}, "invalid_vector"),
    "NaN in a vector": ({"query": {"vector": [float("nan"), *VECTOR[1:]]}}, "invalid_vector"),
    "infinity in a vector": ({"query": {"vector": [float("inf"), *VECTOR[1:]]}}, "invalid_vector"),
    "vector of zeros": ({"query": {"vector": [0.0] * 384}}, "invalid_vector"),
    "odd vector bytes": ({"query": {"vector": "YWJj"}}, "invalid_vector"),
    "vector that is not base64": ({"query": {"vector": "%%%"}}, "invalid_input"),
    "no parts": ({"query": []}, "invalid_input"),
    "part of nothing": ({"query": {}}, "invalid_input"),
    "part of two kinds": ({"query": {"text": "a", "vector": VECTOR}}, "invalid_input"),
    "weight of 0": ({"query": {"text": "a", "weight": 0}}, "invalid_input"),
    "unknown modality": ({"query": {"text": "a"}, "modalities": ["smell"]}, "invalid_input"),
    "unknown mode": ({"query": {"text": "a"}, "mode": "psychic"}, "invalid_input"),
    "namespace with a path": ({"query": {"text": "a"}, "namespace": "a/b"}, "invalid_input"),
    "filter field with a quote": ({"query": {"text": "a"}, "filter": {'a"': 1}}, "invalid_input"),
    "filter value of an object": ({"query": {"text": "a"}, "filter": {"a": {}}}, "invalid_input"),
}


@pytest.mark.parametrize("path", ["/retrieve", "/generate"])
@pytest.mark.parametrize("name", QUERIES)
def test_queries_refuse(
    client: TestClient, settings: Settings, stored: dict, path: str, name: str
) -> None:
    body, code = QUERIES[name]
    if "modalities" in body and path == "/generate":
        body = {"query": body["query"], "output": body["modalities"]}
    before = state(client, settings)
    # httpx refuses NaN in JSON; other clients do not.
    import json

    answer = client.post(
        path, content=json.dumps(body), headers={"content-type": "application/json"}
    )
    assert_problem(answer, 422, code)
    assert state(client, settings) == before


@pytest.mark.parametrize(
    "more",
    [
        {"creativity": -0.1},
        {"creativity": 1.5},
        {"seed": -1},
        {"seed": 2**64},
        {"fusion": "blend"},
        {"output": []},
    ],
    ids=str,
)
def test_generate_refuses(client: TestClient, stored: dict, more: dict) -> None:
    answer = client.post("/generate", json={"query": {"text": "a"}, **more})
    assert_problem(answer, 422, "invalid_input")


def test_an_empty_memory_has_nothing_to_generate_from(client: TestClient) -> None:
    answer = client.post("/generate", json={"query": {"text": "a"}, "namespace": "empty"})
    assert_problem(answer, 409, "nothing_remembered")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/memories/nobody"),
        ("GET", "/memories/nobody/content"),
        ("DELETE", "/memories/nobody"),
        ("GET", "/episodes/nobody"),
        ("DELETE", "/episodes/nobody"),
        ("GET", "/generations/nobody"),
        ("GET", "/generations/nobody/content"),
        ("POST", "/generations/nobody/replay"),
        ("GET", "/memories/..%2F..%2Fetc%2Fpasswd"),
        ("GET", "/no/such/route"),
    ],
)
def test_what_is_not_there(client: TestClient, method: str, path: str) -> None:
    assert_problem(client.request(method, path), 404, "not_found")


def test_a_method_that_a_route_does_not_take(client: TestClient) -> None:
    assert_problem(client.put("/store"), 405, "method_not_allowed")


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "after=x", "modality=smell", "filter={"])
def test_listing_refuses(client: TestClient, query: str) -> None:
    assert_problem(client.get(f"/memories?{query}"), 422, "invalid_input")


def test_media_that_cannot_be_answered_as_asked(client: TestClient, stored: dict) -> None:
    body = {"query": {"text": "a"}, "output": "image"}
    answer = client.post("/generate", json=body, headers={"accept": "audio/wav"})
    assert assert_problem(answer, 406, "not_acceptable")["accepted"] == [
        "application/json",
        "image/png",
    ]


def test_a_full_disk_is_said_and_nothing_is_stored(
    client: TestClient, settings: Settings, stored: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state(client, settings)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(blobs.os, "write", full)
        body = {"items": [{"modality": "text", "text": "one more"}]}
        assert_problem(client.post("/store", json=body), 507, "storage_full")
    assert state(client, settings) == before
    assert client.post("/store", json=body).status_code == 201


def test_what_is_accepted_is_said(client: TestClient) -> None:
    body = client.post("/store", files={"image": OGG}).json()
    assert body["found"] == "audio/ogg"
    assert "image/png" in body["accepted"]


def test_an_unexpected_failure_says_nothing_of_the_inside(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret path")

    monkeypatch.setattr(type(client.app.state.application.memory), "stats", broken)
    answer = client.get("/stats", headers={"X-Request-Id": "seven"})
    assert_problem(answer, 500, "internal_error")
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"] == "seven"


def test_base64_media_must_decode(client: TestClient) -> None:
    part = {"image": base64.b64encode(b"no picture").decode()}
    assert_problem(client.post("/retrieve", json={"query": part}), 415, "unsupported_media")


@pytest.mark.parametrize(
    "body",
    [
        {"query": {"vector": ["a"] * 50_000}},
        {"query": {"text": "a"}, "modalities": [1] * 50_000},
        {"query": {"text": "a"}, **{f"field {n}": 1 for n in range(5_000)}},
        {"query": [7] * 50_000},
    ],
    ids=["vector", "modalities", "unknown fields", "parts"],
)
def test_a_body_wrong_in_many_places_gets_a_short_answer(client: TestClient, body: dict) -> None:
    answer = client.post("/retrieve", json=body)
    assert_problem(answer, 422, "invalid_input")
    assert len(answer.content) < 10_000


def test_a_query_part_is_told_by_its_place(client: TestClient) -> None:
    answer = client.post("/retrieve", json={"query": {"text": "a", "weight": "heavy"}})
    [found] = assert_problem(answer, 422, "invalid_input")["errors"]
    assert found["field"] == "query.0.weight"
    answer = client.post("/retrieve", json={"query": {"vector": ["a"]}})
    fields = {each["field"] for each in assert_problem(answer, 422, "invalid_input")["errors"]}
    assert fields == {"query.0.vector.0", "query.0.vector"}


def test_fields_are_not_given_twice_except_lists(client: TestClient, stored: dict) -> None:
    namespaces = [("text", (None, "a")), ("namespace", (None, "one")), ("namespace", (None, "two"))]
    assert_problem(client.post("/retrieve", files=namespaces), 422, "invalid_input")
    several = [
        ("text", (None, "a")),
        ("modalities", (None, "image")),
        ("modalities", (None, "audio")),
    ]
    answer = client.post("/retrieve", files=several)
    assert set(answer.json()["results"]) == {"image", "audio"}


def test_a_field_as_a_file_must_be_utf8(
    client: TestClient, settings: Settings, stored: dict
) -> None:
    before = state(client, settings)
    files = {"text": b"a", "metadata": ("metadata.json", b'{"a": "caf\xe9"}')}
    assert_problem(client.post("/store", files=files), 400, "malformed_body")
    assert state(client, settings) == before


def test_base64_may_have_line_breaks(client: TestClient) -> None:
    for data in (
        base64.encodebytes(PNG).decode(),
        "DATA:image/png;base64," + base64.b64encode(PNG).decode(),
    ):
        body = {"items": [{"modality": "image", "data": data}]}
        assert client.post("/store", json=body).status_code == 201


def test_head_answers_like_get_without_the_body(client: TestClient, stored: dict) -> None:
    path = f"/memories/{stored['memories'][0]['id']}/content"
    head, whole = client.head(path), client.get(path)
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["content-length"] == str(len(whole.content))
    assert client.head("/livez").status_code == 200
