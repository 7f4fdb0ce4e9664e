"""A re-embedding that ended early is taken up where it was."""

import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import Open
from reembedding_runs import OTHER, found_names, give_other_weights, proof, roles, run, vectors_in
from service_media import png, text
from store_consistency import assert_consistent

from encoders.base import Space
from encoders.fake import FakeTextEncoder
from memory_service.app import Application
from memory_service.bootstrap import build
from memory_service.errors import (
    SpaceMismatch,
    StorageFailure,
)
from memory_service.records import Job, QueryPart
from memory_service.settings import Settings
from memory_service.storage import jobs as job_records

pytestmark = pytest.mark.usefixtures("other_profile", "small_batches")


@pytest.fixture
def app(noted_app: Application) -> Application:
    return noted_app


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
        give_other_weights(monkeypatch)
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
