"""Several episodes at once: one commit, each with an outcome of its own; vectors that are given."""

import threading
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import Open
from reembedding_runs import run
from service_media import image, large, text
from store_consistency import assert_consistent

from memory_service.app import Application
from memory_service.errors import (
    InvalidInput,
    InvalidMedia,
    InvalidVector,
    MemoryServiceError,
    SpaceMismatch,
    StorageFull,
    UnsupportedMedia,
)
from memory_service.records import QueryPart, Stored, StoreOrder, Upload
from memory_service.storage import insertion


def store_all(app: Application, *orders: StoreOrder) -> list[Any]:
    return app.storing.write(app.storing.prepare(orders))


def notes(*words: str, **options: Any) -> list[StoreOrder]:
    return [StoreOrder([text(each)], **options) for each in words]


@pytest.fixture
def transactions(app: Application, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was committed, or tried, from now on."""
    seen: list[str] = []
    real = app.store.catalog.transaction

    def noted(doing: str) -> Any:
        seen.append(doing)
        return real(doing)

    monkeypatch.setattr(app.store.catalog, "transaction", noted)
    return seen


class TestMany:
    def test_one_transaction(self, app: Application, transactions: list[str]) -> None:
        outcomes = store_all(app, *notes("a fox", "an owl"), StoreOrder([text("x"), large(1)]))
        assert [len(each.episode.memories) for each in outcomes] == [1, 1, 2]
        sequences = [m.sequence for each in outcomes for m in each.episode.memories]
        assert sequences == [1, 2, 3, 4]
        assert transactions == ["storing the episode"]
        found = app.retriever.retrieve([QueryPart("text", b"an owl")], modalities=["text"])
        assert found.hits["text"][0].memory.text == "an owl"
        assert_consistent(app)

    def test_what_is_wrong_is_an_outcome(self, app: Application) -> None:
        orders = [
            *notes("good"),
            StoreOrder([]),
            StoreOrder([Upload("image", b"no picture")]),
            StoreOrder([text("fine"), Upload("image", b"\x89PNG\r\n\x1a\n" + b"\1" * 50)]),
            *notes("in no namespace", namespace="/"),
            *notes("also good"),
        ]
        outcomes = store_all(app, *orders)
        kinds = [type(each) for each in outcomes]
        bad = [InvalidInput, UnsupportedMedia, InvalidMedia, InvalidInput]
        assert kinds == [Stored, *bad, Stored]
        assert [memory.text for memory in app.memory.list()[0]] == ["good", "also good"]
        assert_consistent(app)

    def test_duplicates_of_each_other(self, app: Application) -> None:
        (there,) = store_all(app, *notes("there"))
        outcomes = store_all(app, *notes("new", "there", "new", "other", if_duplicate="skip"))
        assert [each.duplicate for each in outcomes] == [False, True, True, False]
        assert outcomes[1].episode.id == there.episode.id
        assert outcomes[2].episode == outcomes[0].episode
        assert_consistent(app)

    def test_they_are_encoded_together(
        self, app: Application, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        encoder = app.active.models.encoders["text"].encoder  # type: ignore[attr-defined]
        batches: list[int] = []
        real = encoder.encode
        monkeypatch.setattr(encoder, "encode", lambda all: batches.append(len(all)) or real(all))
        store_all(app, *notes(*map(str, range(20))))
        assert batches == [20]

    def test_an_encoder_that_fails_for_one(
        self, other_profile: ModuleType, app: Application
    ) -> None:
        other_profile.broken.add("bad")
        app.memory.store([text("before")])
        run(app)
        outcomes = store_all(app, *notes("good", "bad", "fine"))
        assert [isinstance(each, Stored) for each in outcomes] == [True, False, True]
        assert len(app.memory.list()[0]) == 3


class TestFailingWrites:
    def test_one_that_does_not_fit_fails_alone(
        self, app: Application, monkeypatch: pytest.MonkeyPatch, transactions: list[str]
    ) -> None:
        real = insertion.insert_episodes

        def full(connection: Any, episodes: Any) -> Any:
            stored = real(connection, episodes)
            if any(memory.text == "too much" for each in stored for memory in each.memories):
                raise StorageFull("the disk is full: storing was not done")
            return stored

        monkeypatch.setattr(insertion, "insert_episodes", full)
        too_much = StoreOrder([text("too much"), large(1)])
        outcomes = store_all(app, *notes("one"), too_much, *notes("two"))
        assert [type(each) for each in outcomes] == [Stored, StorageFull, Stored]
        assert len(transactions) == 4  # together, then each
        assert len(app.memory.list()[0]) == 2
        assert_consistent(app)  # the file of the picture is gone, too

    def test_callers_that_share_a_commit_do_not_share_its_failure(
        self, app: Application, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = insertion.insert_episodes

        def full(connection: Any, episodes: Any) -> Any:
            if any(memory.size_bytes == 3 for each in episodes for memory in each.record.memories):
                raise StorageFull("the disk is full: storing was not done")
            return real(connection, episodes)

        monkeypatch.setattr(insertion, "insert_episodes", full)

        def store(number: int) -> bool:
            try:
                app.memory.store([text(f"{number:03}" if number % 2 else f"{number:05}")])
            except StorageFull:
                return False
            return True

        with ThreadPoolExecutor(6) as pool:
            with app.store.catalog.write_lock:
                waiting = [pool.submit(store, number) for number in range(6)]
                while len(app.store._intake._commits._waiting) < 6:
                    threading.Event().wait(0.001)
            assert [each.result() for each in waiting] == [True, False] * 3
        assert_consistent(app)


def test_reads_do_not_wait_for_a_writer(app: Application) -> None:
    memory = app.memory.store([text("a fox")]).episode.memories[0]

    def read() -> str:
        app.memory.list()
        app.memory.explain(memory.id)
        app.memory.content(memory.id)
        app.memory.stats()
        found = app.retriever.retrieve([QueryPart("text", b"a fox")])
        return str(found.hits["text"][0].memory.id)

    with ThreadPoolExecutor(1) as pool, app.store.catalog.transaction("taking long"):
        assert pool.submit(read).result(timeout=20) == memory.id


def test_two_in_one_moment_are_two(app: Application) -> None:
    with ThreadPoolExecutor(8) as pool:
        stored = list(pool.map(lambda _: app.memory.store([text("same"), large(3)]), range(16)))
    assert len({each.episode.id for each in stored}) == 16
    assert_consistent(app)


VECTOR = np.random.default_rng(5).standard_normal(384).astype(np.float32)


def with_vector(vector: Any, space: str | None = "fake", words: str = "a fox") -> StoreOrder:
    return StoreOrder([Upload("text", words.encode(), vector=vector, space=space)])


class TestGivenVectors:
    def test_is_searched_by_and_not_encoded(
        self, app: Application, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(app.active.models.encoders["text"], "encode", None)
        (stored,) = store_all(app, with_vector(7 * VECTOR))
        found = app.retriever.retrieve([QueryPart(vector=VECTOR)], mode="direct", reinforce=False)
        hit = found.hits["text"][0]
        assert hit.memory == stored.episode.memories[0]
        assert hit.cosine == pytest.approx(1, abs=1e-3)
        assert hit.memory.text == "a fox"
        assert_consistent(app)

    def test_beside_items_without(self, app: Application) -> None:
        order = StoreOrder([image(1), *with_vector(VECTOR).uploads, text("an owl")])
        (stored,) = store_all(app, order)
        found = app.retriever.retrieve([QueryPart("text", b"an owl")], modalities=["text"])
        assert found.hits["text"][0].memory.text == "an owl"
        assert len(stored.episode.memories) == 3
        assert_consistent(app)

    @pytest.mark.parametrize(
        ("vector", "space", "error"),
        [
            (VECTOR[:-1], "fake", InvalidVector),
            (np.zeros(384), "fake", InvalidVector),
            (np.full(384, np.nan), "fake", InvalidVector),
            ([*VECTOR[1:], float("inf")], "fake", InvalidVector),
            (VECTOR[None], "fake", InvalidVector),
            ([], "fake", InvalidVector),
            (VECTOR, "other", SpaceMismatch),
            (VECTOR, None, InvalidInput),
            (None, "fake", InvalidInput),
        ],
    )
    def test_refused(
        self, empty_app: Application, vector: Any, space: str | None, error: type
    ) -> None:
        (outcome,) = store_all(empty_app, with_vector(vector, space))
        assert type(outcome) is error
        assert empty_app.memory.list() == ([], None)

    def test_the_media_are_checked_all_the_same(self, empty_app: Application) -> None:
        upload = Upload("image", b"no picture", vector=VECTOR, space="fake")
        (outcome,) = store_all(empty_app, StoreOrder([upload]))
        assert isinstance(outcome, UnsupportedMedia)

    def test_huge_and_tiny_ones_have_a_direction(self, app: Application) -> None:
        for scale in (1e-300, 1e300):
            store_all(app, with_vector(VECTOR.astype(np.float64) * scale, words=str(scale)))
        found = app.retriever.retrieve([QueryPart(vector=VECTOR)], mode="direct")
        assert all(hit.cosine == pytest.approx(1, abs=1e-3) for hit in found.hits["text"])


def test_other_models_between_encoding_and_writing(
    other_profile: ModuleType, app: Application
) -> None:
    """The vectors of the former models do not come in: it is encoded again, or refused."""
    prepared = app.storing.prepare([*notes("a fox"), with_vector(VECTOR)])
    app.memory.store([text("before")])
    assert run(app).state == "succeeded"
    encoded, refused = app.storing.write(prepared)
    assert isinstance(refused, SpaceMismatch)
    assert isinstance(encoded, Stored)
    found = app.retriever.retrieve([QueryPart("text", b"a fox")], modalities=["text"])
    assert found.hits["text"][0].memory == encoded.episode.memories[0]
    assert_consistent(app)


def test_nothing_is_lost_at_a_restart(app: Application, open_app: Open) -> None:
    store_all(app, *notes("one", "two"), with_vector(VECTOR))
    before = app.memory.list()[0]
    app.close()
    again = open_app()
    assert again.memory.list()[0] == before
    assert_consistent(again)


def test_what_is_refused_has_a_code(empty_app: Application) -> None:
    (outcome,) = store_all(empty_app, StoreOrder([]))
    assert isinstance(outcome, MemoryServiceError)
    assert outcome.code == "invalid_input"
