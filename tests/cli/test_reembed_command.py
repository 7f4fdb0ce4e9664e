"""`memory-service reembed`, on a folder and against a service."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import other_profile as other
import pytest
from click.testing import Result
from typer.testing import CliRunner

from memory_service.bootstrap import build
from memory_service.cli import app
from memory_service.client import Client
from memory_service.demo.service import running_service
from memory_service.records import Upload
from memory_service.settings import Settings

WIDE = {"COLUMNS": "200", "NO_COLOR": "1"}


@pytest.fixture
def folder(tmp_path: Path, other_profile: object) -> Path:
    """A store of four texts, made with the fake profile."""
    with build(Settings(data_dir=tmp_path / "data", profile="fake")) as application:
        for number in range(4):
            application.memory.store([Upload("text", f"note {number}".encode())])
    return tmp_path / "data"


def reembed(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["reembed", *arguments], env=WIDE)


def test_predict_switch_and_go_back(folder: Path) -> None:
    at = ("--data-dir", str(folder))
    forecast = reembed(*at, "--profile", "other", "--dry-run")
    assert forecast.exit_code == 0, forecast.output
    assert "MiB on disk" in forecast.stdout
    done = reembed(*at, "--profile", "other")
    assert done.exit_code == 0, done.output
    assert "complete" in done.stdout
    assert "4/4" in done.stderr
    assert re.search(r"switched back +│ True", reembed(*at, "--rollback").stdout)
    with build(Settings(data_dir=folder, profile="fake")) as application:
        application.memory.store([Upload("text", b"note 5")])
    again = reembed(*at, "--profile", "other", "--json")
    assert json.loads(again.stdout)["result"]["proof"]["modalities"]["text"]["embedded"] == 5
    assert "vectors deleted │ 5" in reembed(*at, "--drop-old").stdout
    refused = reembed(*at, "--rollback")
    assert refused.exit_code == 1
    assert "nothing was kept" in refused.stderr


def test_failures_are_shown_and_end_it(folder: Path) -> None:
    other.broken.add("note 2")
    at = ("--data-dir", str(folder), "--profile", "other")
    refused = reembed(*at)
    assert refused.exit_code == 1
    assert "cannot read this" in refused.stdout
    assert "--accept-failures" in refused.stderr
    assert reembed(*at, "--accept-failures").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "give one of"),
        (("--profile", "fake", "--rollback"), "give one of"),
        (("--profile", "nonsense"), "no profile 'nonsense'"),
        (("--rollback", "--data-dir", "nowhere"), "holds no memory"),
        (("--rollback", "--dry-run"), "go with --profile only"),
        (("--profile", "fake", "--url", "http://127.0.0.1:9"), "--data-dir or --url"),
    ],
)
def test_a_mistake_is_one_clear_line(folder: Path, arguments: tuple[str, ...], says: str) -> None:
    result = reembed("--data-dir", str(folder), *arguments)
    assert result.exit_code == 1
    assert says in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with running_service(tmp_path / "served", tmp_path / "log", profile="fake") as service:
        yield service.url


def test_in_a_running_service(url: str, tmp_path: Path) -> None:
    with Client(url) as client:
        client.store(text="a red fox")
        done = reembed("--url", url, "--profile", "fake")
        assert done.exit_code == 0, done.output
        assert "complete" in done.stdout
        (job,) = client.jobs()
        assert (job.state, client.job(job.id)) == ("succeeded", job)
        assert client.spaces()["spaces"][0]["role"] == "active"
    assert "vectors deleted │ 0" in reembed("--url", url, "--drop-old").stdout
    refused = reembed("--url", url, "--rollback")
    assert refused.exit_code == 1
    assert "nothing was kept" in refused.stderr
    in_use = reembed("--data-dir", str(tmp_path / "served"), "--profile", "fake")
    assert in_use.exit_code == 1
    assert "in use" in in_use.stderr


def test_as_a_process_of_its_own(folder: Path) -> None:
    """With the imports and threads that a command has, not those of the tests."""
    command = [sys.executable, "-W", "error", "-m", "memory_service.cli", "reembed"]
    done = subprocess.run(
        [*command, "--data-dir", str(folder), "--profile", "fake", "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, **WIDE},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    assert json.loads(done.stdout)["state"] == "succeeded"
