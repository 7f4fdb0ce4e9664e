"""A store of 1,000 items goes over to another space under load, with kill -9 in the middle."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from service_media import png
from store_consistency import assert_consistent

from memory_service.bootstrap import build
from memory_service.client import Client, ServiceError
from memory_service.demo.service import connect, free_port
from memory_service.records import QueryPart, Upload
from memory_service.settings import Settings
from memory_service.storage import blobs, database

EPISODES = 500  # of a picture and a text each
WORKERS = 3
SCRIPT = Path(__file__).parents[1] / "other_profile.py"


@contextmanager
def serving(folder: Path, port: int, profile: str) -> Iterator[subprocess.Popen[bytes]]:
    """The service in a process of its own, once it is ready."""
    command = [sys.executable, str(SCRIPT), "serve", "--port", str(port), "--profile", profile]
    environment = {
        **os.environ,
        "PYTHONPATH": f"{Path.cwd()}:{os.environ.get('PYTHONPATH', '')}",
        "OTHER_PROFILE_S": "0.004",  # so that a kill finds it in the middle
    }
    with (folder.parent / "log").open("ab") as log:
        process = subprocess.Popen(
            [*command, "--data-dir", str(folder)], stdout=log, stderr=log, env=environment
        )
        try:
            with connect(f"http://127.0.0.1:{port}") as client:
                deadline = time.monotonic() + 60
                while not client.ready():
                    assert process.poll() is None
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            yield process
        finally:
            process.kill()
            process.wait()


@dataclass
class Load:
    """Stores, finds and forgets without a pause, and notes what was acknowledged."""

    url: str
    stored: dict[str, bytes] = field(default_factory=dict)  # memory id: content
    forgotten: set[str] = field(default_factory=set)
    unsure: set[str] = field(default_factory=set)  # forgetting these was not answered
    wrong: list[str] = field(default_factory=list)
    requests: int = 0

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(n,)) for n in range(WORKERS)]
        self._lock = threading.Lock()

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self, worker: int) -> None:
        rng = random.Random(worker)
        with connect(self.url) as client:
            number = 0
            while not self._stop.is_set():
                number += 1
                try:
                    self._step(client, rng, f"load {worker} {number}")
                    self.requests += 1
                except ServiceError as error:
                    if error.status:  # an answer, while it is up: there is no excuse
                        self.wrong.append(f"{error}")
                    time.sleep(0.05)

    def _step(self, client: Client, rng: random.Random, name: str) -> None:
        act = rng.random()
        if act < 0.3:
            uploads = (png(rng.randrange(10**6)), name.encode())
            episode = client.store(image=uploads[0], text=name).episode
            with self._lock:
                for memory, content in zip(episode.memories, uploads, strict=True):
                    self.stored[memory.id] = content
        elif act < 0.5:
            with self._lock:
                memory_id = rng.choice([*self.stored])
                del self.stored[memory_id]
                self.unsure.add(memory_id)
            client.forget(memory_id)
            self.unsure.remove(memory_id)
            self.forgotten.add(memory_id)
        else:
            with self._lock:
                wanted, content = rng.choice([*self.stored.items()])
            kind = "text" if content.isascii() else "image"
            found = client.retrieve(**{kind: [content]}, modalities=[kind], k=3)  # type: ignore[misc]
            ids = {hit.memory.id for hit in found.hits[kind]}
            with self._lock:
                gone = wanted in self.unsure or wanted in self.forgotten
            if not gone and wanted not in ids:
                self.wrong.append(f"{wanted} was not found")
            if self.forgotten & (ids - self.stored.keys()):
                # Forgotten while the question was under way, or come back?
                again = client.retrieve(**{kind: [content]}, modalities=[kind], k=3)  # type: ignore[misc]
                back = {hit.memory.id for hit in again.hits[kind]} & ids & self.forgotten
                self.wrong.extend(f"{each} came back" for each in back)


def fill(folder: Path) -> dict[str, bytes]:
    """1,000 memories, by id; without waiting for the disk each time."""
    stored: dict[str, bytes] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "SYNCHRONOUS", "OFF")
        patch.setattr(blobs.os, "fsync", lambda descriptor: None)
        with build(Settings(data_dir=folder, profile="fake")) as app:
            for number in range(EPISODES):
                contents = (png(number), f"note {number} of {EPISODES}".encode())
                uploads = [Upload("image", contents[0]), Upload("text", contents[1])]
                episode = app.memory.store(uploads).episode
                stored.update({m.id: c for m, c in zip(episode.memories, contents, strict=True)})
    return stored


def embedded(job: Any) -> int:
    counts = job.progress.get("modalities", {})
    return sum(each["embedded"] for each in counts.values())


def until_embedded(client: Client, job: Any, count: int) -> Any:
    while embedded(job) < count and job.state == "running":
        time.sleep(0.02)
        job = client.job(job.id)
    assert job.state == "running", job
    return job


@pytest.mark.slow
def test_nothing_is_lost(folder: Path, other_profile: ModuleType) -> None:
    started = fill(folder)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with Load(url, stored=dict(started)) as load:
        with serving(folder, port, "fake") as process, connect(url) as client:
            job = client.reembed("other")
            before = embedded(until_embedded(client, job, 400))
            process.send_signal(signal.SIGKILL)
            process.wait()
        with serving(folder, port, "fake"), connect(url) as client:
            assert client.job(job.id).state == "interrupted"
            kept = sum(
                each["vectors"] for each in client.spaces()["spaces"] if each["role"] == "new"
            )
            assert kept >= before - len(load.forgotten)  # what was reported is there
            again = client.reembed("other")
            assert again.id == job.id
            while (again := client.job(job.id)).state == "running":
                time.sleep(0.05)
            assert again.state == "succeeded", again
            result = again.result or {}
            assert result["switched"]
            assert result["proof"]["complete"]
            assert result["proof"]["failed"] == 0
            assert client.models()["profile"] == "other"
            time.sleep(1)  # under load in the new space, too
    assert not load.wrong
    assert load.requests > 100
    assert len(load.forgotten) > 10
    check(folder, load)


def check(folder: Path, load: Load) -> None:
    """With the service gone: all that was acknowledged, in the new space, and nothing else back."""
    with build(Settings(data_dir=folder, profile="other")) as app:
        present = {memory.id for memory in app.store.catalog.list_memories()}
        assert not load.stored.keys() - present
        assert not load.forgotten & present
        assert_consistent(app)
        ids = random.Random(1).sample(sorted(load.stored), 50)
        for memory_id in ids:
            memory, content = app.memory.content(memory_id)
            assert content == load.stored[memory_id]
            part = QueryPart(memory.modality, content)
            hits = app.retriever.retrieve([part], modalities=[memory.modality], k=3).hits
            assert any(hit.memory.blob == memory.blob for hit in hits[memory.modality])
        targets = {modality: {("other", "other-1"): 400} for modality in ("image", "text")}
        coverage = app.store.standby.coverage(targets)
        assert sum(each.embedded for each in coverage.values()) == len(present)
