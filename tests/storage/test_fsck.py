"""Each kind of damage: found, mended without a loss where that can be, and not found again."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_folders import store_of_everything

from memory_service.bootstrap import build
from memory_service.errors import StorageFailure
from memory_service.settings import Settings
from memory_service.storage.fsck.findings import KINDS
from memory_service.storage.fsck.run import Report, check
from memory_service.storage.schema import FORMAT
from memory_service.storage.vectors import snapshots


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that has everything; to be copied."""
    return store_of_everything(tmp_path_factory.mktemp("whole") / "data")


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def change(folder: Path) -> Iterator[Callable[..., int]]:
    """Runs a statement on the catalog, behind the back of everything; returns the rows changed."""
    connection = sqlite3.connect(folder / "catalog.sqlite3", isolation_level=None)

    def change(statement: str, *values: Any) -> int:
        return connection.execute(statement, values).rowcount

    yield change
    connection.close()


def select(folder: Path, statement: str) -> Any:
    with closing(sqlite3.connect(folder / "catalog.sqlite3")) as connection:
        return connection.execute(statement).fetchall()


def kinds(report: Report) -> set[str]:
    return set(report.counts)


def a_file(folder: Path) -> Path:
    """Of a picture of a memory."""
    return next(path for path in sorted(folder.glob("blobs/??/*")) if path.stat().st_size > 16_384)


def test_a_whole_store(folder: Path) -> None:
    report = check(folder)
    assert report.findings == []
    assert report.left == 0
    assert report.format == FORMAT
    assert report.checked["memories"] == 11
    assert report.checked["prototypes"] == 1
    assert report.checked["generations"] == 1
    assert min(report.checked.values()) > 0


