"""Forgetting so much that it is a job: what its caller learns, and that others have their turn."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from service_media import text
from store_consistency import assert_consistent

from memory_service.app import Application
from memory_service.errors import Overloaded, StorageFull
from memory_service.records import Forgotten, Manner, Selection
from memory_service.services import forgetting
from memory_service.storage import removal

OLD = Selection("default", {"old": True})
COUNT = 12


@pytest.fixture
def much(app: Application, monkeypatch: pytest.MonkeyPatch) -> Application:
    """Twelve memories, of which four are many."""
    monkeypatch.setattr(forgetting, "LARGE", 4)
    monkeypatch.setattr(removal, "AT_ONCE", 2)
    for number in range(COUNT):
        app.memory.store([text(f"old note {number}")], metadata={"old": True})
    app.memory.store([text("a new note")])
    return app


class Held:
    """Holds up a large forgetting after its first transaction, until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, then: Callable[[], None] = lambda: None):
        self.held, self.free = threading.Event(), threading.Event()
        real = removal.Removal._delete

        def delete(store: Any, tally: Any, memories: Any) -> None:
            if tally.job is not None and tally.removed["memories"]:
                then()
            real(store, tally, memories)

        monkeypatch.setattr(removal.Removal, "_delete", delete)
        monkeypatch.setattr(removal, "sleep", self._hold)

    def _hold(self, seconds: float) -> None:
        self.held.set()
        assert self.free.wait(20)


def ended(app: Application, receipt: Forgotten) -> Forgotten:
    for _, thread in list(app.jobs._runs.values()):
        assert thread is not None
        thread.join(20)
    return app.forgetting.receipt(receipt.id)


def test_what_ends_soon_is_answered_whole(much: Application) -> None:
    receipt = much.forgetting.forget(OLD, COUNT, Manner(probe=True))
    assert receipt.complete
    assert len(receipt.memory_ids) == COUNT
    assert receipt.probe is not None
    assert receipt.probe["absent"]
    assert receipt.job is not None
    job = much.jobs.get(receipt.job)
    assert (job.kind, job.parameters["namespace"]) == ("forget", "default")
    assert "old" not in str(job.parameters)  # a filter quotes metadata
    assert ended(much, receipt) == receipt
    assert_consistent(much)


def test_what_takes_long_goes_on(much: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forgetting, "PATIENCE_S", 0.0)
    hold = Held(monkeypatch)
    begun = much.forgetting.forget(OLD, COUNT)
    assert not begun.complete
    assert begun.job is not None
    assert hold.held.wait(20)
    so_far = much.forgetting.receipt(begun.id)
    assert (so_far.complete, so_far.job, len(so_far.memory_ids)) == (False, begun.job, 2)
    assert much.jobs.get(begun.job).progress == {"forgotten": 2, "of": COUNT}
    hold.free.set()
    receipt = ended(much, begun)
    assert receipt.complete
    assert receipt.removed["memories"] == COUNT
    assert much.memory.count() == 1
    job = much.jobs.get(begun.job)
    assert job.state == "succeeded"
    assert job.result is not None
    assert job.result["receipt_id"] == receipt.id
    assert job.result["digest"] == receipt.digest
    assert "blobs" not in job.result["removed"]
    assert_consistent(much)


