"""Follows a large forgetting, which goes on as a job, until it has ended.

It knows what to ask and how long to pause, and neither who sends nor who sleeps, so that it is the
same for both clients.
"""

from __future__ import annotations

import time
from dataclasses import replace

from memory_service.client import operations
from memory_service.client.failures import ServiceError
from memory_service.client.operations import Operation
from memory_service.client.results import Forgotten, Job

PATIENCE_S = 3600.0
FIRST_PAUSE_S = 0.2
LONGER = 1.5  # times as long is each next one
MOST_PAUSE_S = 5.0
BUSY = (429, 503)  # statuses of a service that wants to be asked again


class Following:
    """Of what a service answered to a forgetting: `job` is to be asked for as long as `goes_on`,
    each time after `pause_s`, and what comes is to be told by `saw` or `failed`."""

    def __init__(self, begun: Forgotten, patience_s: float) -> None:
        self._begun = begun
        self._patience_s = patience_s
        self._end = time.monotonic() + patience_s
        self._pause_s = FIRST_PAUSE_S
        self._asked_s: float | None = None
        self._job: Job | None = None

    @property
    def goes_on(self) -> bool:
        if self._begun.complete or self._begun.job is None:
            return False
        return self._job is None or self._job.state == "running"

    @property
    def job(self) -> Operation[Job]:
        assert self._begun.job is not None
        return operations.job(self._begun.job)

    def pause_s(self) -> float:
        """Longer each time, or what a busy service asks for. Raises ServiceError `timeout`."""
        left_s = self._end - time.monotonic()
        if left_s <= 0:
            raise self._error("timeout", f"still goes on after {self._patience_s:g} s")
        pause_s = self._pause_s if self._asked_s is None else self._asked_s
        self._pause_s = min(LONGER * self._pause_s, MOST_PAUSE_S)
        return min(pause_s, left_s)

    def saw(self, job: Job) -> None:
        self._job, self._asked_s = job, None

    def failed(self, error: ServiceError) -> None:
        """Raises it, unless the service is only busy."""
        if error.status not in BUSY:
            raise error
        self._asked_s = float(error.details.get("retry_after_s", MOST_PAUSE_S))

    def receipt(self) -> Forgotten | Operation[Forgotten]:
        """The whole one, or how to get it. Raises ServiceError for a job that did not succeed."""
        if self._job is None:
            return self._begun
        if self._job.state == "failed":
            problem = self._job.error or {}
            code = str(problem.get("code", "internal_error"))
            raise self._error(code, f"failed: {problem.get('message')}")
        if self._job.state != "succeeded":
            raise self._error(self._job.state, f"was {self._job.state}: what is gone is gone")
        result = self._job.result or {}
        if result.get("receipt_id") is not None:
            return operations.receipt(self._begun.id)
        return replace(  # nothing else is known of it where none is kept
            self._begun,
            removed=result.get("removed") or {},
            digest=result.get("digest"),
            clean=bool(result.get("clean")),
            probe=result.get("probe"),
            complete=True,
        )

    def _error(self, code: str, what: str) -> ServiceError:
        begun = self._begun
        detail = f"the forgetting that is job {begun.job} {what}"
        return ServiceError(code, 0, detail, {"job": begun.job, "receipt_id": begun.id})
