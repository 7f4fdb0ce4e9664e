"""Re-embedding from beginning to end: what is proved, predicted and compared, and what fails."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import Open
from reembedding_runs import FOX, OTHER, TARGETS, found_names, proof, roles, run
from service_media import text
from store_consistency import assert_consistent
from stored_contents import alter
from typer.testing import CliRunner

from encoders import registry
from memory_service.app import Application
from memory_service.cli import app as cli
from memory_service.errors import (
    Incomplete,
    InvalidInput,
    ModalityUnavailable,
    SpaceMismatch,
)
from memory_service.services import reembedding

pytestmark = pytest.mark.usefixtures("other_profile", "small_batches")


@pytest.fixture
def app(noted_app: Application) -> Application:
    return noted_app


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
        for call in (lambda: found_names(old), lambda: old.memory.store([text("new")])):
            with pytest.raises(SpaceMismatch, match="memory-service reembed --profile fake "):
                call()

    @pytest.mark.parametrize("way_out", [0, 1], ids=["re-embed", "roll back"])
    def test_what_it_says_can_be_run(
        self, app: Application, open_app: Open, folder: Path, way_out: int
    ) -> None:
        before = found_names(app)
        run(app)
        app.close()
        old = open_app()
        message = old.mismatch() or ""
        for modality in ("image", "text", "audio"):
            assert f"the store's {modality} vectors were made in space other" in message
        command = shlex.split(re.findall("`(.*?)`", message)[way_out])
        old.close()
        assert command[0] == "memory-service"
        done = CliRunner().invoke(cli, command[1:])
        assert done.exit_code == 0, done.output
        again = open_app()
        assert again.mismatch() is None
        assert found_names(again) == before

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


class TestFailures:
    @pytest.fixture
    def damaged(self, app: Application) -> Iterator[str]:
        """The id of a memory whose original is altered."""
        memory = next(each for each in app.memory.list()[0] if each.text == "note number 3")
        original = alter(app.store, memory.blob, b"altered")
        yield memory.id
        alter(app.store, memory.blob, original)

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
