"""Servers in processes of their own, on 127.0.0.1, for as long as a `with` block lasts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.load import Connection, request
from memory_service.demo.service import free_port

START_S = 120.0
CHROMA = "chromadb==1.5.9"


@dataclass(frozen=True)
class Server:
    port: int
    pid: int

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON of an answer. Raises RuntimeError for an error."""
        connection = Connection(self.port)
        try:
            content = b"" if body is None else json.dumps(body).encode()
            answer = connection.ask(request(method, path, content))
        finally:
            connection.close()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {answer.body[:500]!r}")
        return json.loads(answer.body or b"null")

    def processor_s(self) -> float:
        """That it has used since it started, in all its threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self) -> int:
        """Of the process and its children."""
        return sum(_resident(pid) for pid in (self.pid, *_children(self.pid)))


def _children(pid: int) -> list[int]:
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [each for child in map(int, found) for each in (child, *_children(child))]


def _resident(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    line = next((line for line in status.splitlines() if line.startswith("VmRSS")), "VmRSS: 0 kB")
    return int(line.split()[1]) * 1024


@contextmanager
def started(command: Sequence[str], port: int, ready: str, log: Path) -> Iterator[Server]:
    """Raises RuntimeError when it ends, or does not get ready."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "ANONYMIZED_TELEMETRY": "False",
        # Nothing is generated here: memory and time are those of storing and searching.
        "MEMORY_SERVICE_LOAD_GENERATORS": "first-use",
    }
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink, env=environment)
    try:
        server = Server(port, process.pid)
        end = time.monotonic() + START_S
        while not _ready(server, ready):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{command[0]} is not ready: {log.read_text()[-2000:]}")
            time.sleep(0.1)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ready(server: Server, path: str) -> bool:
    try:
        server.ask("GET", path)
    except (OSError, RuntimeError):
        return False
    return True


@contextmanager
def ours(folder: Path) -> Iterator[Server]:
    """The service as `memory-service serve` runs it, with the bundled profile."""
    port = free_port()
    command = [sys.executable, "-m", "memory_service.cli", "serve", "--port", str(port)]
    command += ["--data-dir", str(folder / "ours"), "--log-level", "warning"]
    with started(command, port, "/readyz", folder / "ours.log") as server:
        yield server


@contextmanager
def chroma(folder: Path, cache: Path) -> Iterator[Server]:
    """A chroma server of its own environment, so that our pinned versions stay as they are."""
    port = free_port()
    command = [str(_chroma(cache)), "run", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--path", str(folder / "chroma")]
    with started(command, port, "/api/v2/heartbeat", folder / "chroma.log") as server:
        yield server


def _chroma(cache: Path) -> Path:
    folder = cache / "chroma"
    program = folder / "bin/chroma"
    if not program.exists():
        print(f"installing {CHROMA} into {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin/pip", "install", "--quiet", CHROMA], check=True)
    return program


@contextmanager
def floor(folder: Path) -> Iterator[Server]:
    """An application that does nothing under uvicorn, as the service is run: what HTTP takes."""
    with _of_module("floor", folder) as server:
        yield server


@contextmanager
def null(folder: Path) -> Iterator[Server]:
    """Answers everything with a few bytes at once: what the load generator itself takes."""
    with _of_module("null", folder) as server:
        yield server


@contextmanager
def _of_module(name: str, folder: Path) -> Iterator[Server]:
    port = free_port()
    command = [sys.executable, "-m", f"benchmarks.peers.{name}", str(port)]
    with started(command, port, "/", folder / f"{name}.log") as server:
        yield server


def settle(running: Sequence[Server], quiet_s: float = 12.0, most_s: float = 90.0) -> None:
    """Until none does anything in the background any more: builds of indexes, compaction. They may
    begin only when writes have paused for some seconds, ours within ten."""
    now = time.monotonic()
    end, since = now + most_s, now
    while now < end and now - since < quiet_s:
        before = [each.processor_s() for each in running]
        time.sleep(0.5)
        now = time.monotonic()
        if any(each.processor_s() - was > 0.1 for each, was in zip(running, before, strict=True)):
            since = now
