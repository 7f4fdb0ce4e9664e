"""POST /embed: the vectors that the service would store."""

import base64

import numpy as np
import pytest
from fastapi.testclient import TestClient
from problem_answers import OGG, PNG, assert_problem

TEXT = {"modality": "text", "text": "a cat"}
PICTURE = {"modality": "image", "data": base64.b64encode(PNG).decode()}


def test_the_vectors_find_what_was_stored(client: TestClient) -> None:
    client.post("/store", files={"image": PNG, "text": "a cat"})
    answer = client.post("/embed", json={"items": [PICTURE, TEXT, PICTURE]})
    assert answer.status_code == 200
    found = answer.json()["embeddings"]
    assert [each["modality"] for each in found] == ["image", "text", "image"]
    assert found[0] == found[2]
    assert found[0]["media_type"] == "image/png"
    spaces = {each["modality"]: each["space"] for each in client.get("/models").json()["encoders"]}
    for each in found:
        assert each["space"]["id"] == spaces[each["modality"]]
        assert np.linalg.norm(each["vector"]) == pytest.approx(1.0, abs=1e-5)
        query = {"vector": each["vector"], "space": each["space"]["id"]}
        body = {"query": query, "modalities": [each["modality"]], "mode": "direct"}
        (hit,) = client.post("/retrieve", json=body).json()["results"][each["modality"]]
        assert hit["cosine"] == pytest.approx(1.0, abs=2e-3)
    assert client.get("/stats").json()["memories"] == 2


def test_a_form(client: TestClient) -> None:
    answer = client.post("/embed", files={"audio": OGG, "text": "a cat"})
    assert [each["modality"] for each in answer.json()["embeddings"]] == ["audio", "text"]


REFUSED = {
    "nothing": ({"items": []}, 422, "invalid_input"),
    "another space": ({"items": [TEXT], "space": "elsewhere"}, 422, "invalid_input"),
    "a vector": ({"items": [{**TEXT, "vector": [1.0]}]}, 422, "invalid_input"),
    "a broken picture": (
        {"items": [TEXT, {"modality": "image", "data": base64.b64encode(PNG[:99]).decode()}]},
        422,
        "invalid_media",
    ),
    "a long text": ({"items": [{**TEXT, "text": "x" * 2001}]}, 413, "too_large"),
    "too many": ({"items": [TEXT] * 17}, 413, "too_large"),
    "no modality": ({"items": [{"modality": "smell", "data": ""}]}, 422, "invalid_input"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(client: TestClient, name: str) -> None:
    body, status, code = REFUSED[name]
    assert_problem(client.post("/embed", json=body), status, code)
