"""How memories live, over HTTP."""

import time
from typing import Any

import pytest
from ended_jobs import finished
from fastapi.testclient import TestClient


def store(client: TestClient, text: str, **more: Any) -> dict:
    body = {"items": [{"modality": "text", "text": text}], **more}
    answer = client.post("/store", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()["episode"]["memories"][0]


def ids(client: TestClient, text: str, **more: Any) -> list[str]:
    body = {"query": {"text": text}, "modalities": ["text"], **more}
    answer = client.post("/retrieve", json=body)
    assert answer.status_code == 200, answer.text
    return [hit["memory"]["id"] for hit in answer.json()["results"]["text"]]


def test_a_memory_explains_its_strength(client: TestClient) -> None:
    memory = store(client, "a red fox")
    assert client.put("/namespaces/default/settings", json={"half_life_s": 50}).status_code == 200
    for reinforce in (True, False, True):
        ids(client, "fox", reinforce=reinforce)
    told = client.get(f"/memories/{memory['id']}").json()
    strength = told["strength"]
    assert {**told, "strength": None, "lineage": None} == {
        **memory,
        "strength": None,
        "lineage": None,
    }
    assert strength["recalls"] == 2
    assert strength["half_life_s"] == 50
    age_s = strength["now"] - strength["since"]
    assert strength["value"] == pytest.approx(strength["base"] * 2 ** (-age_s / 50))
    assert strength["retention"] == pytest.approx(strength["value"] / (1 + strength["value"]))
    assert "2 **" in strength["formula"]
    assert told["lineage"] is None


def test_settings_of_a_namespace(client: TestClient) -> None:
    path = "/namespaces/zoo/settings"
    default = client.get(path).json()
    assert default == {
        "namespace": "zoo",
        "half_life_s": 2_592_000.0,
        "trace_half_life_s": None,
        "configured": [],
    }
    given = client.put(path, json={"half_life_s": None, "trace_half_life_s": 60}).json()
    assert given == client.get(path).json()
    assert (given["half_life_s"], given["trace_half_life_s"]) == (None, 60)
    assert given["configured"] == ["half_life_s", "trace_half_life_s"]
    assert client.put(path, json={}).json() == default


def test_weights_change_the_order(client: TestClient) -> None:
    first, second = store(client, "red fox one"), store(client, "red fox two")
    for _ in range(4):
        ids(client, "red fox two", k=1)
    quiet = {"reinforce": False}
    assert ids(client, "red fox one", **quiet)[0] == first["id"]
    assert ids(client, "red fox one", strength_weight=10, **quiet)[0] == second["id"]
    made = client.post(
        "/generate",
        json={"query": {"text": "red fox one"}, "output": "text", "k": 1, "strength_weight": 10},
    )
    assert made.json()["memories"][0]["memory_id"] == second["id"]


def test_weights_in_a_form(client: TestClient) -> None:
    store(client, "red fox one")
    second = store(client, "red fox two")
    for _ in range(4):
        ids(client, "red fox two", k=1)
    fields = {"modalities": "text", "strength_weight": "10", "reinforce": "false"}
    answer = client.post("/retrieve", files={"text": b"red fox one"}, data=fields)
    assert answer.json()["results"]["text"][0]["memory"]["id"] == second["id"]
    assert client.get(f"/memories/{second['id']}").json()["strength"]["recalls"] == 4


@pytest.mark.parametrize("name", ["context_weight", "recency_weight", "strength_weight"])
@pytest.mark.parametrize("value", [-1, 11, "much", None])
@pytest.mark.parametrize("route", ["/retrieve", "/generate"])
def test_bad_weights(client: TestClient, name: str, value: Any, route: str) -> None:
    answer = client.post(route, json={"query": {"text": "x"}, name: value})
    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid_input"
    assert name in answer.json()["detail"]


def test_a_memory_expires(client: TestClient) -> None:
    memory = store(client, "a red fox", ttl_s=0.05)
    assert memory["expires_at"] > time.time() - 10
    deadline = time.monotonic() + 20
    while client.get(f"/memories/{memory['id']}").status_code == 200:
        assert time.monotonic() < deadline
    assert ids(client, "a red fox") == []
    assert client.post("/sweep").json() == {"deleted": 1}
    assert client.post("/sweep").json() == {"deleted": 0}
    form = client.post("/store", files={"text": b"x"}, data={"ttl_s": "100"})
    assert form.json()["episode"]["memories"][0]["expires_at"] > time.time() + 50


def test_a_memory_is_changed(client: TestClient) -> None:
    memory = store(client, "a red fox", metadata={"a": 1, "b": 2})
    path = f"/memories/{memory['id']}"
    changed = client.patch(path, json={"metadata": {"a": None, "c": 3}, "ttl_s": 1000}).json()
    assert changed["metadata"] == {"b": 2, "c": 3}
    assert changed["expires_at"] is not None
    merge = {"content-type": "application/merge-patch+json"}
    changed = client.patch(path, content='{"expires_at": null}', headers=merge).json()
    assert (changed["expires_at"], changed["metadata"]) == (None, {"b": 2, "c": 3})


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"text": "other"},
        {"metadata": None},
        {"metadata": 1},
        {"ttl_s": -1},
        {"expires_at": 1.0},
        {"expires_at": 2000000000.0, "ttl_s": 1},
    ],
)
def test_bad_changes(client: TestClient, body: Any) -> None:
    memory = store(client, "a red fox", metadata={"a": 1})
    answer = client.patch(f"/memories/{memory['id']}", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert client.get(f"/memories/{memory['id']}").json()["metadata"] == {"a": 1}
    assert client.patch("/memories/nobody", json={"ttl_s": 1}).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {"half_life_s": 0},
        {"half_life_s": 0.0009},
        {"half_life_s": "x"},
        {"half_life": 1},
        {"trace_half_life_s": -1},
        {"trace_half_life_s": 5e-324},
    ],
)
def test_bad_settings(client: TestClient, body: Any) -> None:
    answer = client.put("/namespaces/a/settings", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert client.put("/namespaces/a b/settings", json={}).status_code == 422
    assert client.get("/namespaces/a b/settings").status_code == 422


def test_consolidation(client: TestClient) -> None:
    foxes = [store(client, f"a red fox runs over the green hill {number}") for number in range(3)]
    whale = store(client, "a blue whale")
    body = {"modalities": ["text"], "threshold": 0.8}
    answer = client.post("/consolidate", json=body)
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/jobs/{answer.json()['id']}"
    job = finished(client, answer.json())
    assert (job["state"], job["result"]["groups"]) == ("succeeded", 1)
    prototype, other = ids(client, "a red fox")
    assert other == whale["id"]
    told = client.get(f"/memories/{prototype}").json()
    assert told["prototype"]
    assert [each["memory_id"] for each in told["lineage"]["members"]] == [
        each["id"] for each in foxes
    ]
    member = client.get(f"/memories/{foxes[1]['id']}").json()
    assert not member["prototype"]
    assert (member["lineage"]["prototype"], member["lineage"]["job"]) == (prototype, job["id"])
    undone = client.post(f"/consolidate/{job['id']}/undo")
    assert undone.json() == {"prototype_ids": [prototype]}
    assert len(ids(client, "a red fox")) == 4
    assert client.post("/consolidate/nothing/undo").status_code == 404


@pytest.mark.parametrize(
    "body", [{"threshold": 2}, {"threshold": "x"}, {"namespace": "a b"}, {"modalities": ["x"]}]
)
def test_bad_consolidations(client: TestClient, body: Any) -> None:
    answer = client.post("/consolidate", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
