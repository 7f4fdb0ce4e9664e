import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import Open, store_animals
from service_media import audio, image, png, text
from store_consistency import assert_consistent

from encoders import registry
from encoders.base import Space
from encoders.fake import FakeTextEncoder
from memory_service.app import Application
from memory_service.bootstrap import build, open_store
from memory_service.errors import (
    Incomplete,
    InvalidInput,
    JobConflict,
    ModalityUnavailable,
    SpaceMismatch,
    StorageFailure,
)
from memory_service.records import Job, QueryPart
from memory_service.services import embedding_batches, reembedding
from memory_service.services.reembedding import Request, rollback
from memory_service.settings import Settings
from memory_service.storage import jobs as job_records

pytestmark = pytest.mark.usefixtures("other_profile")

FAKE = ("fake", "fake-1")
OTHER = ("other", "other-1")
FOX = QueryPart("text", b"a red fox")
TEXTS = 11  # besides the animals: 20 memories in all


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_batches, "BATCH", 4)


@pytest.fixture
def app(open_app: Open) -> Application:
    app = open_app()
    store_animals(app, series=False)
    for number in range(TEXTS):
        app.memory.store([text(f"note number {number}")], namespace="notes")
    return app


def run(app: Application, profile: str = "other", **options: Any) -> Job:
    return app.reembedding.run(Request(profile, **options))


def proof(job: Job) -> Any:
    found = (job.result or job.error or {})["proof"]
    return {name: tuple(each.values()) for name, each in found["modalities"].items()}


def roles(app: Application) -> dict[tuple[str, str], tuple[str, int]]:
    return {
        (each["modality"], each["space"]): (each["role"], each["vectors"])
        for each in app.reembedding.spaces()
    }


def found_names(app: Application, part: QueryPart = FOX, **options: Any) -> list[str]:
    hits = app.retriever.retrieve([part], **options).hits
    return [hit.memory.metadata["name"] for hit in hits["text"]]


def vectors_in(app: Application, space: tuple[str, str]) -> int:
    memories, _ = app.memory.list(limit=1000)
    return sum(app.store.catalog.vector(each.sequence, space) is not None for each in memories)