def test_others_have_their_turn_between(much: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    """The write lock is free while it is held up between two transactions."""
    monkeypatch.setattr(forgetting, "PATIENCE_S", 0.0)
    hold = Held(monkeypatch)
    begun = much.forgetting.forget_namespace("default")
    assert hold.held.wait(20)
    stored = much.memory.store([text("stored meanwhile")], namespace="other").episode
    assert much.memory.forget(stored.memories[0].id).complete
    kept = much.memory.store([text("stored there meanwhile")]).episode
    hold.free.set()
    assert ended(much, begun).removed["memories"] == COUNT + 1
    assert much.memory.episode(kept.id) == kept


def store_birds(app: Application) -> None:
    """Five, in a namespace of their own."""
    for number in range(5):
        app.memory.store([text(f"a bird {number}")], namespace="birds", metadata={"n": number})


def test_several_go_on_one_after_the_other(
    much: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "PATIENCE_S", 0.0)
    hold = Held(monkeypatch)
    store_birds(much)
    first = much.forgetting.forget(OLD, COUNT)
    assert hold.held.wait(20)
    second = much.forgetting.forget_namespace("birds", 5)
    kept = much.memory.store([text("stored after it was asked for")], namespace="birds").episode
    again = much.forgetting.forget(OLD, COUNT - 2)
    assert not any(each.complete for each in (first, second, again))
    assert second.job is not None
    assert again.job is not None
    waiting = much.jobs.get(second.job)
    assert (waiting.state, waiting.progress) == ("running", {"forgotten": 0, "of": 5})
    assert much.jobs.running() == ["forget"] * 3
    assert much.forgetting.receipt(second.id) == second
    hold.free.set()
    assert ended(much, first).removed["memories"] == COUNT
    receipt = much.forgetting.receipt(second.id)
    assert (receipt.complete, receipt.removed["memories"]) == (True, 5)
    assert much.memory.episode(kept.id) == kept
    nothing = much.forgetting.receipt(again.id)
    assert (nothing.complete, nothing.memory_ids) == (True, ())
    times = [much.jobs.get(str(each.job)).finished_at or 0 for each in (first, second, again)]
    assert times == sorted(times)
    assert_consistent(much)


def test_one_that_waits_can_be_cancelled(
    much: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "PATIENCE_S", 0.0)
    hold = Held(monkeypatch)
    store_birds(much)
    first = much.forgetting.forget(OLD, COUNT)
    assert hold.held.wait(20)
    second = much.forgetting.forget_namespace("birds")
    assert second.job is not None
    thread = much.jobs._runs[second.job][1]
    assert thread is not None
    much.jobs.cancel(second.job)
    thread.join(20)
    assert much.jobs.get(second.job).state == "cancelled"
    assert not much.forgetting.receipt(second.id).complete
    assert much.memory.count(["birds"]) == 5
    hold.free.set()
    assert ended(much, first).complete


def test_not_more_than_some_wait(much: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forgetting, "PATIENCE_S", 0.0)
    monkeypatch.setattr(forgetting, "MOST_JOBS", 2)
    hold = Held(monkeypatch)
    begun = [much.forgetting.forget(OLD, COUNT)]
    assert hold.held.wait(20)
    begun.append(much.forgetting.forget_namespace("default"))
    with pytest.raises(Overloaded) as caught:
        much.forgetting.forget_namespace("default")
    assert caught.value.details["retry_after_s"] > 0
    hold.free.set()
    assert ended(much, begun[0]).complete
    assert ended(much, begun[1]).complete
    assert much.memory.count() == 0


def test_one_that_was_cancelled_says_what_is_gone(
    much: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "PATIENCE_S", 0.0)
    hold = Held(monkeypatch)
    begun = much.forgetting.forget(OLD, COUNT)
    assert hold.held.wait(20)
    assert begun.job is not None
    much.jobs.cancel(begun.job)
    hold.free.set()
    receipt = ended(much, begun)
    assert not receipt.complete
    assert len(receipt.memory_ids) == len(receipt.blobs_removed) == 4
    assert much.jobs.get(begun.job).state == "cancelled"
    again = much.forgetting.forget(OLD, COUNT - 4)
    assert again.id != receipt.id
    assert ended(much, again).removed["memories"] == COUNT - 4
    assert_consistent(much)


def test_what_fails_fails_for_who_waits(much: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise StorageFull("the disk is full")

    hold = Held(monkeypatch, full)
    hold.free.set()
    with pytest.raises(StorageFull):
        much.forgetting.forget(OLD, COUNT)
    (receipt,) = much.forgetting.receipts(10)
    assert not receipt.complete
    assert receipt.removed["memories"] == 2
    assert much.memory.count() == COUNT - 1
    assert_consistent(much)


def test_without_a_receipt_the_job_tells_how_much(much: Application) -> None:
    receipt = much.forgetting.forget(OLD, COUNT, Manner(keep_receipt=False))
    assert receipt.complete
    assert receipt.job is not None
    result = much.jobs.get(receipt.job).result
    assert result is not None
    assert result["receipt_id"] is None
    assert result["removed"]["memories"] == COUNT
    assert much.forgetting.receipts(10) == []
