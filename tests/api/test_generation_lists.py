"""GET /generations, and what a record keeps of the request."""

from fastapi.testclient import TestClient
from problem_answers import assert_problem


def make(client: TestClient, namespace: str = "default", **more: object) -> dict:
    body = {"query": {"text": "a tiger"}, "output": "text", "namespace": namespace, **more}
    answer = client.post("/generate", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_pages_from_the_newest_on(client: TestClient) -> None:
    for name in ("default", "other"):
        note = {"items": [{"modality": "text", "text": "A tiger."}], "namespace": name}
        client.post("/store", json=note)
    made = [make(client, name)["id"] for name in ("default", "other", "default", "default")]
    page = client.get("/generations", params={"limit": 3}).json()
    assert [each["id"] for each in page["generations"]] == made[:0:-1]
    assert all(output["data"] is None for each in page["generations"] for output in each["outputs"])
    rest = client.get("/generations", params={"after": page["next"]}).json()
    assert [each["id"] for each in rest["generations"]] == made[:1]
    assert rest["next"] is None
    own = client.get("/generations", params={"namespace": "other"}).json()["generations"]
    assert [each["id"] for each in own] == [made[1]]
    for wrong in ({"limit": 101}, {"limit": 0}, {"after": "x"}, {"namespace": "a b"}):
        assert_problem(client.get("/generations", params=wrong), 422, "invalid_input")


def test_the_record_keeps_what_was_asked(client: TestClient) -> None:
    note = {"items": [{"modality": "text", "text": "A tiger."}], "metadata": {"a": 1}}
    client.post("/store", json=note)
    asked = {
        "k": 3,
        "mode": "direct",
        "filter": {"a": {"$gte": 1}},
        "candidates": 2,
        "max_similarity": 1.0,
        "recency_weight": 0.5,
    }
    made = make(client, creativity=0.5, **asked)
    rest = {"context_weight": 0.0, "strength_weight": 0.0}
    assert made["options"] == {**asked, **rest}
    assert client.get(f"/generations/{made['id']}").json()["options"] == made["options"]


def test_an_output_can_be_asked_for_once(client: TestClient) -> None:
    client.post("/store", json={"items": [{"modality": "text", "text": "A tiger."}]})
    body = {"query": {"text": "a tiger"}, "output": ["text", "text"]}
    answer = client.post("/generate", json=body)
    assert_problem(answer, 422, "invalid_input")
    assert answer.json()["found"] == ["text", "text"]