# By kind: the damage, and what is left of it after a repair.
FIRST_TEXT = "(SELECT sequence FROM memories WHERE text = 'a red fox')"
DAMAGE: dict[str, tuple[list[str], set[str]]] = {
    "json_broken": (["UPDATE memories SET metadata = '{\"a\": ' WHERE text = 'a red fox'"], set()),
    "size_wrong": (["UPDATE memories SET size_bytes = 3 WHERE text = 'a red fox'"], set()),
    "text_wrong": (["UPDATE memories SET text = 'a blue fox' WHERE text = 'a red fox'"], set()),
    "episode_empty": (["INSERT INTO episodes VALUES ('e', 'default', 1.0, 'none')"], set()),
    "episode_contents_wrong": (
        ["UPDATE episodes SET contents = 'none' WHERE id = (SELECT MIN(id) FROM episodes)"],
        set(),
    ),
    "namespace_wrong": (
        ["UPDATE episodes SET namespace = 'x' WHERE id = (SELECT MIN(id) FROM episodes)"],
        {"namespace_wrong"},
    ),
    "prototype_broken": (["DELETE FROM lineage WHERE medoid"], set()),
    "recall_broken": (["UPDATE recalls SET base = 9e999"], set()),
    "vector_broken": (
        [f"UPDATE vectors SET vector = X'0000' WHERE sequence = {FIRST_TEXT}"],
        {"vector_missing"},
    ),
    "vector_missing": (
        [f"DELETE FROM vectors WHERE sequence = {FIRST_TEXT}"],
        {"vector_missing"},
    ),
    "segments_broken": (
        ["DELETE FROM vectors WHERE segment = 1"],
        {"segments_broken"},
    ),
    "trace_wrong": (["UPDATE traces SET count = count + 1 WHERE modality = 'text'"], set()),
    "generation_broken": (["DELETE FROM generation_outputs"], {"generation_broken"}),
    "reference_broken": (
        ["INSERT INTO recalls VALUES (4711, 1.0, 1.0, 1, NULL)"],
        {"reference_broken"},
    ),
    "content_missing": (
        ["DELETE FROM small_contents WHERE digest = (SELECT blob FROM memories LIMIT 1)"],
        {"content_missing"},
    ),
    "content_altered": (
        ["UPDATE small_contents SET content = X'00' WHERE digest = (SELECT blob FROM memories"
         " WHERE modality = 'audio' ORDER BY size_bytes LIMIT 1)"],
        {"content_altered"},
    ),
    "content_unnamed": (["INSERT INTO small_contents VALUES ('00', X'00')"], set()),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_of_the_catalog(folder: Path, change: Callable[..., int], kind: str) -> None:
    statements, left = DAMAGE[kind]
    assert all(change(statement) > 0 for statement in statements)
    before = select(folder, "SELECT id, blob FROM memories WHERE consolidated_by IS NULL")
    found = check(folder)
    assert kind in kinds(found)
    assert found.left == len(found.findings)
    assert kinds(check(folder)) == kinds(found)  # looking changes nothing
    mended = check(folder, repair=True)
    assert kind in kinds(mended)
    assert {each.kind for each in mended.findings if not each.repaired} == left
    again = check(folder)
    assert kinds(again) == left
    assert all(each.note for each in again.findings)
    # No memory is gone, whatever it was.
    after = select(folder, "SELECT id, blob FROM memories WHERE consolidated_by IS NULL")
    assert after == before


def test_a_wrong_count_is_found_beside_a_broken_vector(
    folder: Path, change: Callable[..., int]
) -> None:
    """Which makes the sum unknown, and not how many memories there are."""
    (broken,) = DAMAGE["vector_broken"][0]
    (miscounted,) = DAMAGE["trace_wrong"][0]
    change(broken)
    assert kinds(check(folder)) == {"vector_broken"}
    change(miscounted)
    found = check(folder)
    assert kinds(found) == {"vector_broken", "trace_wrong"}
    mended = check(folder, repair=True)
    assert {each.kind for each in mended.findings if not each.repaired} == {"vector_missing"}
    assert kinds(check(folder)) == {"vector_missing"}


def test_every_kind_is_tested() -> None:
    elsewhere = {
        "catalog_damaged",
        "content_unfinished",
        "deletion_unfinished",
        "thumbnail_unnamed",
        "snapshot_broken",
        "index_unknown",
        "keys_damaged",
        "key_broken",
        "audit_broken",
    }
    assert DAMAGE.keys() | elsewhere == KINDS.keys()


class TestContents:
    def test_an_altered_file_stays_where_it_is(self, folder: Path) -> None:
        path = a_file(folder)
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert kinds(check(folder, quick=True)) == set()  # of the same size
        report = check(folder, repair=True)
        (finding,) = report.findings
        assert (finding.kind, finding.repaired) == ("content_altered", False)
        assert "backup" in finding.note
        assert path.exists()

    def test_quick_sees_another_size(self, folder: Path) -> None:
        with a_file(folder).open("ab") as file:
            file.write(b"more")
        assert kinds(check(folder, quick=True)) == {"content_altered"}

    def test_a_missing_file_comes_back_from_quarantine(self, folder: Path) -> None:
        path = a_file(folder)
        (folder / "quarantine").mkdir()
        path.rename(folder / "quarantine" / f"{path.name}.7")
        assert kinds(check(folder)) == {"content_missing"}
        assert check(folder, repair=True).left == 0
        assert check(folder).findings == []
        assert path.exists()

    def test_texts_come_back_from_their_rows(self, folder: Path, change: Any) -> None:
        digest = "(SELECT blob FROM memories WHERE text = 'a red fox')"
        change(f"UPDATE small_contents SET content = X'00' WHERE digest = {digest}")
        report = check(folder, repair=True)
        assert [(each.kind, each.repaired) for each in report.findings] == [
            ("content_altered", True)
        ]
        assert report.quarantined == 1  # the altered bytes are kept
        change(f"DELETE FROM small_contents WHERE digest = {digest}")
        assert kinds(check(folder, repair=True)) == {"content_missing"}
        assert check(folder).findings == []

    def test_what_is_unnamed_is_put_aside(self, folder: Path) -> None:
        (folder / "blobs/00").mkdir(exist_ok=True)
        (folder / "blobs/00/00ff").write_bytes(b"of nobody")
        (folder / "blobs/00/00ff.1.part").write_bytes(b"half")
        (folder / "thumbnails/00").mkdir(parents=True, exist_ok=True)
        (folder / "thumbnails/00/00ff.jpg").write_bytes(b"of nobody")
        found = {"content_unnamed", "content_unfinished", "thumbnail_unnamed"}
        assert kinds(check(folder)) == found
        report = check(folder, repair=True)
        assert (kinds(report), report.left, report.quarantined) == (found, 0, 2)
        assert check(folder).findings == []

    def test_what_was_to_be_deleted_is(self, folder: Path, change: Any) -> None:
        (folder / "blobs/00").mkdir(exist_ok=True)
        path = folder / "blobs/00/00ff"
        path.write_bytes(b"forgotten")
        change("INSERT INTO leaving VALUES ('00ff')")
        assert kinds(check(folder)) == {"deletion_unfinished"}
        assert check(folder, repair=True).quarantined == 0
        assert not path.exists()


class TestAccess:
    def test_a_damaged_file_of_keys(self, folder: Path) -> None:
        path = folder / "keys.sqlite3"
        path.write_bytes(b"SQLite format 3\0" + b"?" * (path.stat().st_size - 16))
        report = check(folder, repair=True)
        assert (kinds(report), report.left) == ({"keys_damaged"}, 1)
        assert "make keys anew" in report.findings[0].note
        path.unlink()
        assert (check(folder).findings, check(folder).checked["keys"]) == ([], 0)

    @pytest.mark.parametrize(
        "damage", ["scope = 'all'", "namespaces = '[\"no'", "hash = X'00'", "hash = X''"]
    )
    def test_a_key_that_cannot_be_read(self, folder: Path, damage: str) -> None:
        with build(Settings(data_dir=folder, profile="fake")) as app:
            whole = app.keys.create("whole", "read")[1]
        with closing(sqlite3.connect(folder / "keys.sqlite3")) as connection, connection:
            connection.execute(f"UPDATE keys SET {damage} WHERE name = 'of the fixture'")
        assert kinds(check(folder)) == {"key_broken"}
        report = check(folder, repair=True)
        assert (report.left, report.quarantined) == (0, 1)
        assert check(folder).findings == []
        with build(Settings(data_dir=folder, profile="fake")) as app:
            assert [key.name for key in app.keys.list()] == ["whole"]
            assert app.keys.caller(whole).key is not None

    def test_lines_that_cannot_be_read(self, folder: Path) -> None:
        path = folder / "audit/0.jsonl"
        lines = path.read_text().splitlines()
        path.write_text("\n".join([lines[0], '{"method": "DEL', *lines[1:]]) + "\n")
        report = check(folder)
        assert kinds(report) == {"audit_broken"}
        assert report.findings[0].subject == "audit/0.jsonl"
        mended = check(folder, repair=True)
        assert (mended.left, mended.quarantined) == (0, 1)
        assert check(folder).findings == []
        assert path.read_text().splitlines() == lines
        assert path.stat().st_mode & 0o077 == 0


class TestVectors:
    @pytest.mark.parametrize("content", ["zero", "nan", "long"])
    def test_what_is_no_unit_vector(self, folder: Path, change: Any, content: str) -> None:
        vector = {"zero": np.zeros(384), "nan": np.full(384, np.nan), "long": np.ones(384)}[content]
        blob = vector.astype("<f4").tobytes()
        where = f"WHERE sequence = {FIRST_TEXT}"
        assert change(f"UPDATE vectors SET vector = ? {where}", blob) == 1
        # The trace is not the sum of what is there, either.
        assert kinds(check(folder)) == {"vector_broken", "trace_wrong"}
        report = check(folder, repair=True)
        assert report.quarantined == 1
        assert kinds(check(folder)) == {"vector_missing"}

    def test_of_a_prototype(self, folder: Path, change: Any) -> None:
        prototype = "(SELECT sequence FROM memories WHERE consolidated_by IS NOT NULL)"
        change(f"UPDATE vectors SET vector = X'00' WHERE sequence = {prototype}")
        assert kinds(check(folder, repair=True)) == {"vector_broken"}
        assert check(folder).findings == []
        assert select(folder, "SELECT COUNT(*) FROM lineage") == [(0,)]

    @pytest.mark.parametrize(
        "statement",
        [
            "DELETE FROM traces WHERE modality = 'text'",
            "INSERT INTO traces SELECT 'empty', modality, space, vector, count, half_life_s,"
            " reference FROM traces LIMIT 1",
            "UPDATE traces SET vector = ZEROBLOB(3072)",
            "UPDATE traces SET vector = X'0000000000000000'",
            "UPDATE traces SET half_life_s = 7.0",
        ],
    )
    def test_traces_are_summed_anew(self, folder: Path, change: Any, statement: str) -> None:
        before = select(folder, "SELECT * FROM traces ORDER BY 1, 2, 3")
        assert change(statement) > 0
        assert kinds(check(folder)) == {"trace_wrong"}
        assert check(folder, repair=True).left == 0
        assert check(folder).findings == []
        after = select(folder, "SELECT * FROM traces ORDER BY 1, 2, 3")
        assert [row[:3] for row in after] == [row[:3] for row in before]

    def test_a_fading_trace_is_compared_at_one_time(self, folder: Path, change: Any) -> None:
        """The fixture's namespace `notes` fades; its trace is kept as of another time."""
        (row,) = select(folder, "SELECT half_life_s, reference FROM traces WHERE namespace='notes'")
        assert row[0] == 3600.0
        change("UPDATE traces SET reference = reference + half_life_s WHERE namespace = 'notes'")
        assert kinds(check(folder)) == {"trace_wrong"}


class TestSnapshots:
    """Small indexes have none by themselves."""

    @pytest.fixture
    def snapshot(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr(snapshots, "LEAST_ROWS", 2)
        folder = store_of_everything(tmp_path / "snapped")
        first = sorted((folder / "indexes").iterdir())[0]
        assert check(folder).findings == []
        return first

    @pytest.mark.parametrize("damage", ["altered", "missing", "manifest", "of no index", "beside"])
    def test_are_made_anew(self, snapshot: Path, damage: str) -> None:
        file = next(path for path in snapshot.iterdir() if path.suffix != ".json")
        match damage:
            case "altered":
                file.write_bytes(file.read_bytes()[:-1] + b"?")
            case "missing":
                file.unlink()
            case "manifest":
                (snapshot / "manifest.json").write_text("{}")
            case "of no index":
                (snapshot.parent / ("0" * 32)).mkdir()
            case "beside":
                shutil.copy(file, snapshot.parent)
        folder = snapshot.parents[1]
        assert kinds(check(folder)) == {"snapshot_broken"}
        assert check(folder, repair=True).left == 0
        assert check(folder).findings == []

    @pytest.mark.parametrize("name", [f"{'0' * 32}.flat", "manifest.json.part"])
    def test_stray_files_of_ours_are_removed(self, folder: Path, name: str) -> None:
        stray = folder / "indexes" / name
        stray.parent.mkdir(exist_ok=True)
        stray.write_bytes(b"left")
        (found,) = check(folder).findings
        assert (found.kind, found.subject) == ("snapshot_broken", name)
        assert check(folder, repair=True).left == 0
        assert not stray.exists()

    @pytest.mark.parametrize(
        "name",
        [
            ".DS_Store",
            "notes.txt",
            "lost+found/",
            f"{'0' * 31}.flat",
            "0" * 32,
            f"{'0' * 32}/notes.txt",
            f"{'0' * 32}/manifest.json/",
        ],
    )
    def test_what_is_not_ours_is_told_and_left(self, folder: Path, name: str) -> None:
        stray = folder / "indexes" / name
        stray.parent.mkdir(exist_ok=True, parents=True)
        if name.endswith("/"):
            stray.mkdir()
        else:
            stray.write_bytes(b"of somebody else")
        (found,) = check(folder, repair=True).findings
        told = (found.kind, found.subject, found.repaired)
        assert told == ("index_unknown", name.split("/")[0], False)
        assert "move it" in found.note
        assert stray.exists()


class TestNotRun:
    def test_no_store(self, tmp_path: Path) -> None:
        with pytest.raises(StorageFailure, match="holds no store"):
            check(tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_no_database(self, tmp_path: Path) -> None:
        (tmp_path / "catalog.sqlite3").write_bytes(b"no database" * 100)
        with pytest.raises(StorageFailure):
            check(tmp_path)

    @pytest.mark.parametrize("version", [FORMAT - 1, FORMAT + 1])
    def test_another_format(self, folder: Path, change: Any, version: int) -> None:
        change(f"PRAGMA user_version = {version}")
        with pytest.raises(StorageFailure, match=f"format {version}"):
            check(folder, repair=True)
        assert select(folder, "PRAGMA user_version") == [(version,)]

    def test_a_damaged_catalog(self, folder: Path) -> None:
        path = folder / "catalog.sqlite3"
        content = bytearray(path.read_bytes())
        for start in range(40_960, len(content), 8_192):
            content[start + 8 : start + 40] = b"\xff" * 32
        path.write_bytes(content)
        try:
            report = check(folder, repair=True)
        except StorageFailure:
            return  # too damaged to be read at all
        assert kinds(report) == {"catalog_damaged"}
        assert report.left
