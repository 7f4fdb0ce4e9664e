"""What survives: a restart, a crash, a full disk, another encoder, another process."""

import errno
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Open
from service_media import image, large, png, text
from store_consistency import assert_consistent
from stored_contents import files

from encoders.base import Space
from encoders.fake import FakeTextEncoder
from memory_service.app import Application
from memory_service.bootstrap import build
from memory_service.errors import SpaceMismatch, StorageFailure, StorageFull
from memory_service.records import Episode, Manner, QueryPart
from memory_service.settings import Settings
from memory_service.storage import blobs as blobs_module
from memory_service.storage import deletion
from memory_service.storage.blobs import BlobStore

FOX = QueryPart("text", b"a red fox")


class TestRestart:
    def test_everything_is_there(self, open_app: Open) -> None:
        app = open_app()
        rng = random.Random(3)
        for number in range(12):
            picture = large(number) if number % 2 else image(number)
            app.memory.store([text(f"note {number}"), picture], metadata={"n": number})
        for memory in rng.sample(app.memory.list()[0], 7):
            app.memory.forget(memory.id)
        before, stats = app.memory.list()[0], app.memory.stats()
        query = QueryPart("text", b"note 5")
        hits = app.retriever.retrieve([query]).hits
        indexes = {key: index.sequences().tolist() for key, index in app.store.indexes()}
        app.close()

        app = open_app()
        assert app.memory.list()[0] == before
        assert app.memory.stats() == stats
        assert app.retriever.retrieve([query]).hits == hits
        assert {k: i.sequences().tolist() for k, i in app.store.indexes()} == indexes
        assert_consistent(app)
        new = app.memory.store([text("later")]).episode.memories[0]
        assert new.sequence == 25  # what was forgotten keeps its number

    def test_the_folder_is_private(self, app: Application) -> None:
        assert app.settings.data_dir.stat().st_mode & 0o777 == 0o700

    def test_one_process_at_a_time(self, app: Application, open_app: Open) -> None:
        with pytest.raises(StorageFailure, match="in use"):
            open_app()
        app.close()
        open_app()

    def test_a_failed_start_gives_up_the_lock(self, folder: Path, open_app: Open) -> None:
        folder.mkdir()
        (folder / "catalog.sqlite3").write_bytes(b"broken" * 1000)
        with pytest.raises(StorageFailure):
            open_app()
        (folder / "catalog.sqlite3").unlink()
        open_app()

    def test_a_file_in_place_of_the_folder(self, folder: Path, open_app: Open) -> None:
        folder.write_bytes(b"")
        with pytest.raises(StorageFailure):
            open_app()

    def test_files_without_a_row_are_swept(self, open_app: Open) -> None:
        app = open_app()
        app.memory.store([text("kept"), large(1)])
        files = BlobStore(app.settings.data_dir / "blobs")
        orphan = files.path(files.put(b"written, then the power failed"))
        part = orphan.with_suffix(".part")
        part.write_bytes(b"half")
        app.close()
        app = open_app()
        assert not orphan.exists()
        assert not part.exists()
        assert_consistent(app)


WRITER = """
import os, sys, threading
from pathlib import Path
from memory_service.bootstrap import build
from memory_service.records import Upload
from memory_service.settings import Settings

app = build(Settings(data_dir=Path(sys.argv[1]), profile="fake"))
picture = bytes.fromhex(sys.argv[2])

def answer(*words):
    os.write(1, ("|".join(words) + chr(10)).encode())  # whole lines, whichever the thread

def write(worker):
    number = 0
    while True:
        words = f"worker {worker} note {number} round {sys.argv[3]}"
        uploads = [Upload("text", words.encode()), Upload("image", picture)]
        episode = app.memory.store(uploads).episode
        answer("stored", episode.id, words)
        if number % 3 == 0:
            app.memory.forget_episode(episode.id)
            answer("forgotten", episode.id, words)
        number += 1

for worker in range(3):
    threading.Thread(target=write, args=(worker,)).start()
"""


def killed_writer(folder: Path, round_: int, answers: int) -> list[str]:
    """The answers that a writing process gave before SIGKILL met it amid further stores."""
    command = [sys.executable, "-c", WRITER, str(folder), png(1, 400).hex(), str(round_)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(answers)]
        process.send_signal(signal.SIGKILL)
        return [line for line in (*lines, *process.stdout) if line.endswith("\n")]


def test_sigkill_loses_nothing_that_was_answered(folder: Path, open_app: Open) -> None:
    answered: list[str] = []
    for round_, answers in enumerate((20, 33)):
        answered += killed_writer(folder, round_, answers)
    assert len(answered) >= 53
    app = open_app()
    assert_consistent(app)  # nothing half-visible either
    stored, forgotten = (
        {line.split("|")[1]: line.strip().split("|")[2] for line in answered if line[0] == kind}
        for kind in "sf"
    )
    assert forgotten
    present = {memory.episode_id for memory in app.memory.list(limit=1000)[0]}
    assert not present & forgotten.keys()
    # A forget may have been done, but not yet answered.
    missing = stored.keys() - forgotten.keys() - present
    assert all(int(stored[each].split()[3]) % 3 == 0 for each in missing)
    for episode_id in stored.keys() & present:
        note, picture = app.memory.episode(episode_id).memories
        assert app.memory.content(note.id)[1].decode() == note.text == stored[episode_id]
        assert app.memory.content(picture.id)[1] == png(1, 400)


