"""Forgetting for good: what goes, from where, and that nothing of it is left."""

import errno
import hashlib
import os
import sqlite3
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Open
from service_media import audio, large, text
from store_consistency import assert_consistent

from memory_service.app import Application
from memory_service.errors import InvalidInput, NotFound, StorageFull, UnexpectedCount
from memory_service.records import Episode, Forgotten, Manner, Memory, QueryPart, Selection
from memory_service.services.consolidation import Request
from memory_service.storage import deletion, leaving, removal, residue, tally

FOX = QueryPart("text", b"a red fox")
ALL = Selection("default", all=True)


def made_from(app: Application, episode: Episode) -> str:
    """The id of a generation that the episode's text has a share in."""
    made = app.generation.generate([QueryPart("text", (episode.memories[1].text or "").encode())])
    assert episode.memories[0].id in {share.memory_id for share in made.memories}
    return made.id


def digest_of(memories: Iterable[Memory]) -> str:
    """As who kept ids and hashes can compute it."""
    lines = [f"{each.id} {each.blob}" for each in memories]
    total = sum(int(hashlib.sha256(line.encode()).hexdigest(), 16) for line in lines)
    return f"{total % 2**256:064x}"


def raw(app: Application) -> dict[Path, bytes]:
    """All files of the data folder, as they are on the disk."""
    return {path: path.read_bytes() for path in app.settings.data_dir.rglob("*") if path.is_file()}


