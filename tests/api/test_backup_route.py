"""POST /backup: into a folder of the operator, by a name."""

from pathlib import Path

import pytest
from ended_jobs import finished
from fastapi.testclient import TestClient

from memory_service.api import create_app
from memory_service.settings import Settings
from memory_service.storage.backup import restore
from memory_service.storage.fsck.run import check


def test_a_backup_is_a_job(settings: Settings, tmp_path: Path, tiger: dict[str, bytes]) -> None:
    own = settings.model_copy(update={"backup_dir": tmp_path / "backups"})
    with TestClient(create_app(settings=own)) as client:
        client.post("/store", files=tiger)
        answer = client.post("/backup", json={"name": "nightly"})
        assert answer.status_code == 202
        assert answer.headers["location"] == f"/jobs/{answer.json()['id']}"
        job = finished(client, answer.json())
        assert job["state"] == "succeeded", job
        assert job["result"]["memories"] == 3
        assert job["result"]["damaged"] == []
        contents = job["result"]["contents"]
        again = finished(client, client.post("/backup", json={"name": "nightly"}).json())
        assert (again["result"]["kept"], again["result"]["copied"]) == (contents, 0)
    restore(tmp_path / "backups/nightly", tmp_path / "new")
    assert check(tmp_path / "new").findings == []


def test_with_access(settings: Settings, tmp_path: Path) -> None:
    own = settings.model_copy(update={"backup_dir": tmp_path / "backups"})
    with TestClient(create_app(settings=own)) as client:
        made = client.post("/keys", json={"name": "camera", "scope": "read"}).json()
        asked = client.post("/backup", json={"with_access": True})
        job = finished(client, asked.json())
        assert job["result"]["access"] == ["audit/0.jsonl", "keys.sqlite3"]
    restore(tmp_path / "backups/default", tmp_path / "new")
    restored = settings.model_copy(update={"data_dir": tmp_path / "new", "auth": "required"})
    with TestClient(create_app(settings=restored)) as client:
        headers = {"Authorization": f"Bearer {made['key']}"}
        assert client.get("/stats", headers=headers).status_code == 200


def test_without_a_folder(client: TestClient) -> None:
    answer = client.post("/backup", json={})
    assert (answer.status_code, answer.json()["code"]) == (409, "not_configured")


@pytest.mark.parametrize("name", ["../elsewhere", "/tmp/x", "", "a/b", ".", 7])
def test_a_name_is_no_path(settings: Settings, tmp_path: Path, name: object) -> None:
    own = settings.model_copy(update={"backup_dir": tmp_path / "backups"})
    with TestClient(create_app(settings=own)) as client:
        answer = client.post("/backup", json={"name": name})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert not (tmp_path / "backups").exists()