@pytest.fixture
def at_batch(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], None]], None]:
    """Calls a function while the n-th batch is encoded, before its vectors are written."""
    real, count = embedding_batches.embed_batch, 0
    hooks: dict[int, Callable[[], None]] = {}

    def hooked(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        made = real(*arguments)
        hooks.get(count, lambda: None)()
        return made

    monkeypatch.setattr(embedding_batches, "embed_batch", hooked)
    return hooks.__setitem__


class TestAWholeRun:
    def test_every_memory_is_in_the_new_space_and_found_there(
        self, app: Application, open_app: Open, other_profile: ModuleType
    ) -> None:
        before = found_names(app)
        job = run(app)
        assert job.state == "succeeded"
        assert job.finished_at is not None
        assert (job.result or {})["switched"]
        assert proof(job) == {
            "audio": (3, 3, 0, 0),
            "image": (3, 3, 0, 0),
            "text": (14, 14, 0, 0),
        }
        assert (job.result or {})["proof"]["complete"]
        assert other_profile.encoded == {"image": 3, "text": 14, "audio": 3}
        assert app.profile.name == "other"
        assert found_names(app) == before
        assert_consistent(app)
        app.close()
        again = open_app(profile="other")
        assert found_names(again) == before
        assert_consistent(again)

    def test_again_it_keeps_the_way_back(self, app: Application) -> None:
        run(app)
        assert run(app).state == "succeeded"
        assert roles(app)["text", "fake"] == ("old", 14)

    def test_the_old_vectors_are_kept_beside(self, app: Application) -> None:
        run(app)
        assert roles(app)["text", "other"] == ("active", 14)
        assert roles(app)["text", "fake"] == ("old", 14)
        assert sum(each.count for each in app.memory.stats()) == 20

    def test_under_the_old_profile_it_says_what_to_do(
        self, app: Application, open_app: Open
    ) -> None:
        run(app)
        app.close()
        old = open_app()
        assert len(old.mismatches()) == 3
        for call in (lambda: found_names(old), lambda: old.memory.store([text("new")])):
            with pytest.raises(SpaceMismatch, match="memory-service reembed --profile"):
                call()

    def test_generators_of_the_old_space_are_gone(self, app: Application) -> None:
        app.generation.generate([FOX], outputs=["text"])
        run(app)
        assert app.profile.generators == ()
        with pytest.raises(ModalityUnavailable):
            app.generation.generate([FOX], outputs=["text"])
        run(app, "fake")
        assert app.generation.generate([FOX], outputs=["text"]).space_id == "fake"

    def test_recall_is_compared_by_stored_vectors(self, app: Application) -> None:
        recall = (run(app).result or {})["recall"]
        assert recall["episodes"] == 14
        assert recall["recall"]["text -> image"] == {"queries": 3, "before": 1.0, "after": 1.0}
        # Turning a space leaves its neighbours as they are.
        assert recall["neighbours_kept"] == {"image": 1.0, "text": 1.0, "audio": 1.0}

    def test_into_the_space_that_it_has_already(self, app: Application) -> None:
        job = run(app, "fake")
        assert job.state == "succeeded"
        assert roles(app) == {
            (modality, "fake"): ("active", count)
            for modality, count in (("image", 3), ("text", 14), ("audio", 3))
        }

    def test_an_empty_store(self, open_app: Open) -> None:
        app = open_app()
        assert run(app).state == "succeeded"
        app.memory.store([text("a red fox")], metadata={"name": "fox"})
        assert found_names(app) == ["fox"]
        assert roles(app) == {("text", "other"): ("active", 1)}

    def test_an_unknown_profile(self, app: Application) -> None:
        with pytest.raises(InvalidInput, match="bundled"):
            run(app, "nonsense")


class TestMeanwhile:
    def test_the_old_index_serves(self, app: Application, at_batch: Any) -> None:
        seen: list[Any] = []
        before = found_names(app)
        at_batch(2, lambda: seen.append((found_names(app), app.profile.name)))
        at_batch(5, lambda: seen.append((found_names(app), app.profile.name)))
        run(app)
        assert seen == [(before, "fake")] * 2

    def test_what_is_stored_meanwhile_is_in_both(self, app: Application, at_batch: Any) -> None:
        stored: list[Any] = []

        def store() -> None:
            stored.append(app.memory.store([image(50), text("late")], metadata={"name": "late"}))
            assert found_names(app, QueryPart("text", b"late"))[0] == "late"

        at_batch(2, store)
        job = run(app)
        assert proof(job)["text"] == (15, 15, 0, 0)
        assert found_names(app, QueryPart("text", b"late"))[0] == "late"
        for memory in stored[0].episode.memories:
            assert app.store.catalog.vector(memory.sequence, FAKE) is not None
        assert_consistent(app)

    def test_what_could_not_be_embedded_into_both_is_picked_up(
        self, app: Application, at_batch: Any, other_profile: ModuleType
    ) -> None:
        def store() -> None:
            other_profile.broken.add("late")
            app.memory.store([text("late")])
            other_profile.broken.clear()
            assert app.reembedding._standby.coverage(TARGETS)["text"].missing > 0

        # Behind the last batch of texts: only the check before the switch can see it.
        at_batch(6, store)
        job = run(app)
        assert proof(job)["text"] == (15, 15, 0, 0)
        assert_consistent(app)

    def test_what_is_forgotten_meanwhile_does_not_come_back(
        self, app: Application, at_batch: Any
    ) -> None:
        memories, _ = app.memory.list(limit=1000)
        texts = [each for each in memories if each.modality == "text"]

        def forget() -> None:
            for place in (0, 5, -1):  # embedded, in the batch at hand, yet to come
                app.memory.forget(texts[place].id)

        at_batch(4, forget)
        job = run(app)
        assert proof(job)["text"] == (11, 11, 0, 0)
        assert_consistent(app)
        assert app.store.catalog.vector(texts[5].sequence, OTHER) is None

    def test_a_request_under_way_holds_up_the_switch(self, app: Application) -> None:
        """And does not wait for it when it asks again within itself."""
        under_way, go_on, order = threading.Event(), threading.Event(), []

        def request() -> None:
            with app.active.using():
                under_way.set()
                go_on.wait(10)
                found_names(app)  # nested, while the switch waits
                order.append(app.profile.name)

        def switch() -> None:
            run(app)
            order.append(app.profile.name)

        threads = [threading.Thread(target=request), threading.Thread(target=switch)]
        threads[0].start()
        under_way.wait(10)
        threads[1].start()
        threads[1].join(0.3)
        assert threads[1].is_alive()
        go_on.set()
        for thread in threads:
            thread.join(10)
        assert order == ["fake", "other"]


TARGETS = {modality: {OTHER: 400} for modality in ("image", "text", "audio")}


class TestGoingOn:
    @pytest.mark.parametrize("batch", range(1, 7))
    def test_after_an_end_at_any_batch(
        self, app: Application, open_app: Open, at_batch: Any, batch: int, folder: Path,
        other_profile: ModuleType,
    ) -> None:  # fmt: skip
        """The folder as it is at that moment is what a kill would leave."""
        left = folder.parent / "left"
        at_batch(batch, lambda: shutil.copytree(folder, left))
        run(app)
        with build(Settings(data_dir=left, profile="other")) as again:
            held = sum(vectors for role, vectors in roles(again).values() if role == "new")
            with pytest.raises(SpaceMismatch):  # half of it must not be searched
                found_names(again)
            other_profile.encoded.clear()
            (interrupted,) = again.jobs.latest(5)
            assert interrupted.state == "interrupted"
            job = run(again)
            assert job.id == interrupted.id
            assert job.state == "succeeded"
            assert proof(job)["text"] == (14, 14, 0, 0)
            assert other_profile.encoded.total() == 20 - held
            assert held == (0, 3, 6, 10, 14, 18)[batch - 1]  # all batches that were written
            assert_consistent(again)

    def test_the_old_profile_serves_after_an_end(
        self, app: Application, at_batch: Any, folder: Path
    ) -> None:
        before, left = found_names(app), folder.parent / "left"
        at_batch(4, lambda: shutil.copytree(folder, left))
        run(app)
        with build(Settings(data_dir=left, profile="fake")) as again:
            assert found_names(again) == before
            assert_consistent(again)
            again.memory.store([text("between")])
            job = run(again)
            assert proof(job)["text"] == (15, 15, 0, 0)
            assert_consistent(again)

    def test_at_the_switch_it_is_either_before_or_after(
        self, app: Application, open_app: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before, real = found_names(app), job_records.write

        def fails(connection: Any, job: Job) -> None:
            if job.state == "succeeded":
                raise StorageFailure("the disk is gone")
            real(connection, job)

        with monkeypatch.context() as patch:
            patch.setattr(job_records, "write", fails)
            assert run(app).state == "failed"
        assert app.profile.name == "fake"
        assert found_names(app) == before
        assert roles(app)["text", "fake"] == ("active", 14)
        app.close()
        again = open_app()
        assert found_names(again) == before
        assert run(again).state == "succeeded"
        assert_consistent(again)

    def test_cancelled_and_taken_up(
        self, app: Application, at_batch: Any, other_profile: ModuleType
    ) -> None:
        at_batch(3, lambda: app.jobs.cancel(app.jobs.latest(1)[0].id) and None)
        job = run(app)
        assert job.state == "cancelled"
        assert app.profile.name == "fake"
        assert_consistent(app)
        assert other_profile.encoded.total() == vectors_in(app, OTHER) < 20
        again = run(app)
        assert (again.id, again.state) == (job.id, "succeeded")
        assert other_profile.encoded.total() == 20

    def test_without_the_switch_at_first(self, app: Application, other_profile: ModuleType) -> None:
        job = run(app, switch=False)
        assert not (job.result or {})["switched"]
        assert app.profile.name == "fake"
        assert roles(app)["text", "other"] == ("new", 14)
        run(app)
        assert app.profile.name == "other"
        assert other_profile.encoded.total() == 20

    def test_the_old_encoder_need_not_be_there(
        self, app: Application, monkeypatch: pytest.MonkeyPatch, folder: Path
    ) -> None:
        app.close()
        for encoder in registry.load_profile("fake").encoders.values():
            if hasattr(type(encoder), "space"):  # a series' is that of the texts
                monkeypatch.setattr(type(encoder), "space", Space("fake", 384, "fake-2"))
        with build(Settings(data_dir=folder, profile="fake")) as updated:
            with pytest.raises(SpaceMismatch):
                found_names(updated)
            job = run(updated, "fake")
            assert (job.result or {})["recall"]["recall"]["image -> text"]["before"] == 1.0
            assert found_names(updated)[0] == "fox"
            assert_consistent(updated)

    def test_only_one_modality_changed(
        self, app: Application, monkeypatch: pytest.MonkeyPatch, folder: Path
    ) -> None:
        app.close()
        monkeypatch.setattr(FakeTextEncoder, "space", Space("fake", 384, "fake-2"))
        with build(Settings(data_dir=folder, profile="fake")) as updated:
            run(updated, "fake")
            by_role = {role for _, (role, _) in roles(updated).items()}
            assert by_role == {"active", "old"}
            assert found_names(updated)[0] == "fox"
            assert updated.retriever.retrieve([QueryPart("image", png(0))], mode="direct").hits
            assert not updated.store.standby.spaces("image")


class TestFailures:
    @pytest.fixture
    def damaged(self, app: Application) -> Iterator[str]:
        """The id of a memory whose original is altered."""
        memory = next(each for each in app.memory.list()[0] if each.text == "note number 3")
        path = app.store.blobs.path(memory.blob)
        original = path.read_bytes()
        path.write_bytes(b"altered")
        yield memory.id
        path.write_bytes(original)

    def test_are_listed_and_nothing_is_switched(self, app: Application, damaged: str) -> None:
        job = run(app)
        assert job.state == "failed"
        assert (job.error or {})["code"] == Incomplete.code
        assert proof(job)["text"] == (14, 13, 1, 0)
        (failure,) = (job.error or {})["proof"]["failures"]
        assert failure["memory_id"] == damaged
        assert "altered" in failure["reason"]
        assert app.profile.name == "fake"
        assert found_names(app)

    def test_can_be_accepted(self, app: Application, damaged: str) -> None:
        job = run(app, accept_failures=True)
        assert (job.result or {})["switched"]
        assert not (job.result or {})["proof"]["complete"]
        assert app.memory.get(damaged).text == "note number 3"

    def test_are_tried_again_once_mended(self, app: Application, other_profile: ModuleType) -> None:
        other_profile.broken.add("note number 3")
        job = run(app)
        assert proof(job)["text"] == (14, 13, 1, 0)
        assert "cannot read this" in (job.error or {})["proof"]["failures"][0]["reason"]
        other_profile.broken.clear()
        other_profile.encoded.clear()
        assert run(app).state == "succeeded"
        assert other_profile.encoded.total() == 1
        assert_consistent(app)

    def test_a_missing_original(self, app: Application) -> None:
        memory = app.memory.list()[0][-1]
        app.store.blobs.delete(memory.blob)
        job = run(app)
        assert proof(job)["text"] == (14, 13, 1, 0)

    def test_a_vector_that_is_no_number(
        self, app: Application, other_profile: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            other_profile.OtherEncoder,
            "_encode",
            lambda self, batch: np.full((len(batch), 400), np.nan),
        )
        with np.errstate(invalid="ignore"):
            job = run(app)
        assert proof(job)["text"] == (14, 0, 14, 0)

    def test_a_space_that_nothing_is_made_for(
        self, app: Application, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            reembedding,
            "targets_of",
            lambda models: {**TARGETS, "image": {OTHER: 400, ("x", "1"): 2}},
        )
        job = run(app)
        assert proof(job)["image"] == (3, 0, 3, 0)
        assert "no vector in x" in (job.error or {})["proof"]["failures"][0]["reason"]

    def test_a_modality_without_an_encoder(
        self, app: Application, other_profile: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loaders = {**registry._LOADERS, "other": other_profile.loader("image", "text")}
        monkeypatch.setattr(registry, "_LOADERS", loaders)
        job = run(app)
        assert (job.error or {})["code"] == Incomplete.code
        assert proof(job)["audio"] == (3, 0, 3, 0)
        assert "no encoder for audio" in (job.error or {})["proof"]["failures"][0]["reason"]
        assert run(app, accept_failures=True).state == "succeeded"
        assert found_names(app)[0] == "fox"
        # Its vectors wait for a profile that hears.
        assert roles(app)["audio", "fake"] == ("active", 3)
        assert run(app, "fake").state == "succeeded"
        assert_consistent_after_return(app)


def assert_consistent_after_return(app: Application) -> None:
    assert set(roles(app).values()) == {
        ("active", 3), ("active", 14), ("old", 3), ("old", 14)
    }  # fmt: skip
    assert_consistent(app)


class TestBack:
    def test_an_unfinished_one_is_dropped(self, app: Application, folder: Path) -> None:
        stats = list(app.memory.stats())
        run(app, switch=False)
        app.close()
        with open_store(Settings(data_dir=folder)) as store:
            assert rollback(store) == {"dropped": 20, "switched": False}
            assert {each[3] for each in store.standby.census()} == {None}
            with pytest.raises(InvalidInput, match="nothing was kept"):
                rollback(store)
        with build(app.settings) as again:
            assert list(again.memory.stats()) == stats
            assert vectors_in(again, OTHER) == 0
            assert_consistent(again)

    def test_a_switch_is_taken_back(self, app: Application, folder: Path) -> None:
        before = found_names(app)
        run(app)
        app.memory.forget(app.memory.list()[0][-1].id)
        app.close()
        with open_store(Settings(data_dir=folder)) as store:
            assert rollback(store) == {"dropped": 0, "switched": True}
        with build(app.settings) as again:
            assert found_names(again) == before
            assert roles(again)["text", "other"] == ("old", 13)
            assert_consistent(again)

    def test_not_when_memories_were_stored_since(
        self, app: Application, folder: Path, other_profile: ModuleType
    ) -> None:
        run(app)
        app.memory.store([text("since")], metadata={"name": "since"})
        app.close()
        with open_store(Settings(data_dir=folder)) as store:
            with pytest.raises(Incomplete, match="1 memories") as caught:
                rollback(store)
            assert caught.value.details["lacking"]["text"] == 1
        with build(app.settings) as again:
            job = run(again, "fake")
            assert proof(job)["text"] == (15, 15, 0, 0)
            assert found_names(again, QueryPart("text", b"since"))[0] == "since"
            assert_consistent(again)

    def test_going_back_encodes_only_what_came_since(
        self, app: Application, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run(app)
        app.memory.store([text("since"), audio(999)])
        seen: list[str] = []
        real = FakeTextEncoder._encode
        monkeypatch.setattr(
            FakeTextEncoder, "_encode", lambda self, batch: seen.extend(batch) or real(self, batch)
        )
        run(app, "fake")
        assert seen == ["since"]
        assert app.profile.name == "fake"
        assert_consistent(app)

    def test_dropping_the_old_is_for_good(self, app: Application, open_app: Open) -> None:
        run(app)
        assert app.reembedding.drop("old") == 20
        assert vectors_in(app, FAKE) == 0
        assert {role for role, _ in roles(app).values()} == {"active"}
        assert found_names(app)[0] == "fox"
        app.close()
        with pytest.raises(SpaceMismatch):
            found_names(open_app())

    def test_dropping_may_be_cut_short(
        self, app: Application, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("memory_service.storage.standby.DROPPED_AT_ONCE", 5)
        run(app)
        drop, calls = app.store.standby._drop_some, []

        def cut(*arguments: Any) -> Any:
            calls.append(1)
            if len(calls) == 4:
                raise StorageFailure("the disk is gone")
            return drop(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(app.store.standby, "_drop_some", cut)
            with pytest.raises(StorageFailure):
                app.reembedding.drop("old")
        left = app.reembedding.drop("old")
        assert 0 < left < 20
        assert_consistent(app)

    def test_forgotten_memories_leave_all_spaces(self, app: Application, open_app: Open) -> None:
        """What then is stored under the old profile must not go into a space that is kept."""
        run(app)
        for memory in app.memory.list(limit=1000)[0]:
            app.memory.forget(memory.id)
        assert roles(app) == {}
        app.close()
        with pytest.raises(SpaceMismatch, match="not in use"):
            open_app().memory.store([text("new")])

    def test_a_third_profile_gives_up_the_first(
        self, app: Application, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run(app)
        for encoder in registry.load_profile("fake").encoders.values():
            if hasattr(type(encoder), "space"):  # a series' is that of the texts
                monkeypatch.setattr(type(encoder), "space", Space("fake", 384, "fake-2"))
        run(app, "fake")
        kept = {(each["space"], each["fingerprint"]) for each in app.reembedding.spaces()}
        assert kept == {OTHER, ("fake", "fake-2")}


class TestDryRun:
    def test_changes_nothing_and_predicts(
        self, app: Application, other_profile: ModuleType
    ) -> None:
        def state() -> Any:
            tables = ("vectors", "traces", "spaces", "standby_spaces", "embedding_failures")
            return [app.store.catalog.select(f"SELECT COUNT(*) FROM {each}")[0][0]
                    for each in tables]  # fmt: skip

        before = state()
        job = run(app, dry_run=True)
        assert state() == before
        forecast = (job.result or {})["forecast"]
        assert forecast["to_embed"] == 20
        assert forecast["modalities"]["text"]["to_embed"] == 14
        assert forecast["modalities"]["text"]["sampled"] == 14
        assert forecast["memory_bytes"] == 20 * (400 * 2 + 8)
        assert forecast["seconds"] > 0
        assert app.profile.name == "fake"

    def test_the_disk_is_as_predicted(self, app: Application) -> None:
        for number in range(400):
            app.memory.store([text(f"another {number}")])
        predicted = (run(app, dry_run=True).result or {})["forecast"]["disk_bytes"]

        def size() -> int:
            ((pages,),) = app.store.catalog.select("PRAGMA page_count")
            ((free,),) = app.store.catalog.select("PRAGMA freelist_count")
            return int(pages - free) * 4096

        before = size()
        run(app)
        assert predicted == pytest.approx(size() - before, rel=0.1)

    def test_counts_what_has_no_encoder(
        self, app: Application, other_profile: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loaders = {**registry._LOADERS, "other": other_profile.loader("image")}
        monkeypatch.setattr(registry, "_LOADERS", loaders)
        forecast = (run(app, dry_run=True).result or {})["forecast"]
        assert (forecast["to_embed"], forecast["no_encoder"]) == (3, 17)

    def test_only_the_rest_when_some_is_done(self, app: Application) -> None:
        run(app, switch=False)
        app.memory.store([text("later")])
        assert (run(app, dry_run=True).result or {})["forecast"]["to_embed"] == 1


class TestOneAtATime:
    def test_another_is_refused(self, app: Application, at_batch: Any) -> None:
        refused: list[JobConflict] = []

        def again() -> None:
            for call in (
                lambda: app.reembedding.begin("other"),
                lambda: app.reembedding.drop("new"),
            ):
                with pytest.raises(JobConflict) as caught:
                    call()
                refused.append(caught.value)

        at_batch(2, again)
        job = run(app)
        assert [each.details["id"] for each in refused] == [job.id] * 2
        assert job.state == "succeeded"

    def test_not_while_vectors_are_dropped(
        self, app: Application, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run(app)
        real, refused = app.store.standby._drop_some, []

        def drop(*arguments: Any) -> Any:
            with pytest.raises(JobConflict):
                run(app, "fake")
            refused.append(1)
            return real(*arguments)

        monkeypatch.setattr(app.store.standby, "_drop_some", drop)
        assert app.reembedding.drop("old") == 20
        assert refused
        assert run(app, "fake").state == "succeeded"

    def test_not_while_another_space_is_half_filled(
        self, app: Application, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run(app, switch=False)
        monkeypatch.setattr(reembedding, "targets_of", lambda models: {"text": {("third", "1"): 4}})
        job = run(app, "fake")
        assert (job.error or {})["code"] == JobConflict.code
        assert "--rollback" in (job.error or {})["message"]
