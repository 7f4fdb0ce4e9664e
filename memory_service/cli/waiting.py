"""Waits for the jobs of a running service."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from memory_service.client import Client
from memory_service.client.results import Job

POLL_S = 0.5


def ended(
    client: Client, job: Job, show: Callable[[Mapping[str, Any]], None] = lambda progress: None
) -> Job:
    """The job once it runs no more; `show` is given its progress now and then."""
    while job.state == "running":
        show(job.progress)
        time.sleep(POLL_S)
        job = client.job(job.id)
    return job