def snapshot(app: Application) -> tuple[Any, ...]:
    contents = files(app.settings.data_dir), app.store.blobs.digests()
    return app.memory.list()[0], list(app.memory.stats()), contents


class TestFullDisk:
    @pytest.mark.parametrize("call", ["write", "fsync"])
    def test_no_room_for_the_content(
        self, app: Application, monkeypatch: pytest.MonkeyPatch, call: str
    ) -> None:
        app.memory.store([text("kept")])
        before = snapshot(app)
        real, calls = getattr(os, call), []

        def full_later(*arguments: Any) -> Any:
            calls.append(1)
            if len(calls) > 2:  # the first contents are written, the third is not
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(blobs_module.os, call, full_later)
            with pytest.raises(StorageFull):
                app.memory.store([text("one"), *(large(number) for number in range(4))])
        assert snapshot(app) == before
        assert_consistent(app)
        app.memory.store([text("one"), *(large(number) for number in range(4))])

    def test_no_room_for_the_row(self, app: Application) -> None:
        app.memory.store([text("kept")])
        writer = app.store.catalog._writer
        (pages,) = writer.execute("PRAGMA page_count").fetchone()
        writer.execute(f"PRAGMA max_page_count = {pages}").fetchall()
        before = snapshot(app)
        with pytest.raises(StorageFull):
            app.memory.store([text("word " * 5000)])
        assert snapshot(app) == before
        assert_consistent(app)
        assert app.retriever.retrieve([FOX], modalities=["text"]).hits["text"]
        writer.execute("PRAGMA max_page_count = 1000000").fetchall()
        app.memory.store([text("word " * 5000)])

    def test_a_broken_disk_while_forgetting_files(
        self, app: Application, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The row is gone by then: the receipt tells that the file is not."""
        episode = app.memory.store([large(1)]).episode

        def broken(*_: object) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", broken)
            receipt = app.memory.forget_episode(episode.id)
        assert receipt.blobs_removed == ()
        assert receipt.memory_ids == (episode.memories[0].id,)


@contextmanager
def other_text_encoder(fingerprint: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeTextEncoder, "space", Space("fake", 384, fingerprint))
        yield


class TestAnotherSpace:
    @pytest.fixture
    def reopened(self, app: Application, animals: dict[str, Episode]) -> Iterator[Application]:
        app.close()
        with other_text_encoder("fake-2"), build(app.settings) as reopened:
            yield reopened

    @pytest.mark.parametrize("mode", ["direct", "associative", "auto"])
    def test_nothing_is_compared(self, reopened: Application, mode: Any) -> None:
        with pytest.raises(SpaceMismatch) as caught:
            reopened.retriever.retrieve([FOX], modalities=["text"], mode=mode)
        assert "fake-1" in caught.value.message
        assert "fake-2" in caught.value.message
        assert "data_dir" in caught.value.message
        assert caught.value.details["recorded"] == [{"id": "fake", "fingerprint": "fake-1"}]

    def test_nothing_is_mixed_or_dropped(self, reopened: Application) -> None:
        before = snapshot(reopened)
        with pytest.raises(SpaceMismatch):
            reopened.memory.store([image(9), text("new")])
        assert snapshot(reopened) == before

    def test_reading_works_as_before(
        self, reopened: Application, animals: dict[str, Episode]
    ) -> None:
        memory = animals["fox"].memories[1]
        assert reopened.memory.content(memory.id) == (memory, b"a red fox")
        assert len(reopened.memory.list()[0]) == 12

    def test_other_modalities_work_as_before(self, reopened: Application) -> None:
        part = QueryPart("image", png(0))
        found = reopened.retriever.retrieve([part], modalities=["image"], mode="direct")
        assert found.hits["image"][0].memory.metadata["name"] == "fox"
        reopened.memory.store([image(44)])

    def test_works_again_when_the_old_vectors_are_gone(
        self, reopened: Application, animals: dict[str, Episode]
    ) -> None:
        for episode in animals.values():
            reopened.memory.forget(episode.memories[1].id)
            reopened.memory.forget(episode.memories[3].id)  # the series lie in the texts' space
        reopened.memory.store([text("a red fox")])
        found = reopened.retriever.retrieve([FOX], modalities=["text"])
        assert np.isclose(found.hits["text"][0].cosine or 0, 1, atol=2e-3)


def test_settings_reach_the_decoders(folder: Path) -> None:
    settings = Settings(data_dir=folder, profile="fake", max_text_chars=3)
    with build(settings) as app, pytest.raises(Exception, match="at most 3"):
        app.memory.store([text("four")])


class TestLosses:
    def test_originals_outlive_their_catalog(self, open_app: Open, folder: Path) -> None:
        app = open_app()
        app.memory.store([large(1), large(2)])
        app.close()
        kept = sorted(folder.glob("blobs/??/*"))
        for path in folder.glob("catalog.sqlite3*"):
            path.unlink()
        for _ in range(2):
            with pytest.raises(StorageFailure, match="2 originals"):
                open_app()
        assert sorted(folder.glob("blobs/??/*")) == kept

    def test_a_full_disk_can_be_cleared(
        self, app: Application, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While the reserve is there, SQLite finds no room; a delete gives it up."""
        episode = app.memory.store([text("a red fox"), image(1)]).episode
        reserve = app.settings.data_dir / "reserve"
        delete = deletion.delete_memories

        def full(*arguments: Any) -> None:
            if reserve.exists():
                raise StorageFull("the disk is full: deleting was not done")
            delete(*arguments)

        assert reserve.stat().st_size >= 2**20
        monkeypatch.setattr(deletion, "delete_memories", full)
        assert len(app.memory.forget_episode(episode.id).memory_ids) == 2
        assert reserve.stat().st_size >= 2**20
        assert_consistent(app)

    def test_the_reserve_has_room_for_what_the_log_has_still(self, app: Application) -> None:
        """By which the file grows when the log is folded in: else no deletion could end."""
        reserve = app.settings.data_dir / "reserve"
        before = reserve.stat().st_size
        for number in range(40):
            words = [text(f"{number} {each} " * 1000) for each in range(10)]
            app.memory.store(words)
        growth = app.store.catalog.growth()
        assert growth > 2**21
        assert reserve.stat().st_size >= before + growth - 2**20
        app.store.catalog.forget_the_log()
        app.store.removal.tidy()
        assert app.store.catalog.growth() == 0
        assert reserve.stat().st_size == before

    @pytest.mark.parametrize("changed", [False, True])
    def test_the_reserve_has_room_for_large_metadata(self, open_app: Open, changed: bool) -> None:
        """Stored with a few words, or given to what is there: few rows, and far to grow."""
        app = open_app(max_metadata_bytes=2**19)
        reserve = app.settings.data_dir / "reserve"
        large = {"of": "x" * 500_000}
        memories = app.memory.store([text(f"note {number}") for number in range(16)]).episode
        for number, memory in enumerate(memories.memories):
            if changed:
                app.memory.update(memory.id, {"metadata": large})
            else:
                app.memory.store([text(f"another {number}")], metadata=large)
            assert reserve.stat().st_size >= app.store.catalog.growth() + 2**19
        assert app.store.catalog.growth() > 2**21

    def test_the_reserve_is_taken_again(
        self, app: Application, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reserve = app.settings.data_dir / "reserve"
        removal = app.store.removal

        def full(*_: Any) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        memories = [app.memory.store([text(name)]).episode.memories[0] for name in ("a", "b")]
        with monkeypatch.context() as patch:
            patch.setattr(os, "posix_fallocate", full)
            removal._keep_reserve()
            assert reserve.stat().st_size >= 2**20  # what is held is not given up
            assert removal.full
            removal._reserve.give_up()
            app.memory.forget(memories[0].id)
            assert reserve.stat().st_size == 0
            assert removal.full
        app.upkeep._round()  # there is room again, and nobody deletes
        assert reserve.stat().st_size >= 2**20
        assert reserve.stat().st_mode & 0o077 == 0
        assert not removal.full

    def test_the_reserve_is_taken_after_files_were_cleared(
        self, app: Application, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is to be cleared is what makes the room for it."""
        memory = app.memory.store([text("a red fox")]).episode.memories[0]
        order: list[str] = []
        removal = app.store.removal
        clear, keep = removal._clearing.all, removal._reserve.keep
        monkeypatch.setattr(
            removal._clearing, "all", lambda *given: order.append("cleared") or clear(*given)
        )
        monkeypatch.setattr(removal._reserve, "keep", lambda: order.append("kept") or keep())
        app.memory.forget(memory.id, Manner(wait=True))
        # Upkeep keeps it, too, when it happens to come along.
        assert "kept" in order[order.index("cleared") :]

    def test_a_full_disk_is_noted_until_something_can_be_written(
        self, app: Application, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        app.upkeep.close()  # its first round would find that there is room
        catalog, removal = app.store.catalog, app.store.removal
        with pytest.raises(StorageFull), catalog.transaction("storing"):
            raise StorageFull("the disk is full")
        assert removal.full
        with catalog.transaction("changing nothing"):
            pass
        assert removal.full
        removal.tidy()
        assert not removal.full
        assert not catalog.select("SELECT * FROM leaving")

    def test_files_are_private(self, app: Application) -> None:
        app.memory.store([text("a red fox")])
        folder = app.settings.data_dir
        for path in (folder / "catalog.sqlite3", folder / "catalog.sqlite3-wal", folder / "blobs"):
            assert path.stat().st_mode & 0o077 == 0
