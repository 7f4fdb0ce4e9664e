"""Which files become which episode, and what becomes of them."""

from pathlib import Path

import answers
import httpx
import pytest

from memory_service import importer
from memory_service.client import Client, ServiceError
from memory_service.importer import Outcome, Tally, scan, store_bundles


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        "birds/owl.png",
        "birds/owl.txt",
        "birds/owl.OGG",
        "birds/owl.md",
        "cats/owl.png",
        "cats/.hidden.png",
        ".git/x.png",
        "README.md",
        "LICENSE",
        "splits.json",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name.encode())
    (tmp_path / "cats/owl.json").write_text('{"funny": true}')
    return tmp_path


def test_files_of_one_stem_in_one_folder_are_one_episode(folder: Path) -> None:
    found = scan(folder)
    assert [bundle.path for bundle in found.bundles] == ["birds/owl", "cats/owl"]
    assert found.bundles[0].audio == (folder / "birds/owl.OGG",)
    assert found.bundles[1].metadata() == {"funny": True, "path": "cats/owl", "folder": "cats"}
    names = {path.name for path in found.ignored}
    assert names == {"owl.md", "README.md", "LICENSE", "splits.json"}


def test_a_file_is_no_folder(folder: Path) -> None:
    with pytest.raises(NotADirectoryError, match="README"):
        scan(folder / "README.md")


def run(folder: Path, *responses: httpx.Response) -> Tally:
    rest = list(responses)
    transport = httpx.MockTransport(lambda request: rest.pop(0))
    tally = Tally()
    with Client("http://memory", transport=transport) as client:
        store_bundles(client, scan(folder).bundles, workers=1, on_outcome=tally.add)
    return tally


def test_stored_duplicate_and_rejected_are_counted(folder: Path) -> None:
    refused = httpx.Response(415, json={"code": "unsupported_media", "detail": "not a picture"})
    duplicate = httpx.Response(200, json={**answers.STORED, "duplicate": True})
    tally = run(folder, httpx.Response(201, json=answers.STORED), refused)
    assert tally.counts == {"stored": 1, "rejected": 1}
    assert tally.memories == {"text": 1}
    [(path, reason)] = tally.rejected
    assert path == "cats/owl"
    assert "not a picture" in reason
    assert run(folder, duplicate, duplicate).counts == {"duplicate": 2}


def test_broken_metadata_rejects_that_episode_only(folder: Path) -> None:
    (folder / "cats/owl.json").write_text("{")
    tally = run(folder, httpx.Response(201, json=answers.STORED))
    assert tally.counts == {"stored": 1, "rejected": 1}


def test_an_overloaded_service_is_asked_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(importer.time, "sleep", pauses.append)
    busy = httpx.Response(429, json={"code": "overloaded", "detail": "busy", "retry_after_s": 7})
    stored = httpx.Response(201, json=answers.STORED)
    assert run(folder, busy, busy, stored, stored).counts == {"stored": 2}
    assert pauses == [7.0, 7.0]


def test_a_service_that_stays_overloaded_ends_the_import(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importer, "PATIENCE_S", 5.0)
    busy = httpx.Response(429, json={"code": "overloaded", "detail": "busy", "retry_after_s": 7})
    with pytest.raises(ServiceError, match="busy"):
        run(folder, busy)


def test_a_failing_service_ends_the_import(folder: Path) -> None:
    outcomes: list[Outcome] = []
    full = httpx.Response(507, json={"code": "storage_full", "detail": "the disk is full"})
    transport = httpx.MockTransport(lambda request: full)
    with (
        Client("http://memory", transport=transport) as client,
        pytest.raises(ServiceError, match="the disk is full"),
    ):
        store_bundles(client, scan(folder).bundles, workers=1, on_outcome=outcomes.append)
    assert outcomes == []
