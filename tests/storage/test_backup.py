"""Backups: whole while stores and deletions go on, incremental, verified, and back again."""

import json
import os
import shutil
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from data_folders import picture, store_of_everything

from memory_service.app import Application
from memory_service.bootstrap import build
from memory_service.errors import InvalidInput, StorageFailure, Unauthorized
from memory_service.records import QueryPart, Upload
from memory_service.settings import Settings
from memory_service.storage import access_files, blobs, database
from memory_service.storage import backup as module
from memory_service.storage.audit import AuditLog
from memory_service.storage.backup import backup, read_manifest, restore
from memory_service.storage.copying import Progress
from memory_service.storage.fsck.run import check


@pytest.fixture(autouse=True)
def unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "SYNCHRONOUS", "OFF")
    monkeypatch.setattr(blobs.os, "fsync", lambda descriptor: None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return store_of_everything(tmp_path_factory.mktemp("whole") / "data")


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "data")
    return tmp_path / "data"


def opened(folder: Path) -> Application:
    return build(Settings(data_dir=folder, profile="fake"))


def answers(app: Application) -> list[Any]:
    """What a service says of its memory."""
    query = [QueryPart("text", b"a blue whale")]
    found = app.retriever.retrieve(query, reinforce=False).hits
    generations = app.store.catalog.select("SELECT id FROM generations")
    return [
        [(each, app.memory.content(each.id)[1]) for each in app.memory.list()[0]],
        [replace(each, trace_norm=0.0) for each in app.memory.stats()],  # that of `notes` fades
        {key: [(hit.memory.id, hit.score) for hit in hits] for key, hits in found.items()},
        [app.generations.get(row[0]).memories for row in generations],
        app.namespaces.get("notes"),
        [app.memory.explain(each.id).lineage for each in app.memory.list()[0]],
    ]


def files(target: Path) -> set[str]:
    return {path.name for path in target.glob("blobs/??/*")}


