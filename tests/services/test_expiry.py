"""Memories whose time has passed: found by nothing, then deleted for good."""

import math
import time
from typing import Any

import pytest
from conftest import Open
from service_media import audio, image, text
from store_consistency import assert_consistent
from turnable_clock import TurnableClock

from memory_service.app import Application
from memory_service.errors import InvalidInput, NotFound, NothingRemembered, TooLarge
from memory_service.records import QueryPart


def words(content: str) -> QueryPart:
    return QueryPart("text", content.encode())


def texts(app: Application, content: str, **options: Any) -> list[str | None]:
    hits = app.retriever.retrieve([words(content)], modalities=["text"], **options).hits["text"]
    return [hit.memory.text for hit in hits]


def test_nothing_finds_what_has_expired(timed: Application, clock: TurnableClock) -> None:
    episode = timed.memory.store(
        [image(1), text("a red fox"), audio(440)], ttl_s=10, metadata={"a": 1}
    ).episode
    ids = [memory.id for memory in episode.memories]
    assert all(memory.expires_at == clock.now() + 10 for memory in episode.memories)
    clock.turn(9.99)
    assert texts(timed, "a red fox") == ["a red fox"]
    made = timed.generation.generate([words("a red fox")], outputs=["text"])
    clock.turn(0.01)
    for mode in ("direct", "associative", "auto"):
        for filter in (None, {"a": 1}):
            found = timed.retriever.retrieve([words("a red fox")], mode=mode, filter=filter)  # type: ignore[arg-type]
            assert not any(found.hits.values())
    with pytest.raises(NothingRemembered):
        timed.generation.generate([words("a red fox")], outputs=["text"])
    for call, id in (
        [(timed.memory.episode, episode.id), (timed.memory.forget_episode, episode.id)]
        + [(timed.memory.get, id) for id in ids]
        + [(timed.memory.content, id) for id in ids]
        + [(timed.memory.forget, id) for id in ids]
    ):
        with pytest.raises(NotFound):
            call(id)
    assert timed.memory.list() == ([], None)
    assert timed.memory.count() == 0
    assert timed.generations.get(made.id).memories[0].deleted
    with pytest.raises(NotFound):
        timed.generations.replay(made.id)
    again = timed.memory.store([image(1), text("a red fox"), audio(440)], if_duplicate="skip")
    assert not again.duplicate


