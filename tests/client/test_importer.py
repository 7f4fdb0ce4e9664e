"""Which files become which episode, and what becomes of them."""

import base64
import json
from pathlib import Path
from typing import Any

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


Lines = list[dict[str, Any]]
STORED = answers.BATCHED
DUPLICATE = {**answers.BATCHED, "status": 200, "duplicate": True}
REFUSED = {"status": 415, "code": "unsupported_media", "detail": "not a picture"}
BUSY = {"status": 429, "code": "overloaded", "detail": "busy", "retry_after_s": 7}
FULL = {"status": 507, "code": "storage_full", "detail": "the disk is full"}


def run(folder: Path, *rounds: list[dict], seen: list[Lines] | None = None) -> Tally:
    """Import with a service that answers the lines of each request as given."""
    rest = list(rounds)

    def handle(request: httpx.Request) -> httpx.Response:
        lines = [json.loads(line) for line in request.content.splitlines()]
        if seen is not None:
            seen.append(lines)
        given = rest.pop(0)
        assert len(lines) == len(given)
        found = ({"index": number, **each} for number, each in enumerate(given))
        return httpx.Response(200, content="\n".join(map(json.dumps, found)))

    tally = Tally()
    with Client("http://memory", transport=httpx.MockTransport(handle)) as client:
        store_bundles(client, scan(folder).bundles, workers=1, on_outcome=tally.add)
    assert not rest
    return tally


def test_an_episode_has_its_files_and_its_metadata(folder: Path) -> None:
    seen: list[Lines] = []
    run(folder, [STORED, STORED], seen=seen)
    owl, cat = seen[0]
    assert [item["modality"] for item in owl["items"]] == ["image", "text", "audio"]
    assert owl["items"][1]["text"] == "birds/owl.txt"
    assert base64.b64decode(owl["items"][2]["data"]) == b"birds/owl.OGG"
    assert cat["metadata"] == {"funny": True, "path": "cats/owl", "folder": "cats"}
    assert cat["if_duplicate"] == "skip"


def test_stored_duplicate_and_rejected_are_counted(folder: Path) -> None:
    tally = run(folder, [STORED, REFUSED])
    assert tally.counts == {"stored": 1, "rejected": 1}
    assert tally.memories == {"text": 1}
    [(path, reason)] = tally.rejected
    assert path == "cats/owl"
    assert "not a picture" in reason
    assert run(folder, [DUPLICATE, DUPLICATE]).counts == {"duplicate": 2}


def test_broken_metadata_rejects_that_episode_only(folder: Path) -> None:
    (folder / "cats/owl.json").write_text("{")
    assert run(folder, [STORED]).counts == {"stored": 1, "rejected": 1}


def test_a_file_that_is_gone_rejects_that_episode_only(folder: Path) -> None:
    bundles = scan(folder).bundles
    (folder / "birds/owl.txt").unlink()
    assert bundles[0].size_bytes() > 0
    with pytest.raises(FileNotFoundError):
        bundles[0].episode("default")


def test_chunks_are_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importer, "CHUNK_BYTES", 30)
    assert run(folder, [STORED], [STORED]).counts == {"stored": 2}
    monkeypatch.setattr(importer, "CHUNK_BYTES", 1000)
    monkeypatch.setattr(importer, "CHUNK_BUNDLES", 1)
    assert run(folder, [STORED], [DUPLICATE]).counts == {"stored": 1, "duplicate": 1}


def test_an_overloaded_service_is_asked_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only for what it had no time for."""
    pauses: list[float] = []
    monkeypatch.setattr(importer.time, "sleep", pauses.append)
    seen: list[Lines] = []
    tally = run(folder, [BUSY, STORED], [BUSY], [STORED], seen=seen)
    assert tally.counts == {"stored": 2}
    assert pauses == [7.0, 7.0]
    assert [each["metadata"]["folder"] for each in seen[2]] == ["birds"]


def answering(folder: Path, *responses: httpx.Response) -> Tally:
    rest = list(responses)
    transport = httpx.MockTransport(lambda request: rest.pop(0))
    tally = Tally()
    with Client("http://memory", transport=transport) as client:
        store_bundles(client, scan(folder).bundles, workers=1, on_outcome=tally.add)
    return tally


def test_a_service_without_a_place_for_a_batch(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(importer.time, "sleep", pauses.append)
    lines = "\n".join(json.dumps({"index": number, **STORED}) for number in range(2))
    busy, done = httpx.Response(429, json=BUSY), httpx.Response(200, content=lines)
    assert answering(folder, busy, done).counts == {"stored": 2}
    assert pauses == [7.0]


def test_a_service_that_stays_overloaded_ends_the_import(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importer, "PATIENCE_S", 5.0)
    with pytest.raises(ServiceError, match="busy"):
        run(folder, [STORED, BUSY])


@pytest.mark.parametrize(
    "refusal",
    [httpx.Response(401, json={"code": "unauthorized", "detail": "no key"}), httpx.Response(500)],
)
def test_a_refused_request_ends_the_import(folder: Path, refusal: httpx.Response) -> None:
    with pytest.raises(ServiceError):
        answering(folder, refusal)


def test_a_failing_service_ends_the_import(folder: Path) -> None:
    outcomes: list[Outcome] = []
    lines = "\n".join(json.dumps({"index": number, **FULL}) for number in range(2))
    full = httpx.MockTransport(lambda request: httpx.Response(200, content=lines))
    with (
        Client("http://memory", transport=full) as client,
        pytest.raises(ServiceError, match="the disk is full"),
    ):
        store_bundles(client, scan(folder).bundles, workers=1, on_outcome=outcomes.append)
    assert outcomes == []
