"""The comparison that `make chaos` stands on tells each kind of loss, and no other."""

import random
from typing import Any

import pytest

from benchmarks.chaos.ledger import MARK, Ledger

A, B = "a" * 64, "b" * 64


def memory(id: str, mark: str, sha256: str = A, **more: Any) -> dict[str, Any]:
    found = {"id": id, "episode_id": f"episode of {mark}", "sha256": sha256, "prototype": False}
    return {**found, "metadata": {MARK: mark}, **more}


@pytest.fixture
def ledger() -> Ledger:
    """Knows of one episode of two memories, m1 and m2."""
    ledger = Ledger()
    ledger.storing("one", [A, B])
    ledger.stored("one", [memory("m1", "one"), memory("m2", "one", B)])
    return ledger


@pytest.fixture
def there() -> list[dict[str, Any]]:
    return [memory("m1", "one"), memory("m2", "one", B)]


def test_what_was_stored_is_there(ledger: Ledger, there: list) -> None:
    assert ledger.compare(there) == []


def test_a_prototype_is_nobody_s(ledger: Ledger, there: list) -> None:
    assert ledger.compare([*there, memory("p", "one", prototype=True)]) == []


def test_what_is_missing_is_told(ledger: Ledger, there: list) -> None:
    assert ledger.compare(there[:1]) == ["m2 was acknowledged, and is missing"]


def test_what_is_listed_twice_is_told(ledger: Ledger, there: list) -> None:
    assert ledger.compare([*there, there[0]]) == ["m1 is listed 2 times"]


def test_other_contents_and_metadata_are_told(ledger: Ledger, there: list) -> None:
    there[0]["sha256"] = B
    there[1]["metadata"] = {MARK: "one", "changed": 1}
    contents, metadata = ledger.compare(there)
    assert "m1 has other contents" in contents
    assert "m2 has metadata" in metadata


def test_what_is_deleted_may_not_come_back(ledger: Ledger, there: list) -> None:
    ledger.gone(["m1"])
    assert ledger.compare(there[1:]) == []
    assert ledger.compare(there) == ["m1 was deleted, and is back"]


@pytest.mark.parametrize("done", [True, False])
def test_a_deletion_in_doubt_may_be_done_or_not(ledger: Ledger, there: list, done: bool) -> None:
    ledger.deleting(ledger.pick(random.Random(0), episode=True), "DELETE")
    assert ledger.compare([] if done else there) == []
    other = there if done else []
    assert len(ledger.compare(other)) == 2  # afterwards it is certain


def test_a_deletion_may_not_be_done_by_half(ledger: Ledger, there: list) -> None:
    ledger.deleting(ledger.pick(random.Random(0), episode=True), "DELETE")
    assert ledger.compare(there[:1]) == ["DELETE was done by half"]


@pytest.mark.parametrize("done", [True, False])
def test_a_change_in_doubt_may_be_done_or_not(ledger: Ledger, there: list, done: bool) -> None:
    (picked,) = ledger.pick(random.Random(0))
    changed = {**picked.metadata[0], "changed": 1}
    ledger.patching(picked, changed)
    mine = next(each for each in there if each["id"] == picked.id)
    if done:
        mine["metadata"] = changed
    assert ledger.compare(there) == []
    mine["metadata"] = {MARK: "one"} if done else changed
    assert len(ledger.compare(there)) == 1


def test_a_store_in_doubt_is_there_as_a_whole_or_not_at_all(ledger: Ledger, there: list) -> None:
    ledger.storing("two", [A, B])
    whole = [memory("m3", "two", B), memory("m4", "two", A)]
    assert ledger.compare([*there, *whole]) == []
    assert ledger.compare(there) == [
        "m3 was acknowledged, and is missing",
        "m4 was acknowledged, and is missing",
    ]


def test_a_store_by_half_is_told(ledger: Ledger, there: list) -> None:
    ledger.storing("two", [A, B])
    assert ledger.compare([*there, memory("m3", "two")]) == ["two was stored by half"]


def test_what_was_refused_may_not_be_there(ledger: Ledger, there: list) -> None:
    ledger.storing("two", [A])
    ledger.refused("two")
    assert ledger.compare([*there, memory("m3", "two")]) == [
        "m3 (two) was never stored, or refused"
    ]


def test_what_one_client_is_at_another_leaves_alone(ledger: Ledger) -> None:
    (picked,) = ledger.pick(random.Random(0))
    assert ledger.pick(random.Random(1), episode=True) == []
    ledger.unchanged(picked)
    assert len(ledger.pick(random.Random(1), episode=True)) == 2


class TestSentAgain:
    """A store with an idempotency key that was not answered before the service died."""

    @pytest.fixture
    def doubtful(self, ledger: Ledger) -> Ledger:
        ledger.storing("two", [A])
        ledger.sending("two", {"items": []})
        return ledger

    def test_it_was_done(self, doubtful: Ledger, there: list) -> None:
        there.append(memory("m3", "two"))
        assert doubtful.compare(there) == []
        assert doubtful.unanswered == {"two": ["m3"]}
        assert doubtful.repeated("two", there[2:], replayed=True) == ""
        assert doubtful.compare(there) == []
        assert (doubtful.keyed, doubtful.unanswered, doubtful.doubtful) == ({}, {}, {})

    def test_it_was_not_done(self, doubtful: Ledger, there: list) -> None:
        assert doubtful.compare(there) == []
        assert doubtful.unanswered == {"two": []}
        there.append(memory("m3", "two"))
        assert doubtful.repeated("two", there[2:], replayed=False) == ""
        assert doubtful.compare(there) == []
        assert "m3" in doubtful.known

    def test_it_is_killed_again(self, doubtful: Ledger, there: list) -> None:
        """As long as nobody answers, it is sent again, and may be there or not."""
        for _ in range(2):
            assert doubtful.compare(there) == []
        assert doubtful.unanswered == {"two": []}
        assert doubtful.compare([*there, memory("m3", "two")]) == []
        assert doubtful.unanswered == {"two": ["m3"]}

    @pytest.mark.parametrize(("id", "replayed"), [("m4", True), ("m4", False), ("m3", False)])
    def test_twice_is_told(self, doubtful: Ledger, there: list, id: str, replayed: bool) -> None:
        assert doubtful.compare([*there, memory("m3", "two")]) == []
        answered = [memory(id, "two")]
        assert "was stored as ['m3']" in doubtful.repeated("two", answered, replayed)

    def test_a_double_that_no_answer_tells_of(self, doubtful: Ledger, there: list) -> None:
        doubles = [memory("m3", "two"), memory("m4", "two")]
        assert doubtful.compare([*there, *doubles]) == ["two was stored by half"]
