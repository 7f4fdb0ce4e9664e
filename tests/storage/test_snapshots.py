"""Indexes as files: what is read again, and what is not trusted."""

import json
import logging
import shutil
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clustered import clustered, recall_at_10

from memory_service.storage.vectors import Sizes, SubMemory, VectorIndex, VectorIndexes
from memory_service.storage.vectors import snapshots as module
from memory_service.storage.vectors.snapshots import Opening, Snapshots

DIMENSION = 32
SIZES = Sizes(
    exact=1500,
    buffer=1000,
    buffers=1,
    segment=2000,
    least_segment=300,
    block=500,
    unsaved=10_000,
)
KEY = SubMemory("n", "text", "s", "f")
ROWS = clustered(4100, DIMENSION)
SEQUENCES = np.arange(1, 4001)
OPENING = Opening("a", {"a": 5000})


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LEAST_ROWS", 10)
        yield


def opened(folder: Path, opening: Opening = OPENING) -> VectorIndexes:
    return VectorIndexes(sizes=SIZES, snapshots=Snapshots(folder, opening))


def restored(
    folder: Path, opening: Opening = OPENING, key: SubMemory = KEY, dimension: int = DIMENSION
) -> VectorIndex:
    return opened(folder, opening).restored(key, dimension)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    indexes = opened(folder)
    indexes.start()
    for start in range(0, 4000, 800):
        here = slice(start, start + 800)
        if start == 3200:
            indexes.settle()
        indexes.add(KEY, SEQUENCES[here], ROWS[:4000][here])
    indexes.get(KEY).remove(SEQUENCES[::400])  # type: ignore[union-attr]
    indexes.close()
    return folder


@pytest.fixture
def folder(template: Path, tmp_path: Path) -> Path:
    """Two segments and a block with 3990 of 4000 rows, after a clean close."""
    return Path(shutil.copytree(template, tmp_path / "indexes"))


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*/*"))


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest, and make its checksum hold."""
    (path,) = folder.glob("*/manifest.json")
    body = json.loads(json.loads(path.read_text())["body"])
    change(body)
    text = json.dumps(body)
    path.write_text(json.dumps({"checksum": zlib.crc32(text.encode()), "body": text}))


def test_gives_back_what_was_there(folder: Path) -> None:
    index = restored(folder)
    kinds = [type(part).__name__ for part in index.parts]
    assert kinds.count("Segment") == 2
    # What was removed from a segment since it was sealed is for the catalog to tell.
    left = np.isin(index.sequences(), SEQUENCES[::400], invert=True)
    assert index.sequences()[left].tolist() == np.delete(SEQUENCES, np.s_[::400]).tolist()
    index.remove(SEQUENCES[::400])
    assert len(index) == 3990
    own = np.delete(ROWS[:4000], np.s_[::400], axis=0)
    assert recall_at_10(index, own, ROWS[4000:], np.delete(SEQUENCES, np.s_[::400])) >= 0.99
    index.add(np.array([4001]), ROWS[4000:4001])
    assert index.search(ROWS[4000], 1)[0].tolist() == [4001]


def test_segments_are_mapped_from_their_files(folder: Path) -> None:
    index = restored(folder)
    assert isinstance(index.parts[0].ids.base, np.memmap)
    with Path("/proc/self/maps").open() as maps:
        assert ".flat" in maps.read()


def test_few_rows_make_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAST_ROWS", 100)
    indexes = opened(tmp_path / "indexes")
    indexes.add(KEY, SEQUENCES[:99], ROWS[:99])
    indexes.close()
    assert not files(tmp_path)


def test_what_was_compacted_is_in_no_file(folder: Path) -> None:
    indexes = opened(folder)
    index = indexes.restored(KEY, DIMENSION)
    gone = ROWS[800].astype(np.float16).tobytes()
    assert any(gone in path.read_bytes() for path in files(folder))
    index.remove(SEQUENCES[::400])
    indexes.compact("another namespace")
    assert any(gone in path.read_bytes() for path in files(folder))
    indexes.compact("n")
    assert not any(gone in path.read_bytes() for path in files(folder))
    assert restored(folder).sequences().tolist() == np.delete(SEQUENCES, np.s_[::400]).tolist()


