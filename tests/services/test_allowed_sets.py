"""Filters in retrieval and listing: kept sets tell the same as the catalog, whatever happened."""

import random
from typing import Any

import pytest
from conftest import Open
from service_media import image, text
from test_consolidation import consolidated, hits
from turnable_clock import TurnableClock

from memory_service.app import Application
from memory_service.errors import InvalidInput
from memory_service.records import QueryPart
from memory_service.storage import filters

FILTERS: list[dict[str, Any]] = [
    {"n": {"$lt": 5}},
    {"n": {"$ne": 3}, "kind": "a"},
    {"$or": [{"kind": "b"}, {"n": 7}]},
    {"n": True},
    {"n": 1},
]
QUERY = QueryPart("text", b"note 3")


def assert_as_in_the_catalog(app: Application) -> None:
    for filter in FILTERS:
        parsed = filters.parse(filter)
        kept = app.store.allowed.of("default", "text", parsed).sequences.tolist()
        there = set(app.store.catalog.memories(kept))
        expected = app.store.catalog.sequences("default", "text", parsed).tolist()
        assert [each for each in kept if each in there] == expected, filter
        mates = app.store.allowed.mates("default", "image", parsed)
        found = {name: set(each.sequences.tolist()) for name, each in mates.items()}
        pictures = app.store.catalog.sequences("default", "image", parsed)
        for name, each in app.store.catalog.mates(pictures).items():
            assert set(each.tolist()) <= found[name]


def test_kept_sets_follow_every_change(timed: Application, clock: TurnableClock) -> None:
    rng = random.Random(2)
    memories = []
    for number in range(60):
        uploads = [text(f"note number {number}"), *([image(number)] if number % 3 else [])]
        metadata = {"n": rng.choice([True, 1, 3, 5, 7]), "kind": rng.choice("ab")}
        expires = clock.now() + 50 if number % 10 == 0 else None
        episode = timed.memory.store(uploads, metadata=metadata, expires_at=expires).episode
        memories += episode.memories
        if number % 4 == 1:
            chosen = rng.choice(memories)
            timed.memory.update(chosen.id, {"metadata": {"n": rng.choice([1, 3]), "kind": "b"}})
        if number % 7 == 1:
            timed.memory.forget(memories.pop(rng.randrange(len(memories))).id)
        if number % 5 == 0:
            assert_as_in_the_catalog(timed)
        if number == 40:
            consolidated(timed)
        clock.turn(1)
    assert_as_in_the_catalog(timed)


