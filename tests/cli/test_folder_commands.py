"""`fsck`, `backup` and `restore` on a folder, and a backup by a running service."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import Result
from data_folders import store_of_everything
from rich.console import Console
from typer.testing import CliRunner

from memory_service.cli import app, options
from memory_service.demo.service import running_service

WIDE = {"COLUMNS": "200", "NO_COLOR": "1"}


def invoke(*arguments: object, **environment: str) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments], env={**WIDE, **environment})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return store_of_everything(tmp_path_factory.mktemp("whole") / "data")


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "data")
    return tmp_path / "data"


def test_fsck_says_by_its_exit_code(folder: Path, tmp_path: Path) -> None:
    fine = invoke("fsck", "--data-dir", folder)
    assert (fine.exit_code, "nothing is amiss" in fine.stdout) == (0, True)
    first = sorted(folder.glob("blobs/??/*"))[0]
    stranger = first.with_name("stranger")
    stranger.write_bytes(b"?")
    found = invoke("fsck", "--data-dir", folder)
    assert (found.exit_code, "content_unnamed" in found.stdout) == (1, True)
    assert "1 finding is left" in found.stdout
    told = json.loads(invoke("fsck", "--data-dir", folder, "--json").stdout)
    assert (told["left"], told["counts"]) == (1, {"content_unnamed": 1})
    mended = invoke("fsck", "--repair", MEMORY_SERVICE_DATA_DIR=str(folder))
    assert (mended.exit_code, "1 file is in quarantine" in mended.stdout) == (0, True)
    first.unlink()
    assert invoke("fsck", "--data-dir", folder, "--repair").exit_code == 1
    nothing = invoke("fsck", "--data-dir", tmp_path / "nowhere")
    assert (nothing.exit_code, nothing.stderr[:6]) == (2, "error:")


def test_fsck_breaks_no_words_where_there_is_little_room(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = sorted(folder.glob("blobs/??/*"))[0]
    first.with_name("stranger").write_bytes(b"?")
    first.write_bytes(b"altered")
    monkeypatch.setattr(options, "output", Console(width=40))
    lines = invoke("fsck", "--data-dir", folder).stdout.splitlines()
    assert max(map(len, lines)) <= 40
    words = " ".join(lines).split()
    assert {"content_altered", "content_unnamed", "stranger:"} <= set(words)
    assert "2 findings are left" in " ".join(words)


def test_backup_and_restore(folder: Path, tmp_path: Path) -> None:
    made = invoke("backup", tmp_path / "backup", "--data-dir", folder, "--json")
    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout)["memories"] == 11
    linked = invoke("backup", tmp_path / "backup", "--data-dir", folder, "--hard-links", "--verify")
    assert linked.exit_code == 0, linked.output
    back = invoke("restore", tmp_path / "backup", "--data-dir", tmp_path / "new")
    assert back.exit_code == 0, back.output
    assert "API keys and the audit log are not in this backup" in back.stderr
    assert invoke("fsck", "--data-dir", tmp_path / "new").exit_code == 0
    whole = invoke("backup", tmp_path / "whole", "--data-dir", folder, "--with-access", "--json")
    assert json.loads(whole.stdout)["access"] == ["audit/0.jsonl", "keys.sqlite3"]
    too = invoke("restore", tmp_path / "whole", "--data-dir", tmp_path / "with-access")
    assert "see memory-service keys list" in too.stderr
    listed = invoke("keys", "list", "--data-dir", tmp_path / "with-access", "--json").stdout
    assert [key["name"] for key in json.loads(listed)["keys"]] == ["of the fixture"]
    again = invoke("restore", tmp_path / "backup", "--data-dir", tmp_path / "new")
    assert (again.exit_code, "not empty" in again.stderr) == (1, True)
    sorted(folder.glob("blobs/??/*"))[0].unlink()
    hurt = invoke("backup", tmp_path / "other", "--data-dir", folder)
    assert (hurt.exit_code, "1 contents" in hurt.stderr) == (1, True)
    assert invoke("backup", "x", "--url", "http://x", "--verify").exit_code == 1


def test_beside_a_running_service(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMORY_SERVICE_BACKUP_DIR", str(tmp_path / "backups"))
    with running_service(folder, tmp_path / "log", profile="fake") as service:
        busy = invoke("fsck", "--data-dir", folder)
        assert (busy.exit_code, "in use" in busy.stderr) == (2, True)
        assert invoke("backup", tmp_path / "own", "--data-dir", folder).exit_code == 0
        asked = invoke("backup", "nightly", "--url", service.url)
        assert asked.exit_code == 0, asked.output
        wrong = invoke("backup", "../nightly", "--url", service.url)
        assert (wrong.exit_code, "not a name of a backup" in wrong.stderr) == (1, True)
    for source in ("own", "backups/nightly"):
        target = tmp_path / "new" / source
        assert invoke("restore", tmp_path / source, "--data-dir", target).exit_code == 0
        assert invoke("fsck", "--data-dir", target, "--quick").exit_code == 0