KINDS = ["flat", "lists", "ids.npy", "buffer.ids.npy", "buffer.codes.npy", "manifest.json"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("harm", ["a changed byte", "half the file", "no file"])
def test_a_broken_one_is_not_trusted(
    folder: Path, kind: str, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = next(path for path in files(folder) if path.name.endswith(kind))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if harm == "no file":
        path.unlink()
    else:
        path.write_bytes(content if harm == "a changed byte" else content[: len(content) // 2])
    with caplog.at_level(logging.WARNING):
        assert len(restored(folder)) == 0
    assert "is not used" in caplog.text
    assert not files(folder)


@pytest.mark.parametrize(
    ("field", "value"),
    [("format", 0), ("format", 2), ("opening", "b"), ("last_sequence", 5001), ("segments", 1)],
)
def test_one_of_another_format_or_catalog_is_not_trusted(
    folder: Path, field: str, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    rewrite(folder, lambda body: body.__setitem__(field, value))
    assert len(restored(folder)) == 0
    assert "is not used" in caplog.text


TEXTS = {
    "no JSON": "{",
    "nothing": "",
    "no UTF-8": b"\xff\xfe\xff",
    "a number": "1",
    "a list": "[1, 2]",
    "null": "null",
    "an empty object": "{}",
    "numbers": '{"checksum": 1, "body": 1}',
    "no checksum": '{"body": "{}"}',
    "a checksum that is a text": '{"checksum": "1", "body": "{}"}',
    "brackets in brackets": "[" * 100_000,
    "a body that is a list": json.dumps({"checksum": zlib.crc32(b"[1]"), "body": "[1]"}),
    "a body that is null": json.dumps({"checksum": zlib.crc32(b"null"), "body": "null"}),
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_manifest_of_anything_is_one_warning(
    folder: Path, text: str | bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (path,) = folder.glob("*/manifest.json")
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert_given_up(folder, caplog)


def assert_given_up(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        index = restored(folder)
    assert len(index) == 0
    (told,) = caplog.records
    assert "is not used" in told.getMessage()
    assert not list(folder.iterdir())


ANY = [None, 2, -1, 1.5, "x", [1], {}, {"a": 1}]
WRONG = {
    "format": ANY,
    "of": ANY,
    "opening": ANY,
    "last_sequence": [None, "x", [1], {}],
    "segments": ANY,
    "buffer": ANY[1:],
    "checksums": ANY,
}


@pytest.mark.parametrize("field", WRONG)
def test_a_field_that_is_missing_or_wrong_is_one_warning(
    template: Path, tmp_path: Path, field: str, caplog: pytest.LogCaptureFixture
) -> None:
    def without(body: dict[str, Any]) -> None:
        del body[field]

    changes = [without, *(partial(_set, field, value) for value in WRONG[field])]
    for number, change in enumerate(changes):
        folder = Path(shutil.copytree(template, tmp_path / str(number)))
        rewrite(folder, change)
        caplog.clear()
        assert_given_up(folder, caplog)


def _set(field: str, value: Any, body: dict[str, Any]) -> None:
    body[field] = value


@pytest.mark.parametrize("field", ["name", "lists", "candidates"])
def test_a_segment_that_is_told_wrongly_is_one_warning(
    template: Path, tmp_path: Path, field: str, caplog: pytest.LogCaptureFixture
) -> None:
    for number, value in enumerate([None, 0, -1, 1.5, True, "x", [1], {}]):
        folder = Path(shutil.copytree(template, tmp_path / str(number)))
        rewrite(folder, lambda body, value=value: _set(field, value, body["segments"][0]))
        caplog.clear()
        assert_given_up(folder, caplog)


@pytest.mark.parametrize("kind", ["a file", "an empty folder", "a dangling link"])
def test_what_is_in_the_place_of_its_folder_is_one_warning(
    folder: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    (own,) = folder.iterdir()
    shutil.rmtree(own)
    if kind == "a file":
        own.write_bytes(b"x")
    elif kind == "an empty folder":
        own.mkdir()
    else:
        own.symlink_to(folder / "nowhere")
    assert_given_up(folder, caplog)
    index = restored(folder)
    index.add(SEQUENCES[:1200], ROWS[:1200])  # as it is built from the catalog
    index.save()
    assert len(restored(folder)) == 1200


def test_the_manifest_cannot_name_files_elsewhere(folder: Path) -> None:
    outside = folder.parent / "outside"
    outside.write_bytes(b"x")
    rewrite(folder, lambda body: body["checksums"].update({"../../outside": zlib.crc32(b"x")}))
    assert len(restored(folder)) == 0
    assert outside.exists()


def test_one_of_another_space_is_not_trusted(folder: Path) -> None:
    """Even under the name of this one."""
    other = SubMemory("n", "text", "s", "another fingerprint")
    (own,) = folder.iterdir()
    own.rename(folder / module.folder_of(other))
    assert len(restored(folder, key=other)) == 0
    assert len(restored(folder, dimension=64)) == 0


def test_one_that_is_ahead_of_its_catalog_is_not_trusted(folder: Path) -> None:
    """The catalog was put back to an earlier state, and has given its numbers anew since."""
    assert len(restored(folder, Opening("b", {"a": 3999, "b": 6000}))) == 0


def test_one_from_an_earlier_opening_is_used(folder: Path) -> None:
    assert len(restored(folder, Opening("b", {"a": 4000, "b": 6000}))) > 3900


def test_folders_without_an_index_are_removed(folder: Path) -> None:
    indexes = opened(folder)
    indexes.add(SubMemory("n", "image", "s", "f"), SEQUENCES[:5], ROWS[:5])
    (folder / f"{'0' * 32}.flat").write_bytes(b"left")
    indexes.start()
    assert not list(folder.iterdir())
    indexes.close()


def test_what_others_put_beside_them_stays(folder: Path) -> None:
    (folder / "notes").mkdir()
    (folder / "notes/mine.txt").write_text("mine")
    (folder / ".DS_Store").write_bytes(b"mine")
    hashed = "0" * 32  # as MD5 sums and UUIDs are, too
    (folder / hashed).mkdir()
    for name in ("manifest.json", "mine.txt"):
        (folder / hashed / name).write_text("mine")
    (folder / ("1" * 32)).write_text("mine")
    indexes = opened(folder)
    indexes.start()
    assert {path.name for path in folder.iterdir()} == {".DS_Store", "notes", hashed, "1" * 32}
    assert (folder / "notes/mine.txt").exists()
    assert len(list((folder / hashed).iterdir())) == 2
    indexes.close()


def test_a_folder_that_may_not_be_read_stays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed, real = folder / ("0" * 32), Path.iterdir
    hashed.mkdir()

    def refused(path: Path) -> Iterator[Path]:
        if path == hashed:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(Path, "iterdir", refused)
    indexes = opened(folder)
    indexes.start()
    indexes.close()
    assert hashed.is_dir()


def test_a_dropped_space_leaves_no_files(folder: Path) -> None:
    indexes = opened(folder)
    indexes.restored(KEY, DIMENSION)
    indexes.drop("text", "s", "f")
    assert not files(folder)
    indexes.close()
    assert not files(folder)


def test_a_full_disk_leaves_the_index_in_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    index = restored(folder)
    monkeypatch.setattr(module, "sync_file", full)
    index.add(np.arange(5000, 6200), ROWS[:1200])
    assert index.merge()
    assert index.search(ROWS[3], 2)[0].tolist() == [4, 5003]
    with pytest.raises(OSError, match="No space"):
        index.save()
    assert len(restored(folder)) > 3900  # the snapshot from before
    monkeypatch.undo()
    index.save()
    assert len(restored(folder, Opening("a", {"a": 9999}))) == len(index)


WRITER = """
import os, signal, sys
from pathlib import Path
import faiss, numpy as np
sys.path.insert(0, sys.argv[1])
import test_snapshots as own
from memory_service.storage.vectors import snapshots as module

module.LEAST_ROWS = 10
indexes = own.opened(Path(sys.argv[2]))
index = indexes.restored(own.KEY, own.DIMENSION)
index.remove(own.SEQUENCES[::400])
index.add(np.arange(4001, 5001), own.ROWS[:1000])
left = int(sys.argv[3])

def counted(real):
    def call(*arguments, **options):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)
    return call

for place, name in ((module.os, "fsync"), (module.Path, "replace"), (module.Path, "unlink"),
                    (module.faiss, "write_index"), (module.np, "save")):
    setattr(place, name, counted(getattr(place, name)))
index.compact()
print("done", flush=True)
"""


def written_until_killed(folder: Path, step: int) -> bool:
    """Whether a process that is killed at its n-th change of the disk got to its end before."""
    command = [sys.executable, "-c", WRITER, str(Path(__file__).parent), str(folder), str(step)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
    return ended.stdout == "done\n"


@pytest.mark.slow
def test_sigkill_at_every_step_leaves_the_old_snapshot_or_the_new(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = len(restored(folder))
    for step in range(1, 100):
        copy = tmp_path / f"killed at {step}"
        shutil.copytree(folder, copy)
        done = written_until_killed(copy, step)
        assert len(restored(copy)) in ({4990} if done else {before, 4990})
        assert "is not used" not in caplog.text
        # What the crash left is gone, and what is there is named.
        (manifest,) = copy.glob("*/manifest.json")
        body = json.loads(json.loads(manifest.read_text())["body"])
        assert {path.name for path in files(copy)} == {"manifest.json", *body["checksums"]}
        if done:
            assert step > 15
            return
    pytest.fail("a snapshot takes more steps than were tried")
