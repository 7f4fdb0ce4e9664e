"""Re-embedding and jobs over HTTP."""

from types import ModuleType

import pytest
from ended_jobs import finished
from fastapi.testclient import TestClient

from memory_service.api import create_app
from memory_service.services import embedding_batches
from memory_service.settings import Settings

pytestmark = pytest.mark.usefixtures("other_profile")


def test_a_service_goes_over_to_another_profile(client: TestClient, stored: dict) -> None:
    query = {"query": {"text": "tiger"}, "modalities": ["image"]}
    before = client.post("/retrieve", json=query).json()["results"]
    answer = client.post("/reembed", json={"profile": "other"})
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/jobs/{answer.json()['id']}"
    assert answer.json()["kind"] == "reembed"
    job = finished(client, answer.json())
    assert job["state"] == "succeeded"
    assert job["error"] is None
    assert job["result"]["switched"]
    assert job["result"]["proof"]["complete"]
    assert job["result"]["proof"]["modalities"]["image"]["embedded"] == 1
    assert client.get("/jobs").json()["jobs"] == [job]
    assert client.get("/models").json()["profile"] == "other"
    after = client.post("/retrieve", json=query).json()["results"]
    assert after["image"][0]["memory"] == before["image"][0]["memory"]

    spaces = client.get("/reembed").json()["spaces"]
    assert {(each["space"], each["role"]) for each in spaces} == {
        ("fake", "old"),
        ("other", "active"),
    }
    assert client.get("/stats").json()["memories"] == 3
    assert client.delete("/reembed/old").json() == {"dropped": 3}
    assert {each["role"] for each in client.get("/reembed").json()["spaces"]} == {"active"}
    assert client.post("/generate", json={"query": {"text": "tiger"}}).status_code == 422


def test_a_store_of_other_encoders_is_degraded_until_it_is_reembedded(
    settings: Settings, tiger: dict[str, bytes]
) -> None:
    with TestClient(create_app(settings=settings)) as client:
        client.post("/store", files=tiger)
        assert client.get("/readyz").json() == {"status": "ok"}
    other = settings.model_copy(update={"profile": "other"})
    with TestClient(create_app(settings=other)) as client:
        answer = client.get("/readyz")
        assert answer.status_code == 200
        degraded = answer.json()
        query = {"query": {"text": "tiger"}, "modalities": ["image"]}
        refused = client.post("/retrieve", json=query)
        assert refused.status_code == 409
        assert (degraded["status"], degraded["code"]) == ("degraded", refused.json()["code"])
        assert sorted(degraded["modalities"]) == ["audio", "image", "text"]
        assert "the store's image vectors were made in space fake" in degraded["reason"]
        assert degraded["command"] == "memory-service reembed --profile other"
        assert degraded["command"] in refused.json()["detail"]
        assert str(settings.data_dir) not in answer.text  # it is answered without a key
        finished(client, client.post("/reembed", json={"profile": "other"}).json())
        assert client.get("/readyz").json() == {"status": "ok"}
        assert client.post("/retrieve", json=query).status_code == 200


def test_a_dry_run(client: TestClient, stored: dict) -> None:
    job = client.post("/reembed", json={"profile": "other", "dry_run": True}).json()
    assert finished(client, job)["result"]["forecast"]["to_embed"] == 3
    assert client.get("/models").json()["profile"] == "fake"


def test_only_one_at_a_time_and_cancelled(
    client: TestClient,
    stored: dict,
    other_profile: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTHER_PROFILE_S", "0.1")
    monkeypatch.setattr(embedding_batches, "BATCH", 1)
    job = client.post("/reembed", json={"profile": "other"}).json()
    for refused in (
        client.post("/reembed", json={"profile": "other"}),
        client.delete("/reembed/new"),
    ):
        assert refused.status_code == 409
        assert refused.json()["code"] == "job_conflict"
        assert refused.json()["id"] == job["id"]
    cancelled = client.delete(f"/jobs/{job['id']}")
    assert cancelled.status_code == 202
    assert finished(client, job)["state"] == "cancelled"
    assert client.delete(f"/jobs/{job['id']}").json()["code"] == "job_conflict"
    again = client.post("/reembed", json={"profile": "other"}).json()
    assert again["id"] == job["id"]
    assert finished(client, again)["state"] == "succeeded"
    assert other_profile.encoded.total() == 3


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"profile": "nonsense"}, 422, "invalid_input"),
        ({}, 422, "invalid_input"),
        ({"profile": "other", "dryrun": True}, 422, "invalid_input"),
        ({"rollback": True, "profile": "other"}, 422, "invalid_input"),
        ({"rollback": True, "dry_run": True}, 422, "invalid_input"),
    ],
)
def test_bad_requests(client: TestClient, body: dict, status: int, code: str) -> None:
    answer = client.post("/reembed", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert client.get("/jobs").json() == {"jobs": []}


def test_what_is_not_there(client: TestClient) -> None:
    assert client.post("/reembed", data={"profile": "other"}).status_code == 415
    assert client.get("/jobs/nothing").status_code == 404
    assert client.delete("/jobs/nothing").status_code == 404
    assert client.delete("/reembed/active").status_code == 422
    assert client.get("/jobs?limit=0").status_code == 422
    assert client.delete("/reembed/old").json() == {"dropped": 0}


def test_back_to_the_former_profile(client: TestClient, stored: dict) -> None:
    refused = client.post("/reembed", json={"rollback": True})
    assert (refused.status_code, refused.json()["code"]) == (409, "nothing_kept")
    finished(client, client.post("/reembed", json={"profile": "other"}).json())
    answer = client.post("/reembed", json={"rollback": True})
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/jobs/{answer.json()['id']}"
    job = finished(client, answer.json())
    assert job["result"]["switched"]
    assert client.get("/models").json()["profile"] == "fake"
    assert client.post("/generate", json={"query": {"text": "tiger"}}).status_code == 201
