"""Bodies and forms that cannot be read are refused, and nothing is stored."""

import base64
import threading

import pytest
from fastapi.testclient import TestClient
from problem_answers import assert_problem, state

from memory_service.api import bodies, items
from memory_service.settings import Settings

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
    "metadata that no filter finds": (
        b'{"items": [{"modality": "text", "text": "a"}], "metadata": {"a": 18446744073709551615}}',
        422,
        "invalid_input",
    ),
    "metadata of no name": (
        b'{"items": [{"modality": "text", "text": "a"}], "metadata": {"": 1}}',
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
    deep = "[" * 50_000
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


@pytest.mark.parametrize("size", [0, 1, 3 * 2**18 - 1, 3 * 2**18, 3 * 2**18 + 1, 2_000_003])
@pytest.mark.parametrize("lines", [False, True])
def test_base64_in_pieces_is_base64(size: int, lines: bool) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    encode = base64.encodebytes if lines else base64.b64encode
    assert items._decoded(encode(content[:size]).decode()) == content[:size]


@pytest.mark.parametrize("at", [0, 2**20 - 2, 2**20 - 1, 2**20, 2**20 + 5])
@pytest.mark.parametrize("wrong", ["=", "*", "A", "====", "é"])
def test_base64_in_pieces_is_as_strict(at: int, wrong: str) -> None:
    value = "AAAA" * (2**18 + 4)
    with pytest.raises(ValueError, match=r"."):
        items._decoded(value[:at] + wrong + value[at:])


def test_no_piece_is_decoded_for_long() -> None:
    """What is decoded at once keeps all other threads waiting."""
    value = base64.b64encode(bytes(9 * 2**20)).decode()
    assert max(len(piece) for piece in items._pieces(value)) <= items.PIECE


def test_large_bodies_are_read_in_a_thread(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    real = bodies._items

    def noted(body: object) -> object:
        seen.append(threading.current_thread().name)
        return real(body)  # type: ignore[arg-type]

    monkeypatch.setattr(bodies, "_items", noted)
    small = {"items": [{"modality": "text", "text": "a"}]}
    large = {"items": [*small["items"], {"modality": "image", "data": "A" * 1_200_000}]}
    assert client.post("/store", json=small).status_code == 201
    assert client.post("/store", json=large).json()["code"] == "unsupported_media"
    assert "AnyIO worker thread" in seen[1]
    assert "AnyIO worker thread" not in seen[0]
