"""What operators see of a full disk: one line of the log now and then, /readyz, a metric."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from memory_service.api import audit, problems
from memory_service.errors import StorageFull
from memory_service.logs import Sparing

ITEM = {"items": [{"modality": "text", "text": "a hen"}]}


@pytest.fixture
def full(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A service that can write nothing, until it is called."""
    application: Any = client.app.state.application  # type: ignore[attr-defined]
    monkeypatch.setattr(problems, "sparing", Sparing())
    monkeypatch.setattr(audit, "sparing", Sparing())

    def refuse(*_: Any, **__: Any) -> None:
        raise StorageFull("the disk is full: it was not done")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(application.store.blobs, "insert", refuse)
        patch.setattr(application.audit, "add", refuse)
        yield patch.undo


def test_the_log_has_a_line_and_no_trace(
    client: TestClient, full: Any, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(20):
        answer = client.post("/store", json=ITEM)
        assert (answer.status_code, answer.json()["code"]) == (507, "storage_full")
    told = [each for each in caplog.records if "the disk is full" in each.getMessage()]
    assert len(told) == 2  # of the request, and of its line in the audit log
    assert all(each.exc_info is None for each in told)


def test_readyz_and_the_metrics_say_so_until_it_is_over(client: TestClient, full: Any) -> None:
    assert client.get("/readyz").json() == {"status": "ok"}
    client.post("/store", json=ITEM)
    ready = client.get("/readyz")
    assert ready.status_code == 200  # it can be read, and cleared
    assert (ready.json()["status"], ready.json()["code"]) == ("degraded", "storage_full")
    assert "memory_service_storage_full 1.0" in client.get("/metrics").text
    full()
    assert client.post("/store", json=ITEM).status_code == 201
    assert client.get("/readyz").json() == {"status": "ok"}
    assert "memory_service_storage_full 0.0" in client.get("/metrics").text


def test_sparing_tells_how_often_it_was_silent() -> None:
    now = [0.0]
    sparing = Sparing(10.0, lambda: now[0])
    assert [sparing.met("full") for _ in range(4)] == ["", None, None, None]
    assert sparing.met("other") == ""
    now[0] = 10.0
    assert sparing.met("full") == " (3 more since the last such line)"
    now[0] = 20.0
    assert sparing.met("full") == ""
