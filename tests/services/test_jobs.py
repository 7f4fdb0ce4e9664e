"""However a job ends, the next of its kind can begin."""

import threading
import time
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


def test_what_is_just_ending_is_not_taken_up(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelled and asked for again before its thread is gone: another job, which stays listed."""
    ending, go_on = threading.Event(), threading.Event()
    write = jobs._write

    def slow(job: Any) -> None:
        write(job)
        if job.state == "cancelled":
            ending.set()
            assert go_on.wait(10)

    def cancelled(run: Any) -> dict[str, Any]:
        raise module.Stopped("cancelled")

    again = threading.Event()
    monkeypatch.setattr(jobs, "_write", slow)
    first = jobs.start("forgetting", {"a": 1}, cancelled, most=2)
    assert ending.wait(10)
    second = jobs.start("forgetting", {"a": 1}, lambda run: again.wait(10) and {}, most=2)
    assert second.id != first.id
    go_on.set()
    while first.id in jobs._runs:
        time.sleep(0.01)
    assert list(jobs._runs) == [second.id]
    again.set()
    jobs.close()
    assert jobs.get(second.id).state == "succeeded"
