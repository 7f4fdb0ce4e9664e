"""An import whose service dies: it says so, and the same command goes on where it was."""

import os
import signal
import threading
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from memory_service.cli import app, folder
from memory_service.client import Client
from memory_service.demo.service import DemoError, running_service

FILES = 300
WIDE = {"COLUMNS": "300", "NO_COLOR": "1"}


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    for number in range(FILES):
        (tmp_path / f"note{number:03}.txt").write_text(f"note {number}")
    return tmp_path


def test_a_service_that_goes_away(texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    monkeypatch.setattr(
        folder.options,
        "Client",
        lambda url: Client(url, transport=httpx.MockTransport(gone)),
    )
    result = CliRunner().invoke(app, ["import", str(texts)], env=WIDE)
    assert result.exit_code == 1
    assert "run the same command again" in result.output
    assert "cannot reach" in result.output


@pytest.mark.slow
def test_killed_and_started_again(texts: Path, tmp_path: Path) -> None:
    data = tmp_path.parent / f"{tmp_path.name}-data"
    with (
        suppress(DemoError),  # it does not end in order
        running_service(data, tmp_path.parent / "log", profile="fake") as service,
    ):

        def kill_when_some_are_there() -> None:
            with Client(service.url) as client:
                while not client.stats()["memories"]:
                    pass
            os.kill(service.pid, signal.SIGKILL)

        killer = threading.Thread(target=kill_when_some_are_there)
        killer.start()
        result = CliRunner().invoke(app, ["import", str(texts), "--url", service.url], env=WIDE)
        killer.join()
    assert result.exit_code == 1
    assert "run the same command again" in result.output
    with running_service(data, tmp_path.parent / "log", profile="fake") as service:
        result = CliRunner().invoke(app, ["import", str(texts), "--url", service.url], env=WIDE)
        assert result.exit_code == 0, result.output
        with Client(service.url) as client:
            stored = [memory.text for memory in client.iterate()]
    assert sorted(str(text) for text in stored) == sorted(f"note {n}" for n in range(FILES))
