"""Work that goes on after its request was answered, with a record that outlives the process.

One job of a kind runs at a time, unless its kind can have several. Knows nothing about what a job
does, nor HTTP.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from memory_service import trail
from memory_service.clock import Clock
from memory_service.errors import JobConflict, MemoryServiceError, NotReady, Overloaded
from memory_service.ids import new_id
from memory_service.records import Job, JobState
from memory_service.storage import jobs as records
from memory_service.storage.store import Store

log = logging.getLogger(__name__)

NICENESS = 10  # of a job's thread: requests go first
RETRY_AFTER_S = 5
CLOSING_S = 30.0  # how long `close` waits for a job to come to a stop


class Stopped(Exception):
    """Asked to stop; the argument is the state that the job is left in."""


class Run:
    """What the work of a job may do with its record. `job` is the present one."""

    def __init__(
        self, job: Job, clock: Clock, on_change: Callable[[Job], None] = lambda job: None
    ) -> None:
        self.job = job
        self._clock = clock
        self._on_change = on_change
        self._stop: JobState | None = None

    def stop(self, state: JobState) -> None:
        self._stop = self._stop or state

    def go_on(self) -> None:
        """To be called at every point where the work may end early and be taken up later."""
        if self._stop is not None:
            raise Stopped(self._stop)

    def progress(self, **values: Any) -> Job:
        """Note how far the work is; returns the record, for the work's own transaction."""
        progress = {**self.job.progress, **values}
        return self._set(progress=progress)

    def finished(self, state: JobState, **values: Any) -> Job:
        return self._set(state=state, finished_at=self._clock.now(), **values)

    def _set(self, **values: Any) -> Job:
        self.job = replace(self.job, updated_at=self._clock.now(), **values)
        self._on_change(self.job)
        return self.job


Work = Callable[[Run], Mapping[str, Any]]  # returns the result


