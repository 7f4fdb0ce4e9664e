"""What recalls do to memories, and what the ranking makes of it, on a clock that the tests turn."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Open
from service_media import image, text
from turnable_clock import TurnableClock

from memory_service.app import Application
from memory_service.errors import InvalidInput, StorageFailure
from memory_service.records import Explained, QueryPart, Retrieval, Weights
from memory_service.storage import recalls


def words(content: str) -> QueryPart:
    return QueryPart("text", content.encode())


def store(app: Application, content: str, **options: Any) -> str:
    return app.memory.store([text(content)], **options).episode.memories[0].id


def found(app: Application, content: str, **options: Any) -> list[str | None]:
    options = {"modalities": ["text"], "reinforce": False, **options}
    hits = app.retriever.retrieve([words(content)], **options).hits["text"]
    return [hit.memory.text for hit in hits]


def test_a_memory_fades_and_recalls_strengthen_it(timed: Application, clock: TurnableClock) -> None:
    memory = store(timed, "a red fox")
    assert timed.memory.explain(memory).strength.value == 1.0
    clock.turn(100.0)
    fresh = timed.memory.explain(memory).strength
    assert (fresh.value, fresh.recalls, fresh.recalled_at) == (0.5, 0, None)
    timed.retriever.retrieve([words("fox")], modalities=["text"])
    recalled_at = clock.now()
    clock.turn(100.0)
    told = timed.memory.explain(memory).strength
    assert told.value == pytest.approx(0.75)  # (0.5 + 1) / 2
    assert told.retention == pytest.approx(0.75 / 1.75)
    assert (told.base, told.since, told.recalls) == (1.5, recalled_at, 1)
    assert told.value == told.base * 2 ** (-(told.now - told.since) / (told.half_life_s or 1))


def test_asking_without_reinforcement_leaves_no_trace(
    timed: Application, clock: TurnableClock
) -> None:
    memory = store(timed, "a red fox")
    timed.retriever.retrieve([words("fox")], reinforce=False)
    timed.generation.generate([words("fox")], outputs=["text"], reinforce=False)
    assert timed.memory.explain(memory).strength.recalls == 0
    timed.generation.generate([words("fox")], outputs=["text"])
    assert timed.memory.explain(memory).strength.recalls == 1


def test_only_hits_are_recalled(timed: Application) -> None:
    near, far = store(timed, "a red fox"), store(timed, "a blue whale")
    timed.retriever.retrieve([words("a red fox")], k=1)
    assert timed.memory.explain(near).strength.recalls == 1
    assert timed.memory.explain(far).strength.recalls == 0


def test_a_recall_does_not_wait_for_the_disk(
    timed: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(timed, "a red fox")

    def refuse(*arguments: object) -> None:
        raise AssertionError("a recall wrote")

    monkeypatch.setattr(timed.store.catalog, "transaction", refuse)
    assert timed.retriever.retrieve([words("fox")]).hits["text"]


def test_recalls_outlive_the_service(open_app: Open, clock: TurnableClock) -> None:
    app = open_app(clock)
    memory = store(app, "a red fox")
    for _ in range(3):
        app.retriever.retrieve([words("fox")])
    before = app.memory.explain(memory).strength
    app.close()
    assert open_app(clock).memory.explain(memory).strength == before


def test_recalls_that_could_not_be_written_count_still(
    timed: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = store(timed, "a red fox")
    timed.retriever.retrieve([words("fox")])
    service = timed.upkeep._recalls
    with monkeypatch.context() as patch:

        def fail(*arguments: object) -> None:
            raise StorageFailure("no")

        patch.setattr(recalls, "write", fail)
        with pytest.raises(StorageFailure):
            service.flush()
    timed.retriever.retrieve([words("fox")])
    assert timed.memory.explain(memory).strength.recalls == 2
    assert service.flush() == 1
    assert service.flush() == 0
    assert timed.memory.explain(memory).strength.recalls == 2


def test_a_forgotten_memory_is_not_noted(timed: Application) -> None:
    memory = store(timed, "a red fox")
    timed.retriever.retrieve([words("fox")])
    timed.memory.forget(memory)
    assert timed.upkeep._recalls.flush() == 0


class TestWeights:
    def test_zero_weights_change_no_bit(self, zoo: Application) -> None:
        """The weights at 0 against a ranking that never heard of them."""
        part = words("a fox in the wet")
        plain = zoo.retriever.retrieve([part], k=3, reinforce=False)
        zero = zoo.retriever.retrieve([part], k=3, weights=Weights(0.0, 0.0, 0.0), reinforce=False)
        assert bits(plain) == bits(zero)
        ranked = zoo.retriever._weighted
        zoo.retriever._weighted = lambda namespace, found, weights: found  # type: ignore[method-assign]
        try:
            assert bits(zoo.retriever.retrieve([part], k=3, reinforce=False)) == bits(plain)
        finally:
            zoo.retriever._weighted = ranked  # type: ignore[method-assign]

    def test_recency_prefers_what_was_stored_late(
        self, timed: Application, clock: TurnableClock
    ) -> None:
        store(timed, "red fox one")
        clock.turn(300.0)
        store(timed, "red fox two")
        store(timed, "blue whale")
        query = "red fox one"
        assert found(timed, query)[0] == "red fox one"
        recent = found(timed, query, weights=Weights(recency=5.0))
        assert recent[0] == "red fox two"

    def test_strength_prefers_what_was_recalled(
        self, timed: Application, clock: TurnableClock
    ) -> None:
        for content in ("red fox one", "red fox two"):
            store(timed, content)
        for _ in range(5):
            timed.retriever.retrieve([words("red fox two")], modalities=["text"], k=1)
        assert found(timed, "red fox one")[0] == "red fox one"
        assert found(timed, "red fox one", weights=Weights(strength=10.0))[0] == "red fox two"
        clock.turn(5000.0)  # all that was faded
        assert found(timed, "red fox one", weights=Weights(strength=10.0))[0] == "red fox one"

    def test_the_score_is_the_weighted_mean(self, timed: Application, clock: TurnableClock) -> None:
        store(timed, "red fox")
        clock.turn(100.0)
        store(timed, "blue whale")
        plain = timed.retriever.retrieve([words("red")], mode="direct", reinforce=False)
        weights = Weights(recency=1.0, strength=3.0)
        mixed = timed.retriever.retrieve(
            [words("red")], mode="direct", weights=weights, reinforce=False
        )
        scores = {hit.memory.text: hit.score for hit in plain.hits["text"]}
        for hit in mixed.hits["text"]:
            age = 0.5 if hit.memory.text == "red fox" else 1.0
            expected = (scores[hit.memory.text] + age + 3 * age / (1 + age)) / 5
            assert hit.score == pytest.approx(expected)
        ranks = [hit.reached_by[0].rank for hit in mixed.hits["text"]]
        assert ranks == [1, 2]

    def test_priming_leans_towards_what_was_stored_of_late(self, timed: Application) -> None:
        for content in ("river bank water", "money bank account", "river water fish"):
            store(timed, content)
        for number in range(6):
            store(timed, f"money account {number}")
        order = found(timed, "bank", weights=Weights(context=1.0))
        assert order.index("money bank account") < order.index("river bank water")
        primed = timed.retriever.retrieve(
            [words("bank")], modalities=["text"], weights=Weights(context=0.5), reinforce=False
        )
        plain = timed.retriever.retrieve([words("bank")], modalities=["text"], reinforce=False)
        assert primed.familiarity == plain.familiarity  # of the query as it was asked
        query = plain.query_vector.astype(np.float64)
        key = (timed.profile.encoders[0].space_id, timed.profile.encoders[0].fingerprint)
        trace = timed.store.catalog.trace("default", "text", key)
        assert trace is not None
        expected = query + 0.5 * trace / np.linalg.norm(trace)
        expected /= np.linalg.norm(expected)
        first = primed.hits["text"][0]
        vector = timed.store.catalog.vector(first.memory.sequence, key)
        assert first.cosine == pytest.approx(float(expected @ vector), abs=2e-3)

    def test_generation_takes_them(self, timed: Application) -> None:
        for content in ("red fox one", "red fox two"):
            store(timed, content)
        for _ in range(5):
            timed.retriever.retrieve([words("red fox two")], modalities=["text"], k=1)
        options: dict[str, Any] = {"outputs": ["text"], "k": 1, "reinforce": False}
        plain = timed.generation.generate([words("red fox one")], **options)
        strong = timed.generation.generate(
            [words("red fox one")], weights=Weights(strength=10.0), **options
        )
        texts = [timed.memory.get(made.memories[0].memory_id).text for made in (plain, strong)]
        assert texts == ["red fox one", "red fox two"]

    @pytest.mark.parametrize("field", ["context", "recency", "strength"])
    @pytest.mark.parametrize("value", [-0.1, 10.1, math.nan, math.inf, True, "1", None])
    def test_bad_weights(self, empty_app: Application, field: str, value: Any) -> None:
        with pytest.raises(InvalidInput) as caught:
            empty_app.retriever.retrieve([words("x")], weights=replace(Weights(), **{field: value}))
        assert f"{field}_weight" in caught.value.message


def bits(found: Retrieval) -> Any:
    return [
        (name, [(hit.memory.id, hit.score, hit.cosine, hit.reached_by) for hit in hits])
        for name, hits in found.hits.items()
    ]


class TestNamespaces:
    def test_each_fades_at_its_own_pace(self, timed: Application, clock: TurnableClock) -> None:
        ids = {name: store(timed, "fox", namespace=name) for name in ("slow", "never", "plain")}
        timed.namespaces.configure("slow", {"half_life_s": 200})
        timed.namespaces.configure("never", {"half_life_s": None})
        clock.turn(200.0)

        def value(name: str) -> float:
            explained: Explained = timed.memory.explain(ids[name])
            return explained.strength.value

        assert [value(name) for name in ("slow", "never", "plain")] == [0.5, 1.0, 0.25]
        timed.namespaces.configure("slow", {})
        assert value("slow") == 0.25

    def test_settings_outlive_the_service(self, open_app: Open, clock: TurnableClock) -> None:
        app = open_app(clock)
        app.namespaces.configure("a", {"half_life_s": None, "trace_half_life_s": 60})
        app.close()
        kept = open_app(clock).namespaces.get("a")
        assert (kept.life.half_life_s, kept.life.trace_half_life_s) == (None, 60.0)
        assert kept.configured == ("half_life_s", "trace_half_life_s")

    def test_zero_in_the_setting_is_never(self, open_app: Open, clock: TurnableClock) -> None:
        assert open_app(clock, half_life_s=0.0).namespaces.get("a").life.half_life_s is None

    @pytest.mark.parametrize(
        "values",
        [
            {"half_life_s": 0},
            {"half_life_s": -1},
            {"half_life_s": math.nan},
            {"half_life": 1},
            {"half_life_s": "1"},
            {"trace_half_life_s": True},
            {"half_life_s": 2000000000000.0},
        ],
    )
    def test_bad_settings(self, empty_app: Application, values: Any) -> None:
        with pytest.raises(InvalidInput):
            empty_app.namespaces.configure("a", values)
        assert empty_app.namespaces.get("a").configured == ()


class TestTrace:
    """T(t) = sum of e_i * 2 ** (-(t - t_i) / h), whatever is stored and deleted in between."""

    def expected(self, app: Application, clock: TurnableClock, half_life_s: float | None) -> Any:
        key = (app.profile.encoders[0].space_id, app.profile.encoders[0].fingerprint)
        total = np.zeros(app.profile.encoders[0].dimension)
        for memory in app.store.catalog.list_memories():
            age = clock.now() - memory.created_at
            share = 1.0 if half_life_s is None else 2 ** (-age / half_life_s)
            vector = app.store.catalog.vector(memory.sequence, key)
            assert vector is not None
            total += share * vector
        return total

    def check(self, app: Application, clock: TurnableClock, half_life_s: float | None) -> None:
        key = (app.profile.encoders[0].space_id, app.profile.encoders[0].fingerprint)
        expected = self.expected(app, clock, half_life_s)
        trace = app.store.catalog.trace("default", "text", key)
        assert trace is not None
        cosine = trace @ expected / np.linalg.norm(trace) / np.linalg.norm(expected)
        assert cosine == pytest.approx(1.0, abs=1e-6)
        (stats,) = app.memory.stats()
        assert stats.trace_norm == pytest.approx(float(np.linalg.norm(expected)), rel=1e-5)

    @pytest.mark.parametrize("half_life_s", [None, 10.0, 1.0])
    def test_stores_and_deletions(
        self, timed: Application, clock: TurnableClock, half_life_s: float | None
    ) -> None:
        timed.namespaces.configure("default", {"trace_half_life_s": half_life_s})
        ids = []
        for number in range(8):
            ids.append(store(timed, f"animal number {number} of the zoo"))
            clock.turn(30.0)
            self.check(timed, clock, half_life_s)
        for memory in (ids[7], ids[2], ids[6], ids[5]):  # the newest, whose share is nearly all
            timed.memory.forget(memory)
            self.check(timed, clock, half_life_s)
        for memory in (ids[0], ids[1], ids[3], ids[4]):
            timed.memory.forget(memory)
        assert list(timed.memory.stats()) == []

    def test_another_half_life_holds_for_what_is_there(
        self, timed: Application, clock: TurnableClock
    ) -> None:
        for number in range(4):
            store(timed, f"animal {number}")
            clock.turn(20.0)
        for half_life_s in (10.0, 50.0, None):
            timed.namespaces.configure("default", {"trace_half_life_s": half_life_s})
            self.check(timed, clock, half_life_s)

    def test_familiarity_is_with_what_is_recent(
        self, timed: Application, clock: TurnableClock
    ) -> None:
        timed.namespaces.configure("default", {"trace_half_life_s": 10.0})
        store(timed, "red fox")
        clock.turn(1000.0)
        store(timed, "blue whale")
        old, new = (
            timed.retriever.retrieve([words(each)], modalities=["text"]).familiarity["text"]
            for each in ("red fox", "blue whale")
        )
        assert new == pytest.approx(1.0, abs=1e-5)
        assert abs(old) < 0.7


def test_pictures_are_reinforced_over_their_episode(timed: Application, tmp_path: Path) -> None:
    episode = timed.memory.store([image(1), text("a red fox")]).episode
    timed.retriever.retrieve([words("a red fox")], modalities=["image"])
    recalls = [timed.memory.explain(each.id).strength.recalls for each in episode.memories]
    assert recalls == [1, 0]
