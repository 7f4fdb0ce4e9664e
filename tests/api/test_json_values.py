"""JSON of very many values is refused before it is parsed; long strings are not."""

import json

import numpy as np
import pytest
from fastapi.testclient import TestClient

from memory_service.api.json_values import MOST_VALUES, require_few
from memory_service.errors import TooLarge

MANY = MOST_VALUES + 10


@pytest.mark.parametrize(
    "content",
    [
        b"[" + b"1," * MANY + b"1]",
        b"[" + b"[]," * MANY + b"1]",
        b"[" + b'"",' * MANY + b"1]",
        b"{" + b'"a":{},' * MANY + b'"b":1}',
        rb'["\"",' + b"1," * MANY + b"1]",  # an escaped quote does not hide what follows
        rb'["\\",' + b"1," * MANY + b"1]",
        b"[" + b'[[[[[[[[[["a"]]]]]]]]]],' * (MANY // 10) + b"1]",
    ],
)
def test_many_values(content: bytes) -> None:
    with pytest.raises(TooLarge) as caught:
        require_few(content)
    assert caught.value.details["accepted"] == MOST_VALUES
    assert caught.value.details["found"] >= MANY


@pytest.mark.parametrize("text", ["a, b; [c] " * 50_000, '"a", "b\\", ' * 50_000, "\\" * 99_999])
def test_what_is_in_strings_does_not_count(text: str) -> None:
    require_few(json.dumps({"items": [{"text": text}] * 3}).encode())


def test_as_many_vectors_as_an_episode_may_have() -> None:
    vectors = np.random.default_rng(0).normal(size=(32, 1024)).tolist()
    require_few(json.dumps([{"vector": each} for each in vectors]).encode())


@pytest.mark.parametrize("path", ["/store", "/retrieve", "/generate", "/consolidate"])
def test_over_http(client: TestClient, path: str) -> None:
    body = b"{" + b",".join(b'"%d":1' % number for number in range(MANY)) + b"}"
    answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_in_a_line_and_in_a_field(client: TestClient) -> None:
    many = json.dumps({"a": [0] * MANY})
    line = b'{"items": [{"modality": "text", "text": "a"}], "metadata": ' + many.encode() + b"}"
    answer = client.post(
        "/store/batch", content=line, headers={"Content-Type": "application/x-ndjson"}
    )
    assert json.loads(answer.text)["status"] == 413
    form = client.post("/store", files={"text": b"a"}, data={"metadata": many})
    assert (form.status_code, form.json()["code"]) == (413, "too_large")
    lists = client.post("/retrieve", files={"text": b"a"}, data={"modalities": "text," * 300_000})
    assert (lists.status_code, lists.json()["code"]) == (413, "too_large")