def test_there_and_back(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "backups" / "first"
    with opened(folder) as app:
        before = answers(app)
        manifest, progress = backup(folder, target, 7.0)
    assert (manifest.memories, manifest.made_at) == (11, 7.0)
    assert progress.copied == progress.contents == manifest.contents == len(files(target)) == 4
    assert progress.kept == progress.linked == progress.forgotten == 0
    assert progress.damaged == []
    for path in (target, target / "manifest.json", target / manifest.catalog):
        assert path.stat().st_mode & 0o077 == 0
    again, restored = restore(target, tmp_path / "new" / "data")
    assert again == manifest == read_manifest(target)
    assert restored.copied == 4
    assert check(tmp_path / "new/data").findings == []
    with opened(tmp_path / "new/data") as app:
        assert answers(app) == before
        app.memory.store([Upload("text", b"and on")])
    assert not list((tmp_path / "new").glob("*.part"))


def test_what_an_earlier_one_has(folder: Path, tmp_path: Path) -> None:
    """It makes up for damage to the store, and is read again only when asked to."""
    target = tmp_path / "backup"
    backup(folder, target, 1.0)
    gone, altered, *_ = sorted(folder.glob("blobs/??/*"))
    gone.unlink()
    altered.write_bytes(b"altered")
    _, progress = backup(folder, target, 2.0)
    assert (progress.kept, progress.damaged) == (4, [])
    *_, rotten = sorted(target.glob("blobs/??/*"))
    content = rotten.read_bytes()
    rotten.write_bytes(bytes(len(content)))
    assert backup(folder, target, 3.0)[1].kept == 4
    assert backup(folder, target, 4.0, verify=True)[1].copied == 1
    assert rotten.read_bytes() == content


class TestAccess:
    """Keys and audit log: in a backup only where that is asked for, and then whole."""

    def test_they_stay_where_they_are(self, folder: Path, tmp_path: Path) -> None:
        backup(folder, tmp_path / "backup", 1.0)
        assert not list((tmp_path / "backup").rglob("keys*"))
        assert not list((tmp_path / "backup").rglob("access*"))

    def test_with_access_the_key_opens_the_restored_service(
        self, folder: Path, tmp_path: Path
    ) -> None:
        """While serving: what both files hold is still in SQLite's log and in an open file."""
        target = tmp_path / "backup"
        with opened(folder) as app:
            made, text = app.keys.create("camera", "write", namespaces=["yard"], requests_per_s=2)
            assert app.audit is not None
            app.audit.add({"route": "/keys", "made": made.id})
            first, _ = backup(folder, target, 1.0, with_access=True)
            gone = app.keys.create("later", "read")[1]
        assert first.access_sha256.keys() == {"keys.sqlite3", "audit/0.jsonl"}
        for path in (target / first.access).rglob("*"):
            assert path.stat().st_mode & 0o077 == 0
        restore(target, tmp_path / "new")
        report = check(tmp_path / "new")
        assert (report.findings, report.checked["keys"]) == ([], 2)  # one is the fixture's
        with opened(tmp_path / "new") as app:
            assert app.keys.caller(text).key == made
            with pytest.raises(Unauthorized):
                app.keys.caller(gone)
            assert app.audit is not None
            assert app.audit.latest(9, {"made": made.id}) == [{"route": "/keys", "made": made.id}]
        second, _ = backup(folder, target, 2.0, with_access=True)
        assert [path.name for path in target.glob("access-*")] == [second.access] != [first.access]
        backup(folder, target, 3.0)
        assert not list(target.glob("access-*"))  # as asked for

    @pytest.mark.parametrize("at", [0, 1])
    def test_no_line_is_lost_to_a_rotation(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
    ) -> None:
        """The log closes a file while the copy is about to read the one of number `at`."""
        log = AuditLog(tmp_path, max_bytes=60, files=4)
        for number in range(5):
            log.add({"number": number, "padding": "x" * 20})
        inode, times = os.fstat, iter(range(9))

        def rotating(descriptor: int) -> os.stat_result:
            if next(times) == at:
                monkeypatch.setattr(os, "fstat", inode)
                log.add({"number": 5, "padding": "x" * 20})
                monkeypatch.setattr(os, "fstat", rotating)
            return inode(descriptor)

        monkeypatch.setattr(os, "fstat", rotating)
        access_files.copy(tmp_path, tmp_path / "copy")
        monkeypatch.undo()
        log.close()
        lines = [
            json.loads(line)["number"]
            for path in (tmp_path / "copy").glob("audit/*")
            for line in path.read_text().splitlines()
        ]
        # The oldest that was dropped meanwhile may be missing, the newest may not be in it yet.
        assert len(lines) == len(set(lines))
        assert {2, 3, 4} <= set(lines)

    @pytest.mark.parametrize("what", ["keys.sqlite3", "audit/0.jsonl"])
    def test_altered(self, folder: Path, tmp_path: Path, what: str) -> None:
        manifest, _ = backup(folder, tmp_path / "backup", 1.0, with_access=True)
        with (tmp_path / "backup" / manifest.access / what).open("ab") as file:
            file.write(b"more")
        with pytest.raises(StorageFailure, match=f"{what} of the backup"):
            restore(tmp_path / "backup", tmp_path / "new")
        assert not (tmp_path / "new").exists()

    def test_no_other_file_is_written(self, folder: Path, tmp_path: Path) -> None:
        backup(folder, tmp_path / "backup", 1.0, with_access=True)
        path = tmp_path / "backup/manifest.json"
        manifest = json.loads(path.read_text())
        manifest["access_sha256"]["../elsewhere"] = "00"
        path.write_text(json.dumps(manifest))
        with pytest.raises(StorageFailure, match="neither a file of keys"):
            restore(tmp_path / "backup", tmp_path / "new")


def test_a_second_one_copies_what_is_new(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "backup"
    first, _ = backup(folder, target, 1.0)
    with opened(folder) as app:
        gone = app.memory.list(modality="image")[0][0]
        app.memory.forget(gone.id)
        new = app.memory.store([picture(77)]).episode.memories[0]
    second, progress = backup(folder, target, 2.0)
    assert (progress.copied, progress.kept, progress.removed) == (1, 3, 1)
    assert new.blob in files(target)
    assert gone.blob not in files(target)  # what is forgotten leaves the backups, too
    assert [path.name for path in target.glob("catalog-*")] == [second.catalog] != [first.catalog]
    restore(target, tmp_path / "new")
    assert check(tmp_path / "new").findings == []


def test_hard_links(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "backup"
    _, progress = backup(folder, target, 1.0, hard_links=True)
    assert (progress.linked, progress.copied, progress.bytes_copied) == (4, 0, 0)
    assert all(path.stat().st_nlink == 2 for path in target.glob("blobs/??/*"))
    restore(target, tmp_path / "new")
    assert all(path.stat().st_nlink == 1 for path in (tmp_path / "new").glob("blobs/??/*"))


def test_where_links_cannot_be_made_they_are_copies(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refused)
    _, progress = backup(folder, tmp_path / "backup", 1.0, hard_links=True)
    assert (progress.linked, progress.copied) == (0, 4)


def test_under_load(folder: Path, tmp_path: Path) -> None:
    """Eight threads store and delete; all that was acknowledged before is in the backup, unless
    it was forgotten, and the backup is sound."""
    target, stopped = tmp_path / "backup", threading.Event()
    failures: list[BaseException] = []
    stored: set[str] = set()
    forgotten: set[str] = set()

    def busy(app: Application, worker: int) -> None:
        number, own = 0, []
        try:
            while not stopped.is_set():
                uploads = [Upload("text", f"note {worker} {number}".encode())]
                if number % 2:
                    uploads.append(picture(1000 * worker + number))
                own.append(app.memory.store(uploads).episode.id)
                stored.add(own[-1])
                if number % 3 == 2:
                    forgotten.add(own[0])
                    app.memory.forget_episode(own.pop(0))
                number += 1
        except BaseException as error:
            failures.append(error)

    with opened(folder) as app:
        threads = [threading.Thread(target=busy, args=(app, each)) for each in range(8)]
        for thread in threads:
            thread.start()
        rounds = []
        for number in range(2):
            while len(stored) < 20 * (number + 1) and not failures:
                stopped.wait(0.01)
            acknowledged, gone_before = set(stored), set(forgotten)
            manifest, progress = backup(folder, target, float(number))
            rounds.append((acknowledged, gone_before, set(forgotten), manifest, progress))
            restore(target, tmp_path / f"new-{number}")
        stopped.set()
        for thread in threads:
            thread.join()
    assert not failures
    for number, (acknowledged, gone_before, gone_after, manifest, progress) in enumerate(rounds):
        new = tmp_path / f"new-{number}"
        assert progress.damaged == []
        assert check(new).findings == []
        with closing(sqlite3.connect(new / "catalog.sqlite3")) as connection:
            held = {row[0] for row in connection.execute("SELECT id FROM episodes")}
            assert connection.execute("SELECT COUNT(*) FROM memories").fetchone()[0] == (
                manifest.memories
            )
        assert acknowledged - gone_after <= held
        # A deletion is noted before it is asked for: only those of before, long since answered.
        assert len(held & gone_before) <= 8


def test_what_is_forgotten_meanwhile_is_not_in_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(folder) as app:
        memory = app.memory.list(modality="image")[0][0]
        made = app.store.catalog.select("SELECT id FROM generations")[0][0]
        words = next(each for each in app.memory.list()[0] if each.text == "a red fox")

        def forget(progress: Progress) -> None:
            if progress.done == 0:
                app.memory.forget(memory.id)
                app.memory.forget(words.id)
                app.forgetting.forget_generation(made)

        manifest, progress = backup(folder, tmp_path / "backup", 1.0, on_progress=forget)
    assert progress.forgotten == 2
    assert progress.damaged == []
    assert memory.blob not in files(tmp_path / "backup")
    assert b"a red fox" not in (tmp_path / "backup" / manifest.catalog).read_bytes()
    restore(tmp_path / "backup", tmp_path / "new")
    assert check(tmp_path / "new").findings == []


def test_damaged_contents_are_told(folder: Path, tmp_path: Path) -> None:
    altered, missing, *_ = sorted(folder.glob("blobs/??/*"))
    altered.write_bytes(b"altered")
    missing.unlink()
    manifest, progress = backup(folder, tmp_path / "backup", 1.0)
    assert progress.damaged == sorted(manifest.damaged) == sorted([altered.name, missing.name])
    assert progress.copied == 2
    _, restored = restore(tmp_path / "backup", tmp_path / "new")
    assert restored.damaged == progress.damaged
    assert {each.kind for each in check(tmp_path / "new").findings} == {"content_missing"}


class TestInterrupted:
    @pytest.fixture
    def target(self, folder: Path, tmp_path: Path) -> Path:
        """A whole backup, after which the store has changed."""
        backup(folder, tmp_path / "backup", 1.0)
        with opened(folder) as app:
            app.memory.forget(app.memory.list(modality="image")[0][0].id)
            app.memory.store([picture(77)])
        return tmp_path / "backup"

    @pytest.mark.parametrize("step", ["snapshot", "_named", "_manifest", "_write_manifest"])
    def test_the_earlier_one_is_as_it_was(
        self, folder: Path, tmp_path: Path, target: Path, step: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def crash(*_: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(module, step, crash)
            with pytest.raises(KeyboardInterrupt):
                backup(folder, target, 2.0)
        assert read_manifest(target).made_at == 1.0
        restore(target, tmp_path / "new")
        assert check(tmp_path / "new").findings == []
        backup(folder, target, 3.0)
        assert read_manifest(target).made_at == 3.0
        assert len(list(target.glob("catalog-*"))) == 1

    def test_one_that_was_never_whole_is_none(self, folder: Path, tmp_path: Path) -> None:
        def stop(progress: Progress) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            backup(folder, tmp_path / "backup", 1.0, on_progress=stop)
        with pytest.raises(InvalidInput, match="no whole backup"):
            restore(tmp_path / "backup", tmp_path / "new")
        backup(folder, tmp_path / "backup", 1.0)
        restore(tmp_path / "backup", tmp_path / "new")

    def test_a_restore_leaves_nothing_half(
        self, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def crash(progress: Progress) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            restore(target, tmp_path / "new", on_progress=crash)
        assert not (tmp_path / "new").exists()
        assert not list(tmp_path.glob("*.part"))


class TestRefused:
    def test_places_that_are_no_place(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "taken").mkdir()
        (tmp_path / "taken/letter.txt").write_text("dear")
        for target in (tmp_path / "taken", folder / "backup", folder, tmp_path):
            with pytest.raises(InvalidInput):
                backup(folder, target, 1.0)
        assert [path.name for path in (tmp_path / "taken").iterdir()] == ["letter.txt"]
        with pytest.raises(StorageFailure, match="holds no store"):
            backup(tmp_path / "taken", tmp_path / "backup", 1.0)

    def test_two_at_once(self, folder: Path, tmp_path: Path) -> None:
        def again(progress: Progress) -> None:
            with pytest.raises(StorageFailure, match="another backup"):
                backup(folder, tmp_path / "backup", 2.0)

        backup(folder, tmp_path / "backup", 1.0, on_progress=again)

    def test_restoring_over_something(self, folder: Path, tmp_path: Path) -> None:
        backup(folder, tmp_path / "backup", 1.0)
        for taken in (folder, tmp_path / "backup"):
            with pytest.raises(InvalidInput, match="not empty"):
                restore(tmp_path / "backup", taken)
        (tmp_path / "empty").mkdir()
        restore(tmp_path / "backup", tmp_path / "empty")

    @pytest.fixture
    def made(self, folder: Path, tmp_path: Path) -> Path:
        backup(folder, tmp_path / "backup", 1.0)
        return tmp_path / "backup"

    def damage(self, made: Path, what: str) -> None:
        first = sorted(made.glob("blobs/??/*"))[0]
        (database,) = made.glob("catalog-*")
        manifest = json.loads((made / "manifest.json").read_text())
        match what:
            case "altered content":
                first.write_bytes(b"x" * first.stat().st_size)
            case "missing content":
                first.unlink()
            case "altered catalog":
                database.write_bytes(database.read_bytes().replace(b"whale", b"shark"))
            case "missing catalog":
                database.unlink()
            case "newer format":
                manifest["format"] += 1
                (made / "manifest.json").write_text(json.dumps(manifest))
            case "another place":
                manifest["catalog"] = f"../{made.name}/{database.name}"
                (made / "manifest.json").write_text(json.dumps(manifest))
            case "no manifest":
                (made / "manifest.json").write_text("{}")

    @pytest.mark.parametrize(
        "what",
        [
            "altered content",
            "missing content",
            "altered catalog",
            "missing catalog",
            "newer format",
            "another place",
            "no manifest",
        ],
    )
    def test_a_damaged_backup(self, made: Path, tmp_path: Path, what: str) -> None:
        self.damage(made, what)
        with pytest.raises(StorageFailure):
            restore(made, tmp_path / "new")
        assert not (tmp_path / "new").exists()
        assert not list(tmp_path.glob("*.part"))