class Jobs:
    """Safe for use from several threads. Jobs that a dead process left are `interrupted`. Of each
    kind the records of the latest `kept` stay."""

    def __init__(self, store: Store, clock: Clock, kept: int) -> None:
        self._store = store
        self._clock = clock
        self._kept = kept
        self._lock = threading.Lock()
        self._runs: dict[str, tuple[Run, threading.Thread | None]] = {}  # by id
        self._held: set[str] = set()  # kinds that may not start
        self._closed = False
        for job in records.running(store.catalog):
            self._write(replace(job, state="interrupted", updated_at=clock.now()))

    def _write(self, job: Job) -> None:
        with self._store.catalog.transaction("recording a job") as connection:
            records.write(connection, job)
            records.keep_latest(connection, job.kind, self._kept)

    def get(self, job_id: str) -> Job:
        """The record; of a running job the present one. Raises NotFound."""
        for job in self._present():
            if job.id == job_id:
                return job
        return records.get(self._store.catalog, job_id)

    def _present(self) -> list[Job]:
        """Those whose work has not ended; what its record says of the end does not hold yet."""
        jobs = [run.job for run, _ in list(self._runs.values())]
        return [replace(job, state="running", finished_at=None) for job in jobs]

    def running(self) -> list[str]:
        """The kinds of the jobs that run now, one for each."""
        return [run.job.kind for run, _ in list(self._runs.values())]

    def latest(self, limit: int, kind: str | None = None) -> list[Job]:
        """The newest first."""
        present = {job.id: job for job in self._present()}
        found = records.latest(self._store.catalog, limit, kind)
        return [present.get(job.id, job) for job in found]

    def start(
        self,
        kind: str,
        parameters: Mapping[str, Any],
        work: Work,
        *,
        behind_requests: bool = True,
        most: int = 1,
    ) -> Job:
        """Begin in a thread of its own. An interrupted or cancelled job of the same parameters is
        taken up, under its old id. Not `behind_requests`: work that holds the write lock most of
        its time, on which requests would wait for longer, were it slower. Raises JobConflict while
        another of the kind runs, or, where it can have several, Overloaded while `most` do."""
        run = self._new_run(kind, parameters, most=most)

        def in_background() -> None:
            if behind_requests:
                _lower_priority()
            self._run(run, work)
            log.info("job %s (%s): %s %s", run.job.id, kind, run.job.state, run.job.error or "")

        thread = threading.Thread(target=in_background, name=f"job-{kind}", daemon=True)
        self._runs[run.job.id] = run, thread
        begun = run.job  # soon it may say how it ends, before its end holds
        try:
            thread.start()
        except RuntimeError as error:  # the system has no thread for it
            self._end(replace(begun, state="interrupted"))
            raise NotReady(f"the job could not be started: {error}") from error
        return begun

    def run(
        self,
        kind: str,
        parameters: Mapping[str, Any],
        work: Work,
        on_change: Callable[[Job], None] = lambda job: None,
    ) -> Job:
        """`start`, but in the calling thread; returns the finished job."""
        run = self._new_run(kind, parameters, on_change)
        self._run(run, work)
        return run.job

    def _new_run(
        self,
        kind: str,
        parameters: Mapping[str, Any],
        on_change: Callable[[Job], None] = lambda job: None,
        most: int = 1,
    ) -> Run:
        with self._lock:
            self._require_room(kind, most)
            if self._closed:
                raise NotReady("the service is shutting down")
            now = self._clock.now()
            job = self._unfinished(kind, parameters) or Job(
                new_id(), kind, "running", now, now, dict(parameters)
            )
            job = replace(job, state="running", updated_at=now, finished_at=None, error=None)
            self._write(job)
            run = Run(job, self._clock, on_change)
            self._runs[job.id] = run, None
        trail.told(jobs=[job.id])
        return run

    @contextmanager
    def none(self, kind: str) -> Iterator[None]:
        """No job of the kind runs, and none starts. Raises JobConflict."""
        with self._lock:
            self._require_room(kind)
            self._held.add(kind)
        try:
            yield
        finally:
            self._held.remove(kind)

    def _require_room(self, kind: str, most: int = 1) -> None:
        present = [run.job for run, _ in list(self._runs.values()) if run.job.kind == kind]
        if len(present) >= most:
            job = present[0]
            if most == 1:
                raise JobConflict(f"{kind}: job {job.id} is running", id=job.id)
            raise Overloaded(
                f"{kind}: {len(present)} jobs run or wait, the first of them {job.id}",
                id=job.id,
                retry_after_s=RETRY_AFTER_S,
                accepted=most,
            )
        if kind in self._held:
            raise JobConflict(f"{kind}: what an earlier job left is being cleared away")

    def _unfinished(self, kind: str, parameters: Mapping[str, Any]) -> Job | None:
        for job in records.latest(self._store.catalog, 1, kind):
            # One that is just ending is not taken up: its entry would go with it.
            ended = job.state in ("interrupted", "cancelled") and job.id not in self._runs
            if ended and job.parameters == parameters:
                return job
        return None

    def _run(self, run: Run, work: Work) -> None:
        try:
            result = work(run)
            run.finished("succeeded", result=result)
        except Stopped as stopped:
            run.finished(stopped.args[0])
        except MemoryServiceError as error:
            problem = {**error.details, "code": error.code, "message": error.message}
            run.finished("failed", error=problem)
        except Exception as error:
            log.exception("job %s failed", run.job.id)
            problem = {"code": "internal_error", "message": f"{type(error).__name__}: {error}"}
            run.finished("failed", error=problem)
        except BaseException:  # told to end: by a key, or by what it called
            run.finished("interrupted")
            raise
        finally:
            self._end(run.job)

    def _end(self, job: Job) -> None:
        try:
            self._write(job)
        except Exception:  # a full disk, most likely: the next start says interrupted
            log.exception("the end of job %s could not be recorded", job.id)
        finally:  # whatever it is: the next of its kind must be able to begin
            del self._runs[job.id]

    def cancel(self, job_id: str) -> Job:
        """Ask a running job to stop, which it does at its next step. Raises NotFound, and
        JobConflict for one that does not run."""
        for run, _ in list(self._runs.values()):
            if run.job.id == job_id:
                run.stop("cancelled")
                return run.job
        job = self.get(job_id)
        raise JobConflict(f"job {job_id} is not running: it has {job.state}", id=job_id)

    def interrupt(self) -> list[tuple[Run, threading.Thread | None]]:
        """Ask running jobs to stop, and start no others; returns those that run."""
        with self._lock:
            self._closed = True
            runs = list(self._runs.values())
        for run, _ in runs:
            run.stop("interrupted")
        return runs

    def close(self) -> None:
        """Bring running jobs to a stop: they are `interrupted`, and can be taken up."""
        for _, thread in self.interrupt():
            if thread is not None and thread is not threading.current_thread():
                thread.join(CLOSING_S)


def _lower_priority() -> None:
    """Of the calling thread; elsewhere than on Linux it would be the whole process's."""
    if sys.platform == "linux":
        with suppress(OSError):  # forbidden here: the job does its work all the same
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
