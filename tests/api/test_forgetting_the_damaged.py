"""What is damaged can be forgotten like all else, and the receipt says that it was."""

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from memory_service.api import create_app
from memory_service.settings import Settings
from memory_service.storage.store import Store


def store_of(client: TestClient) -> Store:
    found: Store = client.app.state.application.store  # type: ignore[attr-defined]
    return found


def stored(client: TestClient, text: str, **more: Any) -> dict[str, Any]:
    body = {"items": [{"modality": "text", "text": text}], **more}
    found: dict[str, Any] = client.post("/store", json=body).json()["episode"]["memories"][0]
    return found


def execute(client: TestClient, statement: str, *values: Any) -> None:
    with store_of(client).catalog.transaction("damaging") as connection:
        assert connection.execute(statement, values).rowcount == 1


def set_metadata(client: TestClient, memory: dict[str, Any]) -> None:
    execute(client, "UPDATE memories SET metadata = '{' WHERE id = ?", memory["id"])


def set_vector(content: Any) -> Callable[[TestClient, dict[str, Any]], None]:
    def damage(client: TestClient, memory: dict[str, Any]) -> None:
        execute(
            client,
            "UPDATE vectors SET vector = ? WHERE sequence ="
            " (SELECT sequence FROM memories WHERE id = ?)",
            content,
            memory["id"],
        )

    return damage


def drop_content(client: TestClient, memory: dict[str, Any]) -> None:
    execute(client, "DELETE FROM small_contents WHERE digest = ?", memory["sha256"])


def set_content(content: Any) -> Callable[[TestClient, dict[str, Any]], None]:
    def damage(client: TestClient, memory: dict[str, Any]) -> None:
        statement = "UPDATE small_contents SET content = ? WHERE digest = ?"
        execute(client, statement, content, memory["sha256"])

    return damage


DAMAGES = {
    "metadata": (set_metadata, "json_broken"),
    "short vector": (set_vector(b"\0" * 4 * 383), "vector_broken"),
    "no numbers": (set_vector(b"abc"), "vector_broken"),
    "no bytes": (set_vector("abc"), "vector_broken"),
    "no vector": (set_vector(b""), "vector_broken"),
    "no length": (set_vector(struct.pack("<384f", *[0.5] * 384)), "vector_broken"),
    "not finite": (set_vector(struct.pack("<384f", *[float("nan")] * 384)), "vector_broken"),
    "no content": (drop_content, "content_missing"),
    "another content": (set_content(b"something else"), "content_altered"),
    "same size": (set_content(b"A COW"), "content_altered"),
    "content of another type": (set_content(7), "content_altered"),
}


@pytest.fixture(params=list(DAMAGES))
def damaged(request: pytest.FixtureRequest, client: TestClient) -> tuple[dict[str, Any], str]:
    """A memory beside two whole ones, and what is wrong with it."""
    stored(client, "a hen", metadata={"place": "farm"})
    memory = stored(client, "a cow", metadata={"place": "farm"})
    stored(client, "a fox", metadata={"place": "forest"})
    damage, kind = DAMAGES[request.param]
    damage(client, memory)
    return memory, f"{memory['id']} {kind}"


def assert_gone(client: TestClient, memory: dict[str, Any], receipt: dict[str, Any]) -> None:
    assert memory["id"] in receipt["memory_ids"]
    assert receipt["removed"]["vectors"] == receipt["removed"]["index_entries"]
    assert client.get(f"/memories/{memory['id']}").status_code == 404
    assert client.get(f"/receipts/{receipt['id']}").json() == receipt
    assert memory["sha256"] not in store_of(client).blobs


def assert_traces(client: TestClient) -> None:
    """Each is the sum of the vectors that are left."""
    catalog = store_of(client).catalog
    found = catalog.select("SELECT vector FROM vectors")
    expected = sum((np.frombuffer(row["vector"], "<f4").astype(float) for row in found), 0.0)
    traces = catalog.select("SELECT vector, count FROM traces")
    assert sum(row["count"] for row in traces) == len(found)
    for row in traces:
        assert np.allclose(np.frombuffer(row["vector"], "<f8"), expected, atol=1e-6)


def test_by_id(client: TestClient, damaged: tuple[dict[str, Any], str]) -> None:
    memory, kind = damaged
    answer = client.delete(f"/memories/{memory['id']}", params={"wait": True, "probe": True})
    assert answer.status_code == 200, answer.text
    receipt = answer.json()
    assert receipt["memory_ids"] == [memory["id"]]
    assert receipt["damaged"] == [kind]
    assert receipt["probe"]["absent"]
    assert receipt["clean"]
    assert_gone(client, memory, receipt)
    assert_traces(client)


def test_by_episode(client: TestClient, damaged: tuple[dict[str, Any], str]) -> None:
    memory, kind = damaged
    answer = client.delete(f"/episodes/{memory['episode_id']}")
    assert answer.status_code == 200, answer.text
    assert answer.json()["damaged"] == [kind]
    assert_gone(client, memory, answer.json())
    assert_traces(client)


def test_by_namespace(client: TestClient, damaged: tuple[dict[str, Any], str]) -> None:
    memory, kind = damaged
    answer = client.delete("/namespaces/default", params={"expected": 3, "probe": True})
    assert answer.status_code == 200, answer.text
    assert answer.json()["damaged"] == [kind]
    assert_gone(client, memory, answer.json())
    assert store_of(client).catalog.select("SELECT * FROM traces") == []


