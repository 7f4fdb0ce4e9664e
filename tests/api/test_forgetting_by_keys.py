"""What keys that are bound to a namespace learn of forgetting: nothing of what others have."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from memory_service.api import create_app
from memory_service.services import forgetting
from memory_service.settings import Settings

SECRET = "a guess at what others keep"


@pytest.fixture
def guarded(settings: Settings) -> Iterator[TestClient]:
    guarded = settings.model_copy(update={"auth": "required"})
    with TestClient(create_app(settings=guarded)) as client:
        yield client


@pytest.fixture
def ask(guarded: TestClient) -> Any:
    make = guarded.app.state.application.keys.create  # type: ignore[attr-defined]
    keys = {
        "all": make("all", "admin")[1],
        "one": make("one", "admin", namespaces=["one"])[1],
        "two": make("two", "admin", namespaces=["two"])[1],
    }

    def ask(who: str, method: str, path: str, **more: Any) -> Any:
        headers = {"Authorization": f"Bearer {keys[who]}"}
        answer = guarded.request(method, path, headers=headers, **more)
        assert answer.status_code < 300, answer.text
        return answer.json()

    return ask


def store(ask: Any, who: str, text: str, namespace: str | None = None) -> str:
    body = {"items": [{"modality": "text", "text": text}], "namespace": namespace or who}
    return str(ask(who, "POST", "/store", json=body)["episode"]["memories"][0]["id"])


def without_ids(receipt: dict[str, Any]) -> dict[str, Any]:
    own = ("id", "time", "memory_ids", "episode_ids", "contents", "digest", "job")
    return {name: value for name, value in receipt.items() if name not in own}


def test_whether_another_namespace_has_the_same_content_is_not_told(ask: Any) -> None:
    store(ask, "two", SECRET)
    receipts = [
        ask("one", "DELETE", f"/memories/{store(ask, 'one', text)}", params={"probe": True})
        for text in (SECRET, "what nobody else has")
    ]
    assert without_ids(receipts[0]) == without_ids(receipts[1])
    assert all(len(each["contents"]) == 1 for each in receipts)
    again = [ask("one", "GET", f"/receipts/{each['id']}") for each in receipts]
    assert again == receipts
    listed = ask("one", "GET", "/receipts")["receipts"]
    assert without_ids(listed[0]) == without_ids(listed[1])


def test_who_sees_everything_is_told(ask: Any) -> None:
    store(ask, "two", SECRET)
    shared = ask("one", "DELETE", f"/memories/{store(ask, 'one', SECRET)}")
    alone = ask("one", "DELETE", f"/memories/{store(ask, 'one', 'alone')}")
    assert ask("all", "GET", f"/receipts/{shared['id']}")["blobs_removed"] == []
    told = ask("all", "GET", f"/receipts/{alone['id']}")
    assert told["blobs_removed"] == told["contents"]
    assert told["removed"]["blobs"] == 1


def test_nor_by_the_job_of_much(
    ask: Any, guarded: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "LARGE", 1)
    store(ask, "two", SECRET)
    results = []
    for text in (SECRET, "what nobody else has"):
        store(ask, "one", text)
        begun = ask("one", "DELETE", "/memories", json={"all": True, "expected": 1})
        for _, thread in list(guarded.app.state.application.jobs._runs.values()):  # type: ignore[attr-defined]
            thread.join(20)
        job = ask("one", "GET", f"/jobs/{begun['job']}")
        results.append(job["result"])
    for result in results:
        del result["receipt_id"], result["digest"]
    assert results[0] == results[1]


def test_receipts_of_other_namespaces_are_not_listed(ask: Any) -> None:
    for who in ("one", "two"):
        ask(who, "DELETE", f"/memories/{store(ask, who, 'a note')}")
    assert [each["namespace"] for each in ask("one", "GET", "/receipts")["receipts"]] == ["one"]
    assert len(ask("all", "GET", "/receipts")["receipts"]) == 2