def test_those_that_live_on_are_found_as_before(
    timed: Application, clock: TurnableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of them expired than are looked at at once."""
    for number in range(200):
        timed.memory.store([text(f"red fox {number}")], ttl_s=10)
    timed.memory.store([text("an old red fox")])
    clock.turn(10)
    assert texts(timed, "red fox", k=5) == ["an old red fox"]


def test_a_sweep_deletes_for_good(timed: Application, clock: TurnableClock) -> None:
    for number in range(300):
        timed.memory.store([text(f"fox {number}")], ttl_s=1 + number % 2 * 100)
    timed.memory.store([image(1), text("stays")])
    clock.turn(50)
    assert timed.upkeep.sweep() == 150
    assert timed.upkeep.sweep() == 0
    assert len(timed.store.catalog.select("SELECT 1 FROM memories")) == 152
    assert_consistent(timed)
    clock.turn(100)
    assert timed.upkeep.sweep() == 150
    assert_consistent(timed)
    assert len(timed.store.blobs.digests()) == 2


def test_the_upkeep_sweeps_by_itself(open_app: Open, clock: TurnableClock) -> None:
    app = open_app(clock, upkeep_s=0.01)
    app.memory.store([text("fox")], ttl_s=1)
    clock.turn(2)
    deadline = time.monotonic() + 20
    while app.store.catalog.select("SELECT 1 FROM memories"):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_start_sweeps(open_app: Open, clock: TurnableClock) -> None:
    app = open_app(clock)
    app.memory.store([text("fox")], ttl_s=1)
    app.close()
    clock.turn(2)
    app = open_app(clock)
    deadline = time.monotonic() + 20
    while app.store.catalog.select("SELECT 1 FROM memories"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert_consistent(app)


def test_an_episode_of_which_a_part_expired(timed: Application, clock: TurnableClock) -> None:
    episode = timed.memory.store([image(1), text("a red fox")]).episode
    picture, words_of_it = (memory.id for memory in episode.memories)
    timed.memory.update(words_of_it, {"ttl_s": 5})
    clock.turn(5)
    assert [each.id for each in timed.memory.episode(episode.id).memories] == [picture]
    timed.memory.forget_episode(episode.id)  # the part that expired goes with it
    assert not timed.store.catalog.select("SELECT 1 FROM memories")
    assert_consistent(timed)


@pytest.mark.parametrize(
    "options",
    [
        {"ttl_s": 0},
        {"ttl_s": -1},
        {"ttl_s": math.nan},
        {"ttl_s": math.inf},
        {"ttl_s": "1"},
        {"expires_at": 999999.0},
        {"expires_at": math.nan},
        {"expires_at": True},
        {"ttl_s": 1, "expires_at": 2000000.0},
    ],
)
def test_bad_times(timed: Application, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        timed.memory.store([text("x")], **options)
    assert timed.memory.count() == 0
    memory = timed.memory.store([text("x")]).episode.memories[0]
    with pytest.raises(InvalidInput):
        timed.memory.update(memory.id, options)
    assert timed.memory.get(memory.id) == memory


class TestChanging:
    def test_metadata_by_merge_patch(self, timed: Application) -> None:
        given = {"a": {"b": 1, "c": 2}, "gone": 1, "list": [1, 2]}
        memory = timed.memory.store([text("x")], metadata=given).episode.memories[0]
        patch = {"a": {"b": None, "d": 3}, "gone": None, "list": [3], "new": {"n": None, "m": 1}}
        changed = timed.memory.update(memory.id, {"metadata": patch})
        assert changed.metadata == {"a": {"c": 2, "d": 3}, "list": [3], "new": {"m": 1}}
        assert timed.memory.get(memory.id) == changed
        assert timed.memory.list(filter={"gone": 1})[0] == []

    def test_expiry_can_be_taken_back(self, timed: Application, clock: TurnableClock) -> None:
        memory = timed.memory.store([text("x")], ttl_s=10).episode.memories[0]
        assert timed.memory.update(memory.id, {"expires_at": None}).expires_at is None
        clock.turn(20)
        assert timed.upkeep.sweep() == 0
        assert timed.memory.get(memory.id).text == "x"

    @pytest.mark.parametrize(
        ("changes", "error"),
        [
            ({}, InvalidInput),
            ({"text": "y"}, InvalidInput),
            ({"metadata": None}, InvalidInput),
            ({"metadata": [1]}, InvalidInput),
            ({"metadata": {"a": math.inf}}, InvalidInput),
            ({"metadata": {"a": "x" * 70_000}}, TooLarge),
        ],
    )
    def test_bad_changes(self, timed: Application, changes: Any, error: type[Exception]) -> None:
        memory = timed.memory.store([text("x")], metadata={"a": 1}).episode.memories[0]
        with pytest.raises(error):
            timed.memory.update(memory.id, changes)
        assert timed.memory.get(memory.id) == memory

    def test_unknown(self, empty_app: Application) -> None:
        with pytest.raises(NotFound):
            empty_app.memory.update("nobody", {"metadata": {}})


def test_the_upkeep_goes_on_whatever_a_round_meets(
    open_app: Open, clock: TurnableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_app(clock, upkeep_s=0.01)
    rounds = []

    def tidy() -> None:
        rounds.append(1)
        if len(rounds) == 1:
            raise ValueError("unforeseen")

    monkeypatch.setattr(app.store.removal, "tidy", tidy)
    for _ in range(500):
        if len(rounds) > 1:
            break
        time.sleep(0.01)
    assert len(rounds) > 1