def test_a_set_that_is_far_behind_is_made_anew(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memory_service.storage.changes.KEPT", 3)
    stored = [
        app.memory.store([text(f"note {n}")], metadata={"n": n}).episode.memories[0]
        for n in range(9)
    ]
    assert_as_in_the_catalog(app)
    for memory in stored:
        app.memory.update(memory.id, {"metadata": {"n": 7 - memory.metadata["n"]}})
    assert_as_in_the_catalog(app)


def test_a_change_that_is_not_committed_changes_nothing(app: Application) -> None:
    app.memory.store([text("note 3")], metadata={"n": 3})
    before = app.store.catalog.changes.memories

    def fail_halfway() -> None:
        with app.store.catalog.transaction("trying") as connection:
            connection.execute("UPDATE memories SET metadata = '{}'")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert app.store.catalog.changes.memories == before


def test_only_what_is_new_is_read_again(app: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(8):
        app.memory.store([text(f"note {number}")], metadata={"n": number})
    app.retriever.retrieve([QUERY], filter={"n": {"$gte": 0}})
    asked: list[tuple[int, Any]] = []
    real = app.store.catalog.sequences

    def sequences(*arguments: Any, after: int = 0, among: Any = None) -> Any:
        asked.append((after, among))
        return real(*arguments, after=after, among=among)

    monkeypatch.setattr(app.store.catalog, "sequences", sequences)
    app.retriever.retrieve([QUERY], modalities=["text"], mode="direct", filter={"n": {"$gte": 0}})
    assert asked == []
    new = app.memory.store([text("note 3 again")], metadata={"n": 9}).episode.memories[0]
    found = hits(app, "note 3 again", mode="direct", filter={"n": {"$gte": 0}})
    assert found[0].memory.id == new.id
    app.memory.update(new.id, {"metadata": {"n": -1}})
    found = hits(app, "note 3 again", mode="direct", filter={"n": {"$gte": 0}})
    assert new.id not in [hit.memory.id for hit in found]
    assert asked == [(8, None), (0, [9])]


def test_what_is_at_hand_needs_hardly_any_reading(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memory_service.storage.allowed.FEW", 2)

    def at_hand(filter: dict[str, Any]) -> bool:
        return app.retriever.at_hand("default", ["text"], app.retriever.understood(filter))

    app.memory.store([text("note 0")], metadata={"n": 0})
    assert not at_hand({"n": 0})
    app.retriever.retrieve([QUERY], modalities=["text"], mode="direct", filter={"n": 0})
    assert at_hand({"n": 0})
    assert not at_hand({"n": 1})
    parsed = app.retriever.understood({"n": 0})
    assert not app.retriever.at_hand("default", None, parsed)  # of pictures it is not known
    for number in range(3):
        assert at_hand({"n": 0})
        app.memory.store([text(f"note {number}")], metadata={"n": 0})
    assert not at_hand({"n": 0})
    with pytest.raises(InvalidInput):
        at_hand({"$nope": 1})


@pytest.mark.parametrize("filter", [None, {"n": {"$lt": 1000}}])
def test_memories_without_mates_are_not_looked_through_each_time(
    app: Application, monkeypatch: pytest.MonkeyPatch, filter: Any
) -> None:
    """By `auto`, where no episode holds a second memory."""
    for number in range(100):
        app.memory.store([text(f"note number {number}")], metadata={"n": number})
    asked: list[int] = []
    real = app.store.catalog.mates

    def mates(targets: Any) -> Any:
        asked.append(len(targets))
        return real(targets)

    monkeypatch.setattr(app.store.catalog, "mates", mates)
    for _ in range(3):
        assert hits(app, "note number 7", filter=filter)[0].memory.text == "note number 7"
    assert asked == [100]
    pair = [text("of something else"), image(1)]
    app.memory.store(pair, metadata={"n": 3})
    (hit,) = hits(app, "note number 7", "image", mode="associative", filter=filter)
    assert hit.reached_by[0].via_modality == "text"
    hits(app, "note number 7", filter=filter)
    assert asked[1:] == [1, 1]  # the new picture, and the new text


def test_the_same_filter_everywhere(app: Application) -> None:
    for number in range(6):
        app.memory.store([text(f"note {number}")], metadata={"n": number})
    filter = {"$or": [{"n": {"$gte": 4}}, {"n": 0}], "$created_at": {"$gt": "2001-01-01"}}
    listed = app.memory.list(filter=filter)[0]
    assert [memory.metadata["n"] for memory in listed] == [0, 4, 5]
    found = hits(app, "note 0", mode="direct", filter=filter)
    assert {hit.memory.id for hit in found} == {memory.id for memory in listed}
    record = app.generation.generate(
        [QueryPart("text", b"note 0")], outputs=["text"], filter=filter
    )
    assert {each.memory_id for each in record.memories} <= {memory.id for memory in listed}
    for call in (
        lambda: app.memory.list(filter={"n": {"$near": 3}}),
        lambda: hits(app, "note 0", filter={"n": {"$near": 3}}),
    ):
        with pytest.raises(InvalidInput, match="no operator"):
            call()


class TestFieldIndexes:
    def plan(self, app: Application, filter: dict[str, Any]) -> str:
        clause, values = filters.where("default", "text", filters.parse(filter))
        found = app.store.catalog.select(
            f"EXPLAIN QUERY PLAN SELECT sequence FROM alive WHERE TRUE {clause}", values
        )
        return " ".join(row["detail"] for row in found)

    def test_a_declared_field_is_found_by_its_index(self, open_app: Open) -> None:
        app = open_app(indexed_fields="n, it's")
        for number in range(5):
            app.memory.store([text(f"note {number}")], metadata={"n": number, "it's": "so"})
        for filter in ({"n": 3}, {"n": [3, 4]}, {"n": {"$gt": 2}}, {"it's": "so"}):
            assert "USING INDEX field_" in self.plan(app, filter)
            assert app.memory.list(filter=filter)[0]
        assert "field_" not in self.plan(app, {"m": 3})
        assert "memories_by_time" in self.plan(app, {"$created_at": {"$gt": "2001-01-01"}})

    def test_indexes_follow_the_settings(self, open_app: Open) -> None:
        app = open_app(indexed_fields="n")
        app.memory.store([text("note")], metadata={"n": 1, "m": 1})
        app.close()
        app = open_app(indexed_fields="m")
        assert "field_" in self.plan(app, {"m": 1})
        assert "field_" not in self.plan(app, {"n": 1})
        assert len(app.memory.list(filter={"n": 1, "m": 1})[0]) == 1
        app.close()
        assert "field_" not in self.plan(open_app(), {"m": 1})

    @pytest.mark.parametrize("names", ['a"b', "$created_at", ",".join(map(str, range(17)))])
    def test_what_is_no_field_stops_the_start(self, open_app: Open, names: str) -> None:
        with pytest.raises(InvalidInput, match="indexed_fields"):
            open_app(indexed_fields=names)
        open_app()
