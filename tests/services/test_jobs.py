"""However a job ends, the next of its kind can begin."""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from memory_service.clock import SystemClock
from memory_service.errors import NotFound, NotReady
from memory_service.services import jobs as module
from memory_service.services.jobs import Jobs
from memory_service.storage import jobs as records
from memory_service.storage.store import Store


@pytest.fixture
def jobs(tmp_path: Path) -> Any:
    with Store(tmp_path / "data") as store:
        yield Jobs(store, SystemClock(), kept=3)


def test_an_end_that_cannot_be_recorded(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(job: Any) -> None:
        raise TypeError("no JSON")

    with monkeypatch.context() as patch:
        job = jobs.run("backup", {}, lambda run: patch.setattr(jobs, "_write", failing) or {})
    assert job.state == "succeeded"
    assert jobs.running() == []
    assert jobs.run("backup", {}, lambda run: {"again": True}).result == {"again": True}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit])
def test_what_would_end_the_process_leaves_it_interrupted(
    jobs: Jobs, raised: type[BaseException]
) -> None:
    def raising(run: Any) -> dict[str, Any]:
        raise raised

    with pytest.raises(raised):
        jobs.run("backup", {}, raising)
    (first,) = jobs.latest(5)
    assert first.state == "interrupted"
    taken_up = jobs.start("backup", {}, raising)
    assert taken_up.id == first.id
    jobs.close()
    assert [(job.id, job.state) for job in jobs.latest(5)] == [(first.id, "interrupted")]


def test_no_thread_for_it(
    jobs: Jobs, no_threads: Callable[[], AbstractContextManager[None]]
) -> None:
    with no_threads(), pytest.raises(NotReady, match="can't start new thread"):
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


def test_the_latest_of_each_kind_are_kept(jobs: Jobs) -> None:
    def failing(run: Any) -> dict[str, Any]:
        raise NotReady("not now")

    other = jobs.run("evaluate", {}, lambda run: {})
    works = [failing, lambda run: {}, lambda run: {}, failing, lambda run: {}]
    made = [jobs.run("backup", {"number": n}, work) for n, work in enumerate(works)]
    assert [job.id for job in jobs.latest(9)] == [job.id for job in made[:1:-1]] + [other.id]
    with pytest.raises(NotFound):
        jobs.get(made[1].id)


def test_a_job_that_runs_is_kept_however_many_end_meanwhile(jobs: Jobs) -> None:
    go_on = threading.Event()
    slow = jobs.start("forget", {}, lambda run: go_on.wait(10) and {"done": True}, most=2)
    for number in range(5):
        jobs.start("forget", {"number": number}, lambda run: {}, most=2)
        while len(jobs.running()) > 1:
            time.sleep(0.001)
    assert [job.id for job in records.running(jobs._store.catalog)] == [slow.id]
    go_on.set()
    jobs.close()
    assert len(records.latest(jobs._store.catalog, 9)) == 3
    assert jobs.get(slow.id).result == {"done": True}
