"""Queries and listings with bad parameters are refused, and nothing changes."""

import base64
import json
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from problem_answers import assert_problem, state

from memory_service.settings import Settings

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


def test_a_query_part_is_told_by_its_place(client: TestClient) -> None:
    answer = client.post("/retrieve", json={"query": {"text": "a", "weight": "heavy"}})
    [found] = assert_problem(answer, 422, "invalid_input")["errors"]
    assert found["field"] == "query.0.weight"
    answer = client.post("/retrieve", json={"query": {"vector": ["a"]}})
    fields = {each["field"] for each in assert_problem(answer, 422, "invalid_input")["errors"]}
    assert fields == {"query.0.vector"}


@pytest.mark.parametrize(
    "vector",
    [
        ["1.0"] * 384,
        [True] * 384,
        [None],
        [[1.0] * 384],
        [[1.0], [1.0, 2.0]],
        {"a": 1},
        7,
        [10**40],
    ],
    ids=["texts", "truths", "null", "matrix", "ragged", "object", "number", "huge"],
)
def test_a_vector_is_a_flat_list_of_numbers(client: TestClient, vector: Any) -> None:
    answer = client.post("/retrieve", json={"query": {"vector": vector}})
    assert_problem(answer, 422, "invalid_input")


RAW = {"content-type": "application/octet-stream"}


@pytest.mark.parametrize(
    ("query", "content", "code"),
    [
        ("", b"", "invalid_vector"),
        ("", b"abc", "invalid_vector"),
        ("", np.full(384, np.nan, "<f4").tobytes(), "invalid_vector"),
        ("", np.ones(383, "<f4").tobytes(), "invalid_vector"),
        ("space=other", np.ones(384, "<f4").tobytes(), "invalid_vector"),
        ("text=a", np.ones(384, "<f4").tobytes(), "invalid_input"),
        ("query=a", np.ones(384, "<f4").tobytes(), "invalid_input"),
        ("k=no", np.ones(384, "<f4").tobytes(), "invalid_input"),
        ("kk=1", np.ones(384, "<f4").tobytes(), "invalid_input"),
        ("k=1&k=2", np.ones(384, "<f4").tobytes(), "invalid_input"),
        ("filter={", np.ones(384, "<f4").tobytes(), "invalid_input"),
    ],
)
def test_a_raw_vector_is_refused(client: TestClient, query: str, content: bytes, code: str) -> None:
    answer = client.post(f"/retrieve?{query}", content=content, headers=RAW)
    assert_problem(answer, 422, code)


def test_a_raw_vector_finds_what_others_find(client: TestClient, stored: dict) -> None:
    """A list, base64 and the bytes themselves."""
    vector = np.random.default_rng(1).standard_normal(384).astype("<f4")
    options = {
        "modalities": ["text", "image"],
        "k": 2,
        "mode": "direct",
        "filter": {"place": "jungle"},
    }
    answers = [
        client.post(
            "/retrieve", json={"query": {"vector": given, "space": "fake"}, **options}
        ).json()
        for given in (vector.tolist(), base64.b64encode(vector.tobytes()).decode())
    ]
    address = "/retrieve?modalities=text,image&k=2&mode=direct&space=fake&filter=%s"
    raw = client.post(address % '{"place": "jungle"}', content=vector.tobytes(), headers=RAW)
    answers.append(raw.json())
    for answer in answers:
        assert answer["results"] == answers[0]["results"]
        assert [len(hits) for hits in answer["results"].values()] == [1, 1]
