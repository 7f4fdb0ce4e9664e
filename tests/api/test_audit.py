"""The audit log: who changed what, without contents; log lines and headers of each request."""

import errno
import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from memory_service import logs
from memory_service.api import create_app
from memory_service.errors import StorageFull
from memory_service.settings import Settings
from memory_service.storage import audit as audit_module
from memory_service.storage.audit import AuditLog

ITEM = {"items": [{"modality": "text", "text": "a secret hen"}], "metadata": {"where": "barn"}}


def test_what_is_changed_is_noted_and_contents_are_not(
    client: TestClient, settings: Settings
) -> None:
    stored = client.post("/store", json=ITEM, headers={"X-Request-Id": "one"}).json()["episode"]
    memory = stored["memories"][0]["id"]
    client.get("/memories")
    client.patch(f"/memories/{memory}", json={"metadata": {"where": "yard"}})
    client.post("/store", json={"items": []})
    receipt = client.delete(f"/memories/{memory}").json()
    entries = client.get("/audit").json()["entries"]
    assert [(each["method"], each["route"], each["status"]) for each in entries] == [
        ("DELETE", "/memories/{memory_id}", 200),
        ("POST", "/store", 422),
        ("PATCH", "/memories/{memory_id}", 200),
        ("POST", "/store", 201),
    ]
    assert entries[0]["receipts"] == [receipt["id"]]
    assert entries[0]["memory_id"] == entries[2]["memory_id"] == memory
    assert entries[0]["memories"] == entries[2]["memories"] == [memory]
    assert entries[3]["memories"] == [memory]
    assert (entries[3]["request_id"], entries[3]["namespaces"]) == ("one", ["default"])
    (found,) = client.get("/audit", params={"request_id": "one"}).json()["entries"]
    assert found == entries[3]
    kept = (settings.data_dir / "audit/0.jsonl").read_text()
    assert "hen" not in kept
    assert "barn" not in kept


def test_what_is_stored_together_is_noted_for_each(client: TestClient) -> None:
    item = {"modality": "text", "text": "given", "space": "fake", "vector": [1.0] * 384}
    stored = [client.post("/store", json={"items": [item]}).json()["episode"] for _ in range(2)]
    lines = client.get("/audit").json()["entries"]
    assert [each["episodes"] for each in reversed(lines)] == [[each["id"]] for each in stored]
    assert len({each["request_id"] for each in lines}) == 2


def test_a_batch_notes_what_each_group_stored(client: TestClient) -> None:
    lines = "\n".join(json.dumps(each) for each in (ITEM, {"items": []}, ITEM))
    kind = {"Content-Type": "application/x-ndjson"}
    answers = client.post("/store/batch", content=lines, headers=kind).text.splitlines()
    told = [json.loads(each) for each in answers]
    ids = [each["episode"]["id"] for each in told if each["status"] == 201]
    entries = client.get("/audit").json()["entries"]
    noted = [episode for each in entries for episode in each.get("episodes", [])]
    assert sorted(noted) == sorted(ids)
    assert len(ids) == 2


def test_who_was_refused_is_noted_and_who_it_was(settings: Settings) -> None:
    app = create_app(settings=settings.model_copy(update={"auth": "required"}))
    with TestClient(app) as client:
        keys = app.state.application.keys
        (reader, text), (_, admin) = keys.create("r", "read"), keys.create("a", "admin")
        client.get("/stats")
        client.post("/store", json=ITEM, headers={"Authorization": f"Bearer {text}"})
        headers = {"Authorization": f"Bearer {admin}"}
        entries = client.get("/audit", headers=headers).json()["entries"]
        assert [(each["key"], each["status"]) for each in entries] == [
            (reader.id, 403),
            (None, 401),
        ]
        own = client.get("/audit", headers=headers, params={"key": reader.id}).json()["entries"]
        assert own == entries[:1]


