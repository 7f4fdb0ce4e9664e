"""A service of our own in a process of its own, for as long as a `with` block lasts."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from memory_service.client import Client

START_S = (
    180.0  # loading torch and the weights from a cold disk, on a busy machine, takes most of it
)
STOP_S = 40.0  # 15 of them to end what runs (MEMORY_SERVICE_DRAIN_S), the rest on a busy machine
# Whatever the user's own service asks for: this one is of nobody else's.
OWN = {"NO_COLOR": "1", "MEMORY_SERVICE_AUTH": "loopback-open"}


class DemoError(Exception):
    """A step of the demonstration did not do what it should."""


@dataclass(frozen=True)
class RunningService:
    url: str
    pid: int
    started_in_s: float


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def connect(url: str) -> Client:
    """A client for this machine: an explicit transport, so that no proxy is asked."""
    return Client(url, transport=httpx.HTTPTransport())


@contextmanager
def running_service(
    data_dir: Path, log: Path, *, profile: str | None = None
) -> Iterator[RunningService]:
    """Start the service on a free port of 127.0.0.1, and stop it by its own pid at the end.

    Raises `DemoError` when it does not get ready, or does not end when asked to.
    """
    port = free_port()
    command = [sys.executable, "-m", "memory_service.cli", "serve", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--data-dir", str(data_dir)]
    command += ["--profile", profile] if profile else []
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command, stdout=sink, stderr=subprocess.STDOUT, env={**os.environ, **OWN}
        )
        try:
            url = f"http://127.0.0.1:{port}"
            yield RunningService(url, process.pid, _wait_until_ready(url, process, log))
        finally:
            _stop(process, log)


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> float:
    started = time.monotonic()
    with connect(url) as client:
        while not client.ready():
            if process.poll() is not None:
                raise DemoError(f"the service ended with {process.returncode}:\n{_tail(log)}")
            if time.monotonic() - started > START_S:
                raise DemoError(f"the service was not ready after {START_S:.0f} s:\n{_tail(log)}")
            time.sleep(0.2)
    return time.monotonic() - started


def _stop(process: subprocess.Popen[bytes], log: Path) -> None:
    if process.poll() is None:
        process.terminate()
    try:
        code = process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise DemoError(f"the service did not end on SIGTERM:\n{_tail(log)}") from None
    # uvicorn shuts down in order, and then ends by the signal that it got.
    if code not in (0, -signal.SIGTERM):
        raise DemoError(f"the service ended with {code}:\n{_tail(log)}")


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