def test_by_filter(client: TestClient, damaged: tuple[dict[str, Any], str]) -> None:
    """By what can be read of it."""
    memory, kind = damaged
    readable = "json_broken" not in kind
    body = {"filter": {"place": "farm"}} if readable else {"modality": "text", "all": True}
    expected = 2 if readable else 3
    answer = client.request("DELETE", "/memories", json={**body, "expected": expected})
    assert answer.status_code == 200, answer.text
    assert answer.json()["damaged"] == [kind]
    assert_gone(client, memory, answer.json())
    assert_traces(client)


def test_another_one_beside_it(client: TestClient, damaged: tuple[dict[str, Any], str]) -> None:
    """What is whole goes as ever, with the traces left as they are or summed of what is whole."""
    memory, _ = damaged
    fox = client.get("/memories").json()["memories"][-1]
    answer = client.delete(f"/memories/{fox['id']}", params={"probe": True})
    assert answer.status_code == 200, answer.text
    assert answer.json()["damaged"] == []
    assert client.delete(f"/memories/{memory['id']}").status_code == 200
    assert_traces(client)


def test_what_is_whole_is_not_called_damaged(client: TestClient) -> None:
    memory = stored(client, "a cow")
    receipt = client.delete(f"/memories/{memory['id']}", params={"probe": True}).json()
    assert receipt["damaged"] == []


@pytest.mark.parametrize(
    ("content", "probe", "kind"),
    [
        (None, False, "content_missing"),
        (b"shorter", False, "content_altered"),
        (b"same", True, "content_altered"),
        (b"same", False, None),  # as long: what it is is only looked at to prove
    ],
)
def test_a_file(
    client: TestClient, tiger: dict[str, bytes], content: bytes | None, probe: bool, kind: str
) -> None:
    answer = client.post("/store", files={"image": tiger["image"]})
    (memory,) = answer.json()["episode"]["memories"]
    path = store_of(client).blobs.path(memory["sha256"])
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content if content != b"same" else bytes(memory["size_bytes"]))
    receipt = client.delete(f"/memories/{memory['id']}", params={"probe": probe}).json()
    assert receipt["damaged"] == ([f"{memory['id']} {kind}"] if kind else [])
    assert not path.exists()


def test_a_service_starts_beside_it(client: TestClient, settings: Settings) -> None:
    """A vector that is damaged is not searched; the memory can be forgotten then."""
    memories = [stored(client, text) for text in ("a hen", "a cow", "a fox")]
    set_vector(b"\0" * 7)(client, memories[1])
    client.__exit__(None, None, None)
    with TestClient(create_app(settings=settings)) as again:
        query = {"query": {"text": "a cow"}, "modalities": ["text"]}
        hits = again.post("/retrieve", json=query).json()["results"]["text"]
        assert {hit["memory"]["id"] for hit in hits} == {memories[0]["id"], memories[2]["id"]}
        receipt = again.delete(f"/memories/{memories[1]['id']}").json()
        assert receipt["damaged"] == [f"{memories[1]['id']} vector_broken"]
        assert_traces(again)


def test_what_expired(client: TestClient) -> None:
    memory = stored(client, "a cow", ttl_s=3600)
    set_metadata(client, memory)
    execute(client, "UPDATE memories SET expires_at = 1 WHERE id = ?", memory["id"])
    assert client.post("/sweep").json() == {"deleted": 1}
    assert memory["sha256"] not in store_of(client).blobs


def test_a_job_whose_result_is_damaged_says_nothing_of_it(client: TestClient) -> None:
    memory = stored(client, "a cow")
    broken = '{"listed": ["' + memory["id"]
    execute(
        client,
        "INSERT INTO jobs VALUES ('j', 'consolidate', 'succeeded', 1, 1, 1, '{}', '{}', ?, NULL)",
        broken,
    )
    assert client.delete(f"/memories/{memory['id']}").json()["removed"]["job_entries"] == 1
    assert client.get("/jobs/j").json()["result"] == {}


def test_with_a_key_that_is_bound(client: TestClient, settings: Settings) -> None:
    memory = stored(client, "a cow", namespace="farm")
    set_metadata(client, memory)
    client.__exit__(None, None, None)
    with TestClient(create_app(settings=settings)) as again:
        made = again.post("/keys", json={"name": "k", "scope": "write", "namespaces": ["farm"]})
        headers = {"Authorization": f"Bearer {made.json()['key']}"}
        for path in (f"/memories/{memory['id']}", f"/episodes/{memory['episode_id']}"):
            assert again.get(path, headers=headers).status_code in (404, 500)
        answer = again.delete(f"/memories/{memory['id']}", headers=headers)
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("name", ["short vector", "no numbers", "no bytes", "not finite"])
def test_what_is_made_leaves_a_damaged_vector_out(client: TestClient, name: str) -> None:
    """A text beside it leads there, whether or not an index still finds it."""
    items = [{"modality": "text", "text": each} for each in ("a cow", "a cow in the meadow")]
    whole, broken = client.post("/store", json={"items": items}).json()["episode"]["memories"]
    DAMAGES[name][0](client, broken)
    body = {"query": {"text": "a cow"}, "output": "text", "k": 4}
    answer = client.post("/generate", json=body)
    assert answer.status_code in (200, 201), answer.text
    assert [each["memory_id"] for each in answer.json()["memories"]] == [whole["id"]]
