"""Back to before a re-embedding."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import Open
from reembedding_runs import FAKE, OTHER, found_names, proof, roles, run, vectors_in
from service_media import audio, text
from store_consistency import assert_consistent

from encoders import registry
from encoders.base import Space
from encoders.fake import FakeTextEncoder
from memory_service.app import Application
from memory_service.bootstrap import build, open_store
from memory_service.errors import (
    Incomplete,
    InvalidInput,
    SpaceMismatch,
    StorageFailure,
)
from memory_service.records import QueryPart
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
