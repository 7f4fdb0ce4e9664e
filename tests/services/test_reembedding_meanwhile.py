"""Requests while a re-embedding runs, and other runs."""

import threading
from types import ModuleType
from typing import Any

import pytest
from reembedding_runs import FAKE, OTHER, TARGETS, found_names, proof, run
from service_media import image, text
from store_consistency import assert_consistent

from memory_service.app import Application
from memory_service.errors import (
    JobConflict,
)
from memory_service.records import QueryPart
from memory_service.services import reembedding

pytestmark = pytest.mark.usefixtures("other_profile", "small_batches")


@pytest.fixture
def app(noted_app: Application) -> Application:
    return noted_app


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
