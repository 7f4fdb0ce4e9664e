"""Idempotency-Key over HTTP: header and field, forms and JSON, lines of a batch, generations."""

import json

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
