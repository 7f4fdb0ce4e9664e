"""Jobs that the tests begin, once they have ended."""

import time

from fastapi.testclient import TestClient


def finished(client: TestClient, job: dict) -> dict:
    """The job once it has ended."""
    for _ in range(500):
        job = client.get(f"/jobs/{job['id']}").json()
        if job["state"] != "running":
            return job
        time.sleep(0.02)
    raise AssertionError(job)
