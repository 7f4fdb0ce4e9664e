"""Queries whose body is a vector, and the answers that are written without models."""

import json
from dataclasses import replace

import numpy as np
import pytest
from fastapi.testclient import TestClient

from memory_service.api import bodies, views
from memory_service.api.schemas import RetrievalOut
from memory_service.records import Hit, Memory, Reach, Retrieval, Segment

RAW = {"content-type": "application/octet-stream"}
MEMORY = Memory(
    id="0190-a",
    sequence=7,
    namespace="default",
    episode_id="0190-b",
    modality="text",
    media_type="text/plain",
    blob="ab" * 32,
    size_bytes=12,
    metadata={'a "quoted" \\ key': [1, 1.5e300, None, True, {"ä": "\u2028\x00"}], "n": 2**53},
    created_at=1764550000.123456,
    text='tab\tnewline\nquote" \\ \u2028 \x7f \x01 日本 🦉 </script>',
)


def vector(client: TestClient, seed: int = 0) -> bytes:
    dimension = client.get("/models").json()["encoders"][0]["dimension"]
    return np.random.default_rng(seed).standard_normal(dimension).astype("<f4").tobytes()


@pytest.mark.parametrize(
    "memory",
    [
        MEMORY,
        replace(MEMORY, text=None, metadata={}, expires_at=1e16, consolidated_by="job"),
        replace(MEMORY, text="", media_type='audio/"x"', created_at=0.0, expires_at=5e-7),
    ],
)
def test_an_answer_is_what_its_model_says(memory: Memory) -> None:
    part = Segment(0.1, 2.30000001)
    hits = (
        Hit(memory, 0.9999999, 1.0, (Reach("direct", 1, 1.0, segment=part),), part),
        Hit(
            memory,
            1e-9,
            None,
            (Reach("direct", 2, -0.5), Reach("associative", 3, 0.25, "via-id", "image", part)),
        ),
    )
    spaces = {"text": "a", "image": None, 'odd"name': "b"}
    found = Retrieval(
        {"text": hits, "image": (), 'odd"name': hits[:1]},
        {"text": 0.25},
        np.zeros(3, np.float32),
        {"search": 0.1, "total": 3.0},
        spaces,
    )
    written = json.loads(views.retrieval(found))
    assert written == RetrievalOut.model_validate(written).model_dump(mode="json")
    assert list(written) == list(RetrievalOut.model_fields)
    (first, second) = written["results"]["text"]
    assert first["memory"] == json.loads(json.dumps(views.memory_members(memory)))
    assert (first["score"], first["cosine"]) == (0.9999999, 1.0)
    assert first["segment"] == {"start_s": 0.1, "end_s": 2.30000001}
    assert (second["score"], second["cosine"], second["segment"]) == (1e-9, None, None)
    assert second["reached_by"][1] == {
        "path": "associative",
        "rank": 3,
        "cosine": 0.25,
        "via": "via-id",
        "via_modality": "image",
        "segment": first["segment"],
    }
    assert written["results"]['odd"name'] == [first]
    assert (written["spaces"], written["familiarity"]) == (spaces, {"text": 0.25})
    assert written["timings_ms"] == {"search": 0.1, "total": 3.0}


def test_a_changed_memory_is_told_anew() -> None:
    assert '"text":"one"' in replace(MEMORY, text="one").as_json
    kept = replace(MEMORY, text="two")
    assert '"text":"two"' in kept.as_json
    assert '"text":"three"' in replace(kept, text="three").as_json


def test_the_same_parameters_serve_other_vectors_and_namespaces(client: TestClient) -> None:
    for namespace in ("one", "two"):
        item = {"modality": "text", "text": f"a hen of {namespace}"}
        client.post("/store", json={"items": [item], "namespace": namespace})
    for _ in range(2):
        for namespace in ("one", "two"):
            given = {"modalities": "text", "namespace": namespace, "reinforce": "false"}
            answers = [
                client.post("/retrieve", params=given, content=vector(client, seed), headers=RAW)
                for seed in (1, 2)
            ]
            texts = [hit["memory"]["text"] for a in answers for hit in a.json()["results"]["text"]]
            assert texts == [f"a hen of {namespace}"] * 2
            cosines = [a.json()["results"]["text"][0]["cosine"] for a in answers]
            assert cosines[0] != cosines[1]


def test_wrong_parameters_are_told_each_time(client: TestClient) -> None:
    for _ in range(2):
        for given in ("k=x", "k=3&k=4", "text=a", "filter={", "unknown=1"):
            answer = client.post(f"/retrieve?{given}", content=vector(client), headers=RAW)
            assert answer.status_code == 422, given


def test_long_parameters_are_read_and_not_kept(client: TestClient) -> None:
    before = bodies._kept_parameters.cache_info().currsize
    given = {"filter": json.dumps({"a": "x" * bodies.LONGEST_KEPT})}
    answer = client.post("/retrieve", params=given, content=vector(client), headers=RAW)
    assert answer.status_code == 200
    assert bodies._kept_parameters.cache_info().currsize == before
