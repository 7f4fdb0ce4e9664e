"""Back to before a re-embedding."""

import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import Open
from reembedding_runs import (
    FAKE,
    OTHER,
    found_names,
    give_other_weights,
    proof,
    roles,
    run,
    vectors_in,
)
from service_media import audio, text
from store_consistency import assert_consistent

from encoders.fake import FakeTextEncoder
from memory_service.app import Application
from memory_service.bootstrap import build, open_store
from memory_service.errors import (
    Incomplete,
    NothingKept,
    SpaceMismatch,
    StorageFailure,
)
from memory_service.records import Job, QueryPart
from memory_service.services import reembedding
from memory_service.services.reembedding import rollback
from memory_service.settings import Settings

pytestmark = pytest.mark.usefixtures("other_profile", "small_batches")


@pytest.fixture
def app(noted_app: Application) -> Application:
    return noted_app


class TestBack:
    def test_an_unfinished_one_is_dropped(self, app: Application, folder: Path) -> None:
        stats = list(app.memory.stats())
        run(app, switch=False)
        app.close()
        with open_store(Settings(data_dir=folder)) as store:
            assert rollback(store) == {"dropped": 20, "switched": False}
            assert {each[3] for each in store.standby.census()} == {None}
            with pytest.raises(NothingKept, match="nothing was kept"):
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

    @pytest.mark.parametrize("content", [b"", b"half", "no bytes"])
    def test_dropping_takes_what_is_damaged_along(self, app: Application, content: Any) -> None:
        run(app)
        with app.store.catalog.transaction("damaging") as connection:
            damaged = connection.execute(
                "UPDATE vectors SET vector = ? WHERE sequence = 2 AND segment = 0 AND space ="
                " (SELECT number FROM spaces WHERE id = ?)",
                (content, FAKE[0]),
            )
            assert damaged.rowcount == 1
        assert app.reembedding.drop("old") == 20
        assert vectors_in(app, FAKE) == 0
        assert {role for role, _ in roles(app).values()} == {"active"}
        assert_consistent(app)

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
        give_other_weights(monkeypatch)
        run(app, "fake")
        kept = {(each["space"], each["fingerprint"]) for each in app.reembedding.spaces()}
        assert kept == {OTHER, ("fake", "fake-2")}


def finished(app: Application, job: Job) -> Job:
    """The job once it has ended."""
    while (found := app.jobs.get(job.id)).state == "running":
        time.sleep(0.01)
    return found


class TestBackInARunningService:
    def test_a_switch_is_taken_back(self, app: Application, other_profile: ModuleType) -> None:
        before = found_names(app)
        run(app)
        app.memory.store([text("since")], metadata={"name": "since"})
        other_profile.encoded.clear()
        job = finished(app, app.reembedding.begin_rollback())
        assert (job.state, (job.result or {})["switched"]) == ("succeeded", True)
        assert app.profile.name == "fake"
        assert found_names(app)[:3] == before
        assert found_names(app, QueryPart("text", b"since"))[0] == "since"
        assert roles(app)["text", "other"] == ("old", 15)
        assert_consistent(app)
        assert finished(app, app.reembedding.begin_rollback()).state == "succeeded"
        assert app.profile.name == "other"
        assert other_profile.encoded.total() == 0
        assert_consistent(app)

    def test_after_a_restart_under_the_new_profile(self, app: Application, open_app: Open) -> None:
        run(app)
        app.close()
        again = open_app(profile="other")
        assert finished(again, again.reembedding.begin_rollback()).state == "succeeded"
        assert again.profile.name == "fake"
        assert_consistent(again)

    def test_an_unfinished_one_is_dropped(self, app: Application) -> None:
        run(app, switch=False)
        job = finished(app, app.reembedding.begin_rollback())
        assert job.result == {"dropped": 20, "switched": False}
        assert {role for role, _ in roles(app).values()} == {"active"}
        with pytest.raises(NothingKept):
            app.reembedding.begin_rollback()

    def test_not_where_the_weights_are_others_by_now(
        self, app: Application, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run(app)
        give_other_weights(monkeypatch)
        job = finished(app, app.reembedding.begin_rollback())
        assert (job.state, (job.error or {})["code"]) == ("failed", "nothing_kept")
        assert app.profile.name == "other"
        assert roles(app)["text", "fake"] == ("old", 14)

    @pytest.mark.parametrize("how", ["over HTTP", "on the folder"])
    def test_one_that_was_interrupted_does_not_lose_what_was_kept(
        self, app: Application, open_app: Open, monkeypatch: pytest.MonkeyPatch, how: str
    ) -> None:
        run(app)

        def ends(*arguments: object) -> None:
            raise StorageFailure("the disk is gone")

        with monkeypatch.context() as patch:
            patch.setattr(reembedding.recall_comparison, "compare", ends)
            assert finished(app, app.reembedding.begin_rollback()).state == "failed"
        assert roles(app)["text", "fake"] == ("new", 14)
        if how == "over HTTP":
            assert finished(app, app.reembedding.begin_rollback()).state == "succeeded"
            assert found_names(app)[0] == "fox"
        else:
            app.close()
            with open_store(app.settings) as store:
                assert rollback(store) == {"dropped": 0, "switched": True}
        if how == "on the folder":
            assert found_names(open_app())[0] == "fox"
