"""SIGTERM under load: what runs is answered, nothing acknowledged is lost, the store is closed."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from memory_service.bootstrap import build
from memory_service.demo.service import connect, free_port
from memory_service.settings import Settings


class Storer(threading.Thread):
    """Stores text after text over one connection, anew where the service has ended it."""

    def __init__(self, port: int, number: int) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._number = number
        self.stored: list[str] = []
        self.errors: list[str] = []

    def run(self) -> None:
        connection, fresh = self._connection(), True
        for count in range(100_000):
            body = {"items": [{"modality": "text", "text": f"{self._number} {count}"}]}
            try:
                connection.request("POST", "/store", json.dumps(body))
                answer = connection.getresponse()
                told = json.loads(answer.read())
            except OSError as error:
                if not fresh:  # nobody had said that this connection ends
                    self.errors.append(repr(error))
                return
            if answer.status == 201:
                self.stored.append(told["episode"]["id"])
            elif answer.status != 503:
                self.errors.append(f"{answer.status} {told}")
            if fresh := answer.getheader("connection") == "close":
                connection = self._connection()

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)


@pytest.mark.slow
def test_sigterm_under_load(tmp_path: Path) -> None:
    port, folder = free_port(), tmp_path / "data"
    command = [sys.executable, "-m", "memory_service.cli", "serve", "--profile", "fake"]
    command += ["--port", str(port), "--data-dir", str(folder)]
    env = {**os.environ, "MEMORY_SERVICE_LOG": "json", "MEMORY_SERVICE_AUTH": "loopback-open"}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log, env=env)
    with connect(f"http://127.0.0.1:{port}") as client:
        for _ in range(600):
            if client.ready():
                break
            time.sleep(0.1)
    storers = [Storer(port, number) for number in range(6)]
    for each in storers:
        each.start()
    while sum(len(each.stored) for each in storers) < 60:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(40) == 0
    for each in storers:
        each.join(30)
    assert [each.errors for each in storers] == [[]] * len(storers)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert any(each.get("route") == "/store" for each in lines)
    assert not [each for each in lines if each["level"] == "error"]
    with build(Settings(data_dir=folder, profile="fake")) as application:
        for episode in (episode for each in storers for episode in each.stored):
            assert application.memory.episode(episode).id == episode
