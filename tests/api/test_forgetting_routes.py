"""Forgetting, namespaces and thumbnails over HTTP."""

import io
import threading
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from memory_service.services import forgetting
from memory_service.storage import removal


def store(client: TestClient, text: str, **more: Any) -> dict:
    body = {"items": [{"modality": "text", "text": text}], **more}
    answer = client.post("/store", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()["episode"]["memories"][0]


def forget(client: TestClient, **body: Any) -> Any:
    return client.request("DELETE", "/memories", json=body)


@pytest.fixture
def farm(client: TestClient) -> list[str]:
    """Ids of three memories on a farm; there is another one in a forest."""
    store(client, "a wolf", metadata={"place": "forest"})
    return [store(client, name, metadata={"place": "farm"})["id"] for name in ("cow", "pig", "hen")]


def test_by_filter(client: TestClient, farm: list[str]) -> None:
    chosen = {"filter": {"place": "farm"}}
    assert forget(client, **chosen, dry_run=True).json() == {"dry_run": True, "expected": 3}
    answer = forget(client, **chosen, expected=3, wait=True, probe=True)
    assert answer.status_code == 200
    receipt = answer.json()
    assert receipt["memory_ids"] == farm
    assert receipt["removed"]["memories"] == 3
    assert receipt["clean"]
    assert receipt["probe"]["found_before"] == 3
    assert receipt["probe"]["absent"]
    assert [each["text"] for each in client.get("/memories").json()["memories"]] == ["a wolf"]
    assert client.get(f"/receipts/{receipt['id']}").json() == receipt


def test_much_goes_on_as_a_job(
    client: TestClient, farm: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    free = threading.Event()
    real = removal.Removal._delete_all

    def delete(*given: Any) -> None:
        assert free.wait(20)
        real(*given)

    monkeypatch.setattr(removal.Removal, "_delete_all", delete)
    monkeypatch.setattr(forgetting, "LARGE", 3)
    monkeypatch.setattr(forgetting, "PATIENCE_S", 0.0)
    chosen = {"filter": {"place": "farm"}, "expected": 3}
    headers = {"X-Request-Id": "much"}
    answer = client.request("DELETE", "/memories", json=chosen, headers=headers)
    assert answer.status_code == 202
    begun = answer.json()
    assert (begun["complete"], begun["memory_ids"]) == (False, [])
    assert client.get(f"/receipts/{begun['id']}").json() == begun
    assert answer.headers["location"] == f"/jobs/{begun['job']}"
    assert client.get(answer.headers["location"]).json()["state"] == "running"
    monkeypatch.setattr(forgetting, "MOST_JOBS", 2)
    again = forget(client, **chosen)  # its turn comes then
    assert again.status_code == 202
    assert again.json()["job"] != begun["job"]
    metrics = client.get("/metrics").text
    assert 'memory_service_jobs_running{kind="forget"} 2.0' in metrics
    refused = forget(client, **chosen)
    assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
    assert int(refused.headers["retry-after"]) > 0
    free.set()
    for _, thread in list(client.app.state.application.jobs._runs.values()):  # type: ignore[attr-defined]
        thread.join(20)
    receipt = client.get(f"/receipts/{begun['id']}").json()
    assert receipt["complete"]
    assert receipt["memory_ids"] == farm
    job = client.get(answer.headers["location"]).json()
    assert (job["state"], job["result"]["receipt_id"]) == ("succeeded", begun["id"])
    noted = client.get("/audit", params={"request_id": "much"}).json()["entries"]
    assert [each["memories"] for each in noted if "memories" in each] == [farm]


def test_receipts_are_listed(client: TestClient, farm: list[str]) -> None:
    ids = [client.delete(f"/memories/{each}").json()["id"] for each in farm]
    first = client.get("/receipts", params={"limit": 2}).json()
    assert [each["id"] for each in first["receipts"]] == [ids[2], ids[1]]
    assert first["receipts"][0]["removed"]["memories"] == 1
    second = client.get("/receipts", params={"limit": 2, "before": first["next"]}).json()
    assert [each["id"] for each in second["receipts"]] == [ids[0]]
    assert second["next"] is None


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 422, "invalid_input"),
        ({"filter": {}}, 422, "invalid_input"),
        ({"filter": {}, "expected": 4}, 422, "invalid_input"),
        ({"filter": {"place": "farm"}}, 422, "invalid_input"),
        ({"filter": {"place": "farm"}, "all": True, "expected": 3}, 422, "invalid_input"),
        ({"filter": {"place": "farm"}, "expected": 4}, 409, "unexpected_count"),
        ({"filter": {"place": "farm"}, "expected": -1}, 422, "invalid_input"),
        ({"filter": {"place": "farm"}, "expected": 3, "descendants": "eat"}, 422, "invalid_input"),
        ({"filter": {"place": "farm"}, "expected": 3, "where": 1}, 422, "invalid_input"),
        ({"all": True, "expected": 3}, 409, "unexpected_count"),
    ],
)
def test_what_is_not_meant_for_sure_forgets_nothing(
    client: TestClient, farm: list[str], body: dict, status: int, code: str
) -> None:
    answer = forget(client, **body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert client.get("/stats").json()["memories"] == 4


def test_all_of_a_namespace(client: TestClient, farm: list[str]) -> None:
    store(client, "elsewhere", namespace="other")
    listed = client.get("/namespaces").json()["namespaces"]
    assert [(each["namespace"], each["memories"]) for each in listed] == [
        ("default", 4),
        ("other", 1),
    ]
    assert client.get("/namespaces/other").json() == listed[1]
    wrong = client.delete("/namespaces/default", params={"expected": 3})
    assert (wrong.status_code, wrong.json()["code"]) == (409, "unexpected_count")
    receipt = client.delete("/namespaces/default", params={"expected": 4, "probe": True}).json()
    assert receipt["what"] == "namespace"
    assert receipt["probe"]["absent"]
    assert client.get("/namespaces/default").json()["code"] == "not_found"
    assert client.delete("/namespaces/default").status_code == 404
    assert client.delete("/namespaces/no name").status_code == 422
    assert forget(client, all=True, namespace="other", expected=1).status_code == 200
    assert client.get("/namespaces").json() == {"namespaces": []}


def test_what_was_generated(client: TestClient, farm: list[str]) -> None:
    made = [
        client.post("/generate", json={"query": {"text": "cow"}, "output": "text"}).json()
        for _ in range(2)
    ]
    receipt = client.delete(f"/generations/{made[0]['id']}").json()
    assert receipt["generations_erased"] == [made[0]["id"]]
    assert client.get(f"/generations/{made[0]['id']}").status_code == 404
    assert client.delete(f"/generations/{made[0]['id']}").status_code == 404
    marked = client.delete(f"/memories/{farm[0]}").json()
    assert marked["generations_marked"] == [made[1]["id"]]
    erased = client.delete(f"/memories/{farm[1]}", params={"descendants": "erase"}).json()
    assert erased["generations_erased"] == [made[1]["id"]]
    assert client.get(f"/generations/{made[1]['id']}/content").status_code == 404


def test_how_is_checked(client: TestClient, farm: list[str]) -> None:
    for name, value in (("descendants", "eat"), ("wait", "perhaps"), ("probe", "2")):
        answer = client.delete(f"/memories/{farm[0]}", params={name: value})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    receipt = client.delete(f"/memories/{farm[0]}", params={"keep_receipt": False}).json()
    assert not receipt["kept"]
    assert client.get(f"/receipts/{receipt['id']}").json()["code"] == "not_found"


def test_thumbnails(client: TestClient, stored: dict) -> None:
    by_modality = {each["modality"]: each["id"] for each in stored["memories"]}
    for modality, widest in (("image", 256), ("audio", 256)):
        path = f"/memories/{by_modality[modality]}/thumbnail"
        first, again = client.get(path), client.get(path)
        assert first.headers["content-type"] == "image/jpeg"
        assert first.content == again.content
        with Image.open(io.BytesIO(first.content)) as picture:
            assert max(picture.size) <= widest
            assert len(picture.convert("L").getcolors() or ()) > 1  # not blank
        unchanged = client.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert unchanged.status_code == 304
    none = client.get(f"/memories/{by_modality['text']}/thumbnail")
    assert (none.status_code, none.json()["code"]) == (404, "no_thumbnail")
    assert client.get("/memories/nobody/thumbnail").json()["code"] == "not_found"
    receipt = client.delete(f"/episodes/{stored['id']}").json()
    assert receipt["removed"]["thumbnails"] == 2
