"""However a job ends, the next of its kind can begin."""

import threading
from pathlib import Path
from typing import Any

import pytest

from memory_service.clock import SystemClock
from memory_service.errors import NotReady
from memory_service.services import jobs as module
from memory_service.services.jobs import Jobs
from memory_service.storage.store import Store


@pytest.fixture
def jobs(tmp_path: Path) -> Any:
    with Store(tmp_path / "data") as store:
        yield Jobs(store, SystemClock())


def test_an_end_that_cannot_be_recorded(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(job: Any) -> None:
        raise TypeError("no JSON")

    with monkeypatch.context() as patch:
        job = jobs.run("backup", {}, lambda run: patch.setattr(jobs, "_write", failing) or {})
    assert job.state == "succeeded"
    assert jobs.running() == []
    assert jobs.run("backup", {}, lambda run: {"again": True}).result == {"again": True}


def test_no_thread_for_it(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(module.threading.Thread, "start", failing)
        with pytest.raises(NotReady, match="can't start new thread"):
            jobs.start("backup", {}, lambda run: {})
    assert [job.state for job in jobs.latest(5)] == ["interrupted"]
    assert jobs.run("backup", {}, lambda run: {}).state == "succeeded"


def test_a_priority_that_may_not_be_lowered(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(module.os, "setpriority", forbidden)
    jobs.start("backup", {}, lambda run: {})
    jobs.close()
    assert [job.state for job in jobs.latest(5)] == ["succeeded"]
