"""A memory whose row is damaged: it says so itself, and what lists it goes on without it."""

import logging

import pytest
from fastapi.testclient import TestClient
from problem_answers import assert_problem


def store(client: TestClient, *texts: str) -> list[str]:
    ids = []
    for text in texts:
        body = {"items": [{"modality": "text", "text": text}], "metadata": {"a": 1}}
        ids.append(client.post("/store", json=body).json()["episode"]["memories"][0]["id"])
    return ids


def damage(client: TestClient, memory_id: str, metadata: str) -> None:
    catalog = client.app.state.application.store.catalog  # type: ignore[attr-defined]
    with catalog.transaction("damaging a row") as connection:
        connection.execute("UPDATE memories SET metadata = ? WHERE id = ?", (metadata, memory_id))


@pytest.mark.parametrize("metadata", ["{", "", "[1]", "null", "\x00"])
def test_lists_go_on_without_it(
    client: TestClient, metadata: str, caplog: pytest.LogCaptureFixture
) -> None:
    first, damaged, last = store(client, "a hen", "a cow", "a fox")
    damage(client, damaged, metadata)
    with caplog.at_level(logging.ERROR):
        for _ in range(2):
            found = client.get("/memories").json()
            assert [each["id"] for each in found["memories"]] == [first, last]
    (told,) = [each for each in caplog.records if damaged in each.getMessage()]
    assert "memory-service fsck" in told.getMessage()
    page = client.get("/memories", params={"limit": 1}).json()
    after = client.get("/memories", params={"limit": 1, "after": page["next"]}).json()
    assert [each["id"] for each in page["memories"] + after["memories"]] == [first, last]
    filtered = client.get("/memories", params={"filter": '{"a": 1}'})
    assert [each["id"] for each in filtered.json()["memories"]] == [first, last]
    for more in ({}, {"filter": {"a": 1}}):
        query = {"query": {"text": "a cow"}, "modalities": ["text"], **more}
        hits = client.post("/retrieve", json=query).json()["results"]["text"]
        assert {each["memory"]["id"] for each in hits} == {first, last}


def test_the_memory_itself_says_what_to_do(client: TestClient) -> None:
    (damaged,) = store(client, "a cow")
    damage(client, damaged, "{")
    for path in (f"/memories/{damaged}", f"/memories/{damaged}/content"):
        answer = client.get(path)
        assert_problem(answer, 500, "storage_failure")
        assert "memory-service fsck" in answer.json()["detail"]
