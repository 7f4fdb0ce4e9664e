"""Idempotency-Key over HTTP: header and field, forms and JSON, lines of a batch, generations."""

import json

import pytest
from fastapi.testclient import TestClient
from problem_answers import PNG, assert_problem

KEY = {"Idempotency-Key": "k"}
NOTE = {"items": [{"modality": "text", "text": "A tiger."}]}


def test_the_same_store_is_answered_the_same(client: TestClient) -> None:
    first = client.post("/store", json=NOTE, headers=KEY)
    again = client.post("/store", json={**NOTE, "idempotency_key": "k"})
    form = client.post("/store", files={"text": "A tiger."}, headers=KEY)
    assert [each.status_code for each in (first, again, form)] == [201, 201, 201]
    assert "idempotency-replayed" not in first.headers
    for each in (again, form):
        assert each.headers["idempotency-replayed"] == "true"
        assert each.headers["location"] == first.headers["location"]
        assert each.json()["episode"] == first.json()["episode"]
    assert client.get("/stats").json()["memories"] == 1


def test_another_body_is_refused(client: TestClient) -> None:
    client.post("/store", json=NOTE, headers=KEY)
    other = client.post("/store", json={**NOTE, "metadata": {"a": 1}}, headers=KEY)
    assert_problem(other, 409, "idempotency_key_reused")
    both = client.post("/store", json={**NOTE, "idempotency_key": "l"}, headers=KEY)
    assert_problem(both, 422, "invalid_input")
    assert_problem(
        client.post("/store", json=NOTE, headers={"Idempotency-Key": ""}), 422, "invalid_input"
    )


def test_what_is_forgotten_is_not_answered(client: TestClient) -> None:
    stored = client.post("/store", json=NOTE, headers=KEY).json()
    client.delete(f"/episodes/{stored['episode']['id']}")
    assert_problem(client.post("/store", json=NOTE, headers=KEY), 404, "not_found")


def test_lines_of_a_batch(client: TestClient) -> None:
    lines = [{**NOTE, "idempotency_key": "k"}, {**NOTE, "idempotency_key": "l"}, NOTE]
    other = {"items": [{"modality": "text", "text": "An owl."}], "idempotency_key": "k"}
    body = "\n".join(map(json.dumps, [*lines, other]))
    headers = {"content-type": "application/x-ndjson"}
    answers = [
        [json.loads(line) for line in client.post(path, content=body, headers=headers).iter_lines()]
        for path in ("/store/batch", "/store/batch")
    ]
    for before, after in zip(answers[0][:2], answers[1][:2], strict=True):
        assert "replayed" not in before
        assert after["replayed"] is True
        assert after["episode"] == before["episode"]
    assert [each[3]["code"] for each in answers] == ["idempotency_key_reused"] * 2
    assert client.post("/store", json=NOTE, headers=KEY).headers["idempotency-replayed"] == "true"
    assert client.get("/stats").json()["memories"] == 4


BATCH = {"content-type": "application/x-ndjson"}


def batch(client: TestClient, lines: list[dict], **headers: str) -> list[dict]:
    body = "\n".join(map(json.dumps, lines))
    answer = client.post("/store/batch", content=body, headers={**BATCH, **headers})
    assert answer.status_code == 200
    return [json.loads(line) for line in answer.iter_lines()]


def note(text: str, **more: str) -> dict:
    return {"items": [{"modality": "text", "text": text}], **more}


def test_a_batch_is_sent_again_whole(client: TestClient) -> None:
    """The lines have keys of the header and their number; a key of their own counts more."""
    lines = [note("A tiger."), note("A tiger."), note("An owl.", idempotency_key="own")]
    first = batch(client, lines, **KEY)
    longer = batch(client, [*lines, note("A fox.")], **KEY)  # as after a connection that broke
    assert [each["status"] for each in longer] == [201] * 4
    for before, after in zip(first, longer, strict=False):
        assert "replayed" not in before
        assert after["replayed"] is True
        assert after["episode"] == before["episode"]
    assert "replayed" not in longer[3]
    assert client.get("/stats").json()["memories"] == 4
    alone = client.post("/store", json=note("A fox."), headers={"Idempotency-Key": "k/3"})
    assert alone.json()["episode"] == longer[3]["episode"]


def test_another_line_under_the_same_key_is_refused_by_itself(client: TestClient) -> None:
    batch(client, [note("A tiger."), note("An owl.")], **KEY)
    answers = batch(client, [note("A tiger."), note("A fox.")], **KEY)
    assert answers[0]["replayed"] is True
    assert (answers[1]["status"], answers[1]["code"]) == (409, "idempotency_key_reused")
    assert answers[1]["found"] == "k/1"
    assert client.get("/stats").json()["memories"] == 2


@pytest.mark.parametrize("key", ["", "x" * 241])
def test_what_is_no_key_of_a_batch_is_refused_as_a_whole(client: TestClient, key: str) -> None:
    headers = {**BATCH, "Idempotency-Key": key}
    answer = client.post("/store/batch", content=json.dumps(NOTE), headers=headers)
    assert_problem(answer, 422, "invalid_input")
    assert client.get("/stats").json()["memories"] == 0


def test_routes_that_know_no_key_say_so(client: TestClient) -> None:
    stored = client.post("/store", json=NOTE).json()["episode"]["memories"][0]
    path = f"/memories/{stored['id']}"
    changed = client.patch(path, json={"metadata": {"a": 1}}, headers=KEY)
    assert_problem(changed, 422, "invalid_input")
    assert client.get(path).json()["metadata"] == {}
    assert_problem(client.post("/sweep", headers=KEY), 422, "invalid_input")
    assert client.get(path, headers=KEY).status_code == 200
    query = {"query": {"text": "a tiger"}}
    assert client.post("/retrieve", json=query, headers=KEY).status_code == 200
    assert client.delete(path, headers=KEY).status_code == 200


def test_a_filter_is_the_same_in_any_order(client: TestClient) -> None:
    client.post("/store", json={**NOTE, "metadata": {"a": 1, "b": 2}})
    asked = [
        {"query": {"text": "a tiger"}, "output": "text", "filter": each}
        for each in ({"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 1, "b": {"$lte": 2}})
    ]
    answers = [client.post("/generate", json=each, headers=KEY) for each in asked]
    assert [each.status_code for each in answers] == [201, 201, 409]
    assert answers[1].headers["idempotency-replayed"] == "true"


def test_a_generation_is_made_once(client: TestClient) -> None:
    client.post("/store", files={"image": PNG, "text": "A tiger."})
    body = {"query": {"text": "a tiger"}, "output": "image"}
    first = client.post("/generate", json=body, headers=KEY)
    again = client.post("/generate", json=body, headers=KEY)
    picture = client.post("/generate", json=body, headers={**KEY, "accept": "image/png"})
    assert first.status_code == again.status_code == 201
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json()["outputs"] == first.json()["outputs"]
    assert picture.headers["generation-id"] == first.json()["id"]
    assert picture.content.startswith(b"\x89PNG")
    other = client.post("/generate", json={**body, "k": 1}, headers=KEY)
    assert_problem(other, 409, "idempotency_key_reused")