def test_what_is_committed_once_the_log_is_closed_is_in_the_log_of_the_service(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    client.app.state.application.audit.close()  # type: ignore[attr-defined]
    answer = client.post("/store", json=ITEM, headers={"X-Request-Id": "last"})
    assert answer.status_code == 201
    (line,) = [each.getMessage() for each in caplog.records if "audit log" in each.getMessage()]
    assert "the audit log is closed" in line
    assert "'last'" in line
    assert answer.json()["episode"]["id"] in line


def test_old_files_are_dropped_and_cut_lines_passed_over(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, max_bytes=4096, files=3)
    for number in range(300):
        log.add({"number": number, "padding": "x" * 50})
    log.close()
    files = sorted(each.name for each in (tmp_path / "audit").iterdir())
    assert files == ["0.jsonl", "1.jsonl", "2.jsonl"]
    assert all(each.stat().st_size <= 4096 for each in (tmp_path / "audit").iterdir())
    with (tmp_path / "audit/0.jsonl").open("ab") as file:
        file.write(b'{"number": ')  # a power cut
    log = AuditLog(tmp_path, max_bytes=4096, files=3)
    log.add({"number": 300})
    numbers = [each["number"] for each in log.latest(1000, {})]
    assert numbers == list(range(300, 300 - len(numbers), -1))
    assert log.latest(2, {}) == log.latest(1000, {})[:2]
    assert log.latest(5, {"number": 299})[0]["number"] == 299
    log.close()


class FullDisk:
    """Takes so many bytes more, a part of a line as well, and then none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
        self.room = room
        self._write = os.write
        monkeypatch.setattr(audit_module.os, "write", self.write)

    def write(self, file: int, content: Any) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = self._write(file, content[: self.room])
        self.room -= written
        return written


def test_a_full_disk_leaves_no_half_line_and_a_change_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AuditLog(tmp_path, max_bytes=4096, files=2)
    log.add({"number": 0})
    disk = FullDisk(monkeypatch, room=5)
    with pytest.raises(StorageFull):
        log.add({"number": 1})
    with pytest.raises(StorageFull):
        log.add({"number": 2}, owed=False)
    assert (tmp_path / "audit/0.jsonl").read_bytes() == b'{"number":0}\n'
    disk.room = 1000
    log.add({"number": 3})
    lines = (tmp_path / "audit/0.jsonl").read_text().splitlines()
    assert [json.loads(each)["number"] for each in lines] == [0, 1, 3]
    disk.room = 0
    with pytest.raises(StorageFull):
        log.add({"number": 4})
    disk.room = 1000
    log.close()
    assert (tmp_path / "audit/0.jsonl").read_text().endswith('{"number":4}\n')


def test_lines_that_are_added_together_are_there_all_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AuditLog(tmp_path, max_bytes=4096, files=2)
    disk = FullDisk(monkeypatch, room=16)
    with pytest.raises(StorageFull):
        log.add({"number": 0}, {"number": 1})
    assert not log.latest(5, {})
    disk.room = 1000
    log.add({"number": 2}, {"number": 3})
    assert [each["number"] for each in log.latest(5, {})] == [3, 2, 1, 0]
    log.close()


def test_half_a_line_that_cannot_be_taken_back_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AuditLog(tmp_path, max_bytes=4096, files=2)

    def fails(*_: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    disk = FullDisk(monkeypatch, room=5)
    monkeypatch.setattr(audit_module.os, "ftruncate", fails)
    with pytest.raises(StorageFull):
        log.add({"number": 1})
    disk.room = 1000
    log.add({"number": 2})
    assert [each["number"] for each in log.latest(5, {})] == [2, 1]
    log.close()


def test_a_file_that_cannot_be_opened_is_opened_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number is another file's by then, which must not be written into."""
    log = AuditLog(tmp_path, max_bytes=20, files=2)
    log.add({"number": 1})

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(audit_module.os, "open", full)
        with pytest.raises(StorageFull):
            log.add({"number": 2})
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
    log.add({"number": 3})
    assert (tmp_path / "other").read_bytes() == b""
    os.close(other)
    assert [each["number"] for each in log.latest(5, {})] == [3, 2]
    log.close()


def test_a_delete_on_a_full_disk_is_noted_once_there_is_room(
    client: TestClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = client.post("/store", json=ITEM).json()["episode"]["memories"][0]["id"]
    with monkeypatch.context() as patch:
        FullDisk(patch, room=7)
        assert client.delete(f"/memories/{memory}").status_code == 200
        assert [each["method"] for each in client.get("/audit").json()["entries"]] == ["POST"]
    client.post("/store", json={"items": []})
    entries = client.get("/audit").json()["entries"]
    assert [each["status"] for each in entries] == [422, 200, 201]
    assert entries[1]["memories"] == [memory]
    (record,) = [each for each in caplog.records if "not yet in the audit log" in each.message]
    assert memory in record.message
    assert record.exc_info is None


def test_without_an_audit_log(settings: Settings) -> None:
    with TestClient(create_app(settings=settings.model_copy(update={"audit_files": 0}))) as client:
        assert client.post("/store", json=ITEM).status_code == 201
        assert client.get("/audit").json() == {"entries": []}
        assert not (settings.data_dir / "audit").exists()


def test_a_line_of_the_log_as_json(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.handler.setFormatter(logs.JsonFormatter())
    with caplog.at_level("INFO", "memory_service"):
        client.post("/store", json=ITEM, headers={"X-Request-Id": "seen-again"})
    (line,) = [json.loads(each) for each in caplog.text.splitlines() if "/store" in each]
    assert line["level"] == "info"
    assert (line["method"], line["route"], line["status"]) == ("POST", "/store", 201)
    assert line["request_id"] == "seen-again"
    assert line["duration_ms"] >= line["stages_ms"]["encode"] > 0
    assert line["key"] is None


def test_text_lines_bear_the_request() -> None:
    record = logging.LogRecord("memory_service", logging.INFO, "", 0, "said", (), None)
    token = logs.request_id.set("abc")
    assert logs.TextFormatter().format(record).endswith("INFO memory_service: said [abc]")
    logs.request_id.reset(token)
    assert logs.TextFormatter().format(record).endswith("said")
    failed = logging.LogRecord(
        "m", logging.ERROR, "", 0, "no", (), (ValueError, ValueError("x"), None)
    )
    assert "ValueError: x" in json.loads(logs.JsonFormatter().format(failed))["exception"]


def test_headers_of_every_answer(client: TestClient) -> None:
    for path in ("/stats", "/nowhere", "/openapi.json", "/docs"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
    page = client.get("/docs")
    policy = page.headers["content-security-policy"]
    assert "script-src 'self' 'sha256-" in policy
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/memories/x", "DELETE, GET, HEAD, PATCH"),
        ("PUT", "/store", "POST"),
        ("PATCH", "/namespaces/x/settings", "GET, HEAD, PUT"),
    ],
)
def test_allow_names_all_methods_of_a_path(
    client: TestClient, method: str, path: str, allowed: str
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize("k", [True, "3", 3.5, None])
def test_numbers_in_json_are_numbers(client: TestClient, k: Any) -> None:
    answer = client.post("/retrieve", json={"query": {"text": "a"}, "k": k})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    form = client.post("/retrieve", files={"text": b"a"}, data={"k": "3"})
    assert form.status_code == 200  # a form has nothing but strings