class TestReceipt:
    def test_it_tells_what_was_where(self, app: Application, animals: dict[str, Episode]) -> None:
        fox = animals["fox"]
        receipt = app.memory.forget_episode(fox.id, Manner(wait=True, probe=True))
        assert receipt.what == "episode"
        assert receipt.memory_ids == tuple(each.id for each in fox.memories)
        assert receipt.episode_ids == (fox.id,)
        assert set(receipt.contents) == {each.blob for each in fox.memories}
        assert set(receipt.blobs_removed) == set(receipt.contents)
        assert receipt.removed["memories"] == receipt.removed["vectors"] == 4
        assert receipt.removed["index_entries"] == receipt.removed["blobs"] == 4
        assert receipt.complete
        assert receipt.clean
        assert_consistent(app)

    def test_it_is_kept_without_content(
        self, open_app: Open, app: Application, animals: dict[str, Episode]
    ) -> None:
        receipt = app.memory.forget_episode(animals["fox"].id, Manner(probe=True))
        app.close()
        app = open_app()
        assert app.forgetting.receipt(receipt.id) == receipt
        with app.store.catalog.transaction("looking") as connection:
            tables = ("receipts", "receipt_parts")
            rows = [tuple(r) for t in tables for r in connection.execute(f"SELECT * FROM {t}")]
        assert len(rows) == 3  # files are known to be gone after the rows
        assert "fox" not in str(rows)

    def test_or_not_kept(self, app: Application, animals: dict[str, Episode]) -> None:
        receipt = app.memory.forget_episode(animals["fox"].id, Manner(keep_receipt=False))
        assert receipt.contents
        assert not receipt.kept
        with pytest.raises(NotFound):
            app.forgetting.receipt(receipt.id)
        assert not app.store.catalog.select("SELECT * FROM receipt_parts")

    def test_one_that_was_interrupted_says_so(
        self, app: Application, animals: dict[str, Episode], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As a crash after the rows: the files go at the next start."""
        seen: list[str] = []

        def crash(self: Any, forgetting: Any, blobs: Any) -> None:
            seen.append(forgetting.id)
            raise KeyboardInterrupt

        fox = animals["fox"]
        with monkeypatch.context() as patch:
            patch.setattr(leaving.Leaving, "remove", crash)
            with pytest.raises(KeyboardInterrupt):
                app.memory.forget_episode(fox.id)
        receipt = app.forgetting.receipt(seen[0])
        assert not receipt.complete
        assert receipt.memory_ids == tuple(each.id for each in fox.memories)
        assert receipt.digest == digest_of(fox.memories)
        assert set(receipt.contents) == {each.blob for each in fox.memories}

    def test_lists_are_cut_and_the_digest_is_of_all(
        self, app: Application, animals: dict[str, Episode], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In whichever order: whoever has a list of what was there can compare it."""
        monkeypatch.setattr(tally, "MOST_LISTED", 5)
        monkeypatch.setattr(removal, "AT_ONCE", 3)
        memories = [each for episode in animals.values() for each in episode.memories]
        receipt = app.forgetting.forget(ALL, 12)
        assert len(receipt.memory_ids) == len(receipt.contents) == len(receipt.blobs_removed) == 5
        assert receipt.memory_ids == tuple(each.id for each in memories[:5])
        assert receipt.removed["memories"] == 12
        assert receipt.digest == digest_of(reversed(memories))
        assert app.forgetting.receipt(receipt.id) == receipt

    def test_each_transaction_writes_its_own_part_alone(
        self, app: Application, animals: dict[str, Episode], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Otherwise a receipt of n memories would write n * n ids."""
        monkeypatch.setattr(removal, "AT_ONCE", 1)
        receipt = app.forgetting.forget(ALL, 12)
        parts = app.store.catalog.select("SELECT lists FROM receipt_parts")
        assert len(parts) == 13
        written = "".join(row["lists"] for row in parts)
        assert all(written.count(each) == 1 for each in receipt.memory_ids)
        assert all(written.count(each) <= 2 for each in receipt.contents)  # and as removed

    def test_are_listed(self, app: Application, animals: dict[str, Episode]) -> None:
        ids = [app.memory.forget_episode(each.id).id for each in animals.values()]
        app.memory.store([text("elsewhere")], namespace="other")
        other = app.forgetting.forget_namespace("other").id
        newest = app.forgetting.receipts(3)
        assert [each.id for each in newest] == [other, *reversed(ids)][:3]
        assert [each.removed["memories"] for each in newest] == [1, 4, 4]
        assert [each.id for each in app.forgetting.receipts(3, before=ids[1])] == [ids[0]]
        assert [each.id for each in app.forgetting.receipts(3, None, ["other"])] == [other]

    def test_unasked_deletions_keep_none(self, timed: Application, clock: Any) -> None:
        timed.memory.store([text("soon gone")], ttl_s=5)
        clock.turn(10)
        assert timed.upkeep.sweep() == 1
        assert not timed.store.catalog.select("SELECT * FROM receipts")


class TestProbe:
    def test_before_and_after(self, app: Application, animals: dict[str, Episode]) -> None:
        probe = app.memory.forget_episode(animals["fox"].id, Manner(probe=True)).probe
        assert probe is not None
        assert probe["memories"] == probe["searches"] == probe["found_before"] == 4
        assert probe["found_after"] == probe["index_entries"] == probe["contents"] == 0
        assert set(probe["rows"].values()) <= {0}
        assert probe["absent"]

    def test_it_tells_when_something_is_left(
        self, app: Application, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An index that forgets nothing, and a disk that keeps its files."""
        episode = app.memory.store([large(1), large(2), text("small")]).episode
        monkeypatch.setattr(app.store.removal._indexes, "remove", lambda *place: 0)
        monkeypatch.setattr(app.store.blobs, "delete", lambda digest: False)
        probe = app.memory.forget_episode(episode.id, Manner(probe=True)).probe
        assert probe is not None
        assert probe["found_after"] == probe["index_entries"] == 3
        assert probe["contents"] == 2
        assert not probe["absent"]

    def test_of_much_the_first_are_searched_for(
        self, app: Application, animals: dict[str, Episode], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(removal, "AT_ONCE", 3)
        monkeypatch.setattr(tally, "MOST_PROBED", 4)
        probe = app.forgetting.forget(ALL, 12, Manner(probe=True)).probe
        assert probe is not None
        assert probe["memories"] == 6  # of whole transactions
        assert probe["absent"]

    def test_an_equal_content_of_another_is_no_find(self, app: Application) -> None:
        first, _ = (app.memory.store([text("twice")]).episode for _ in range(2))
        receipt = app.memory.forget_episode(first.id, Manner(probe=True))
        assert receipt.contents
        assert receipt.blobs_removed == ()
        assert receipt.probe is not None
        assert receipt.probe["absent"]


class TestByFilter:
    def test_what_matches_goes(self, app: Application, animals: dict[str, Episode]) -> None:
        wet = Selection("default", {"wet": True})
        assert app.forgetting.count(wet) == 8
        receipt = app.forgetting.forget(wet, 8, Manner(probe=True))
        assert receipt.what == "filter"
        assert receipt.removed["memories"] == 8
        assert {each.metadata["name"] for each in app.memory.list()[0]} == {"fox"}
        assert_consistent(app)
        texts = Selection("default", {"wet": False}, "text")
        assert app.forgetting.forget(texts, 1).removed["memories"] == 1

    @pytest.mark.parametrize("expected", [0, 7, 9, None])
    def test_a_wrong_number_forgets_nothing(
        self, app: Application, animals: dict[str, Episode], expected: int | None
    ) -> None:
        error = InvalidInput if expected is None else UnexpectedCount
        with pytest.raises(error) as caught:
            app.forgetting.forget(Selection("default", {"wet": True}), expected)
        assert expected is None or caught.value.details == {"found": 8, "accepted": expected}
        assert app.memory.count() == 12
        assert not app.store.catalog.select("SELECT * FROM receipts")

    @pytest.mark.parametrize(
        "selection",
        [
            Selection("default"),
            Selection("default", {}),
            Selection("default", {}, "text"),
            Selection("default", {"a": 1}, all=True),
            Selection("no name", {"a": 1}),
            Selection("default", {"a": 1}, "smell"),
            Selection("default", {'"': 1}),
        ],
    )
    def test_refuses(self, empty_app: Application, selection: Selection) -> None:
        with pytest.raises(InvalidInput):
            empty_app.forgetting.count(selection)
        with pytest.raises(InvalidInput):
            empty_app.forgetting.forget(selection, 0)

    def test_everything_of_a_namespace(
        self, noted_app: Application, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(removal, "AT_ONCE", 4)  # several transactions, one receipt
        receipt = noted_app.forgetting.forget(Selection("notes", all=True), 11, Manner(probe=True))
        assert len(receipt.memory_ids) == len(set(receipt.memory_ids)) == 11
        assert receipt.probe is not None
        assert receipt.probe["found_before"] == 11
        assert receipt.probe["absent"]
        assert noted_app.forgetting.receipt(receipt.id) == receipt
        assert noted_app.memory.count() == 9
        assert_consistent(noted_app)

    def test_what_does_not_match_any_more_stays(
        self, app: Application, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Changed after the set was looked up, before its turn came."""
        monkeypatch.setattr(removal, "AT_ONCE", 2)
        stored = [
            app.memory.store([text(f"note {number}")], metadata={"old": True}).episode.memories[0]
            for number in range(6)
        ]
        real, seen = removal.Removal._delete, []

        def change_the_last(self: Any, *args: Any) -> None:
            real(self, *args)
            if not seen:
                app.memory.update(stored[5].id, {"metadata": {"old": False}})
            seen.append(1)

        monkeypatch.setattr(removal.Removal, "_delete", change_the_last)
        receipt = app.forgetting.forget(Selection("default", {"old": True}), 6)
        assert receipt.memory_ids == tuple(each.id for each in stored[:5])
        assert app.memory.get(stored[5].id).metadata == {"old": False}
        assert_consistent(app)

    def test_members_of_a_prototype_are_counted_and_it_goes_along(self, app: Application) -> None:
        for word in ("one", "one", "two"):
            app.memory.store([text("a note of three words")], metadata={"word": word})
        job = app.consolidation.run(Request(threshold=0.9))
        assert job.result is not None
        assert job.result["groups"] == 1
        first = Selection("default", {"word": "one"})
        assert app.forgetting.count(first) == 2
        receipt = app.forgetting.forget(first, 2)
        assert len(receipt.memory_ids) == 3
        assert app.memory.count() == 1
        assert_consistent(app)


class TestNamespaces:
    def test_counts(self, noted_app: Application) -> None:
        default, notes = noted_app.forgetting.namespaces()
        assert (default.namespace, notes.namespace) == ("default", "notes")
        assert default.by_modality == {"audio": 3, "image": 3, "text": 3}
        assert (default.memories, default.episodes, default.generations) == (9, 3, 0)
        memories, _ = noted_app.memory.list(namespace="notes")
        assert notes.content_bytes == sum(each.size_bytes for each in memories)
        assert noted_app.forgetting.namespace("notes") == notes
        with pytest.raises(NotFound):
            noted_app.forgetting.namespace("nothing")

    def test_all_of_it_goes(self, app: Application, animals: dict[str, Episode]) -> None:
        app.memory.store([text("elsewhere")], namespace="other")
        generation = made_from(app, animals["fox"])
        app.namespaces.configure("default", {"half_life_s": 5.0})
        with pytest.raises(UnexpectedCount):
            app.forgetting.forget_namespace("default", 11)
        receipt = app.forgetting.forget_namespace("default", 12, Manner(wait=True, probe=True))
        assert len(receipt.memory_ids) == 12
        assert receipt.generations_erased == (generation,)
        assert receipt.generations_marked == ()
        assert [each.namespace for each in app.forgetting.namespaces()] == ["other"]
        assert app.namespaces.get("default").configured == ()
        assert_consistent(app)
        with pytest.raises(NotFound):
            app.forgetting.forget_namespace("default")


class TestDescendants:
    def test_are_marked(self, app: Application, animals: dict[str, Episode]) -> None:
        generation = made_from(app, animals["fox"])
        receipt = app.memory.forget_episode(animals["fox"].id)
        assert receipt.generations_marked == (generation,)
        assert receipt.generations_erased == ()
        record = app.generations.get(generation)
        assert any(share.deleted for share in record.memories)
        assert app.generations.content(generation)[1]

    def test_or_erased_with_their_outputs(
        self, app: Application, animals: dict[str, Episode]
    ) -> None:
        generation = made_from(app, animals["fox"])
        output = app.generations.get(generation).outputs[0]
        others = [text("nothing to do with it")]
        kept = app.memory.store(others, namespace="other").episode
        receipt = app.memory.forget_episode(animals["fox"].id, Manner("erase"))
        assert receipt.generations_erased == (generation,)
        assert receipt.removed["generations"] == 1
        assert output.blob in receipt.blobs_removed
        with pytest.raises(NotFound):
            app.generations.get(generation)
        assert app.memory.episode(kept.id) == kept
        assert_consistent(app)

    def test_a_generation_by_itself(self, app: Application, animals: dict[str, Episode]) -> None:
        generation = made_from(app, animals["fox"])
        output = app.generations.get(generation).outputs[0]
        receipt = app.forgetting.forget_generation(generation)
        assert receipt.generations_erased == (generation,)
        assert receipt.blobs_removed == (output.blob,)
        assert app.memory.count() == 12
        assert app.forgetting.receipt(receipt.id) == receipt
        with pytest.raises(NotFound):
            app.forgetting.forget_generation(generation)

    def test_jobs_do_not_name_it_any_more(self, app: Application) -> None:
        first, second = (app.memory.store([text("a note of words")]).episode for _ in range(2))
        job = app.consolidation.run(Request(threshold=0.9))
        gone, kept = (each.memories[0].id for each in (first, second))
        assert gone in str(app.jobs.get(job.id).result)
        receipt = app.memory.forget(gone)
        assert receipt.removed["job_entries"] >= 1
        assert gone not in str(app.jobs.get(job.id).result)
        assert kept not in receipt.memory_ids


class TestNothingIsLeft:
    """In the bytes of the data folder; SQLite reuses pages, so with many rows around it."""

    SECRETS = (b"xylophones", b"Zebedee-4711")

    @pytest.fixture
    def secret(self, app: Application) -> tuple[Episode, bytes]:
        """An episode among many others, stored, recalled, changed; and what its vector is like."""
        rng = np.random.default_rng(5)
        for number in range(60):
            words = f"note {number} " + "word " * int(rng.integers(1, 300))
            app.memory.store([text(words)], namespace="around")
            if number % 3 == 1:
                gone = app.memory.list(namespace="around", limit=1000)[0]
                app.memory.forget(gone[int(rng.integers(len(gone)))].id)
            if number == 30:
                words = "a secret about xylophones " * 40
                uploads = [text(words), large(4711), audio(4711)]
                episode = app.memory.store(uploads, metadata={"who": "Zebedee-4711"}).episode
        app.retriever.retrieve([QueryPart("text", b"a secret about xylophones")])
        app.memory.update(episode.memories[0].id, {"metadata": {"more": "x" * 500}})
        app.thumbnails.get(episode.memories[1].id)
        space = app.profile.encoders[0]
        vector = app.store.catalog.vector(
            episode.memories[0].sequence, (space.space_id, space.fingerprint)
        )
        assert vector is not None
        return episode, vector.astype("<f4").tobytes()[:64]  # SQLite spreads it over pages

    def test_after_waiting(self, app: Application, secret: tuple[Episode, bytes]) -> None:
        episode, vector = secret
        picture = app.memory.content(episode.memories[1].id)[1]
        sound = app.memory.content(episode.memories[2].id)[1]  # lies in the catalog
        wanted = (*self.SECRETS, vector, picture[-64:], sound[300:364])
        before = raw(app).values()
        assert all(any(each in content for content in before) for each in wanted)
        receipt = app.memory.forget_episode(episode.id, Manner(wait=True, probe=True))
        assert receipt.removed["thumbnails"] == 1
        assert receipt.clean
        for path, content in raw(app).items():
            for each in wanted:
                assert each not in content, (path, each[:12])

    def test_of_much_the_catalog_is_written_anew_unseen(
        self, app: Application, secret: tuple[Episode, bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What it is known by takes memory."""
        monkeypatch.setattr(tally, "MOST_MARKS", 1)
        monkeypatch.setattr(residue, "left", lambda *_: pytest.fail("searched"))
        rewritten: list[int] = []
        rewrite = app.store.catalog.rewrite
        monkeypatch.setattr(app.store.catalog, "rewrite", lambda: rewritten.append(1) or rewrite())
        assert app.memory.forget_episode(secret[0].id, Manner(wait=True)).clean
        assert rewritten == [1]
        for content in raw(app).values():
            assert not any(each in content for each in (*self.SECRETS, secret[1]))

    def test_soon_without_waiting(self, app: Application, secret: tuple[Episode, bytes]) -> None:
        episode, vector = secret
        assert not app.memory.forget_episode(episode.id).clean
        app.upkeep._round()
        for content in raw(app).values():
            assert not any(each in content for each in (*self.SECRETS, vector))

    def test_a_reader_holds_up_the_log(self, app: Application, monkeypatch: Any) -> None:
        memory = app.memory.store([text("a secret about xylophones")]).episode.memories[0]
        app.store.catalog._writer.execute("PRAGMA busy_timeout = 1")
        reader = sqlite3.connect(app.settings.data_dir / "catalog.sqlite3")
        reader.execute("BEGIN").execute("SELECT * FROM memories").fetchall()
        receipt = app.memory.forget(memory.id, Manner(wait=True))
        assert not receipt.clean
        assert not app.forgetting.receipt(receipt.id).clean
        reader.close()
        app.store.removal.tidy()
        assert not any(b"xylophones" in content for content in raw(app).values())

    def test_altered_copies_put_aside(self, app: Application) -> None:
        memory = app.memory.store([large(1)]).episode.memories[0]
        path = app.store.blobs.path(memory.blob)
        path.write_bytes(path.read_bytes() + b"!")
        aside = app.store.removal.quarantine.take(path)
        assert app.memory.forget(memory.id).removed["quarantined"] == 1
        assert not aside.exists()


class TestFailures:
    def test_files_that_could_not_be_removed_are_tried_again(
        self, app: Application, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        memory = app.memory.store([large(1)]).episode.memories[0]
        path = app.store.blobs.path(memory.blob)

        def broken(*_: object, **more: object) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", broken)
            assert app.memory.forget(memory.id).blobs_removed == ()
        assert path.exists()
        app.upkeep._round()
        assert not path.exists()
        assert not app.store.catalog.select("SELECT * FROM leaving")

    def test_what_was_stored_again_stays(self, app: Application, open_app: Open) -> None:
        """A note that a file is to be removed does not outweigh a new row that names it."""
        memory = app.memory.store([large(1)]).episode.memories[0]
        with app.store.catalog.transaction("noting") as connection:
            connection.execute("INSERT INTO leaving VALUES (?)", (memory.blob,))
        app.close()
        app = open_app()
        assert len(app.memory.content(memory.id)[1]) == memory.size_bytes
        assert not app.store.catalog.select("SELECT * FROM leaving")

    def test_an_older_catalog_puts_newer_originals_aside(
        self, app: Application, open_app: Open
    ) -> None:
        app.memory.store([text("old")])
        app.close()
        catalog = app.settings.data_dir / "catalog.sqlite3"
        older = catalog.read_bytes()
        app = open_app()
        memory = app.memory.store([large(1)]).episode.memories[0]
        app.close()
        catalog.write_bytes(older)
        app = open_app()
        assert app.memory.count() == 1
        assert app.store.removal.quarantine.intact(memory.blob) is not None
        assert_consistent(app)

    def test_a_full_disk_leaves_everything(
        self, app: Application, animals: dict[str, Episode], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: Any) -> None:
            raise StorageFull("the disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(deletion, "delete_memories", full)
            with pytest.raises(StorageFull):
                app.memory.forget_episode(animals["fox"].id)
        assert app.memory.count() == 12
        assert_consistent(app)


def test_beside_stores_and_retrievals(app: Application) -> None:
    for number in range(80):
        app.memory.store([text(f"old note {number}")], metadata={"old": True})
    stopped = threading.Event()
    failures: list[BaseException] = []
    stored: list[str] = []

    def busy(worker: int) -> None:
        number = 0
        try:
            while not stopped.is_set():
                stored.append(app.memory.store([text(f"new {worker} {number}")]).episode.id)
                app.retriever.retrieve([QueryPart("text", b"old note 7")])
                number += 1
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=busy, args=(each,)) for each in range(3)]
    for thread in threads:
        thread.start()
    receipts: list[Forgotten] = []
    for first in range(0, 80, 20):
        wanted = [f"old note {number}" for number in range(first, first + 20)]
        for memory in app.memory.list(filter={"old": True}, limit=1000)[0]:
            if memory.text in wanted:
                receipts.append(app.memory.forget(memory.id, Manner(probe=True)))
    stopped.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(receipts) == 80
    assert all(each.probe and each.probe["absent"] for each in receipts)
    assert app.memory.count() == len(stored)
    assert_consistent(app)
