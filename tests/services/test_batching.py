"""Callers at the same time: each gets its own vectors, and the encoder is called less often."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from conftest import Open
from service_media import text

from encoders.base import Encoder, Space, Vectors
from encoders.fake import FakeTextEncoder
from memory_service.errors import NotReady, Overloaded
from memory_service.records import QueryPart
from memory_service.services.batching import BatchingEncoder


class Slow(Encoder):
    """The fake text encoder; a batch waits until `gate` is open, and "bad" cannot be encoded."""

    modality = "text"
    space: Space = FakeTextEncoder.space

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self._inner = FakeTextEncoder()

    def _encode(self, batch: Sequence[Any]) -> Vectors:
        self.batches.append(list(batch))
        self.entered.release()
        assert self.gate.wait(10)
        if "bad" in batch:
            raise ValueError("bad cannot be encoded")
        return self._inner._encode(batch)


class Counts:
    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.waited_s: list[float] = []
        self.lengths: list[int] = []
        self.rejections: list[int] = []

    def encoded(self, modality: str, items: int, waited_s: Sequence[float]) -> None:
        self.sizes.append(items)
        self.waited_s += waited_s

    def computed(self, modality: str, items: int, seconds: float) -> None:
        assert seconds >= 0.0

    def queued(self, modality: str, items: int) -> None:
        self.lengths.append(items)

    def rejected(self, modality: str, items: int) -> None:
        self.rejections.append(items)


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest.fixture
def make(slow: Slow) -> Iterator[Callable[..., BatchingEncoder]]:
    made: list[BatchingEncoder] = []

    def make_it(**options: Any) -> BatchingEncoder:
        made.append(BatchingEncoder(slow, **{"max_queue": 100, **options}))
        return made[-1]

    yield make_it
    slow.gate.set()
    for each in made:
        each.close()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(32) as pool:
        yield pool


def expected(items: Sequence[str]) -> Vectors:
    return FakeTextEncoder().encode(items)


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


def queue_up(
    pool: ThreadPoolExecutor, encoder: BatchingEncoder, slow: Slow, asked: Sequence[list[str]]
) -> list[Any]:
    """Calls that wait behind a batch that does not end before the gate opens; in this order."""
    counts = Counts()
    encoder.observe(counts)
    slow.gate.clear()
    pool.submit(encoder.encode, ["first"])
    assert slow.entered.acquire(timeout=10)
    futures = []
    for items in asked:
        before = len(counts.lengths)
        futures.append(pool.submit(encoder.encode, items))
        wait_until(lambda before=before: len(counts.lengths) > before)  # type: ignore[misc]
    return futures


def test_it_is_the_encoder_that_it_wraps(slow: Slow, make: Callable[..., BatchingEncoder]) -> None:
    encoder = make()
    assert (encoder.modality, encoder.space, encoder.name) == ("text", slow.space, "Slow")
    assert encoder.encode([]).shape == (0, slow.space.dimension)
    assert np.array_equal(encoder.encode(["a", "b"]), expected(["a", "b"]))


def test_callers_get_their_own_vectors_in_order(
    slow: Slow, make: Callable[..., BatchingEncoder], pool: ThreadPoolExecutor
) -> None:
    encoder = make(max_batch=5, max_queue=1000)
    asked = [[f"{caller} {n}" for n in range(1 + caller % 7)] for caller in range(60)]
    for items, found in zip(asked, pool.map(encoder.encode, asked), strict=True):
        assert np.array_equal(found, expected(items))
    assert max(map(len, slow.batches)) <= 5


def test_what_arrives_during_a_batch_is_the_next_batch(
    slow: Slow, make: Callable[..., BatchingEncoder], pool: ThreadPoolExecutor
) -> None:
    futures = queue_up(pool, make(), slow, [[f"text {n}"] for n in range(10)])
    slow.gate.set()
    for number, future in enumerate(futures):
        assert np.array_equal(future.result(10), expected([f"text {number}"]))
    assert [len(batch) for batch in slow.batches] == [1, 10]


def test_a_caller_of_many_items_does_not_keep_out_the_others(
    slow: Slow, make: Callable[..., BatchingEncoder], pool: ThreadPoolExecutor
) -> None:
    many = [f"many {n}" for n in range(9)]
    futures = queue_up(pool, make(max_batch=4), slow, [many, ["one"], ["two"]])
    slow.gate.set()
    assert np.array_equal(futures[0].result(10), expected(many))
    assert futures[1].result(10).shape == (1, 384)
    assert slow.batches[1] == ["many 0", "one", "two", "many 1"]


def test_a_bad_item_fails_its_own_caller_only(
    slow: Slow, make: Callable[..., BatchingEncoder], pool: ThreadPoolExecutor
) -> None:
    encoder = make(max_batch=3)
    futures = queue_up(pool, encoder, slow, [["a"], ["bad", "b", "c", "d"], ["e"], ["f"]])
    slow.gate.set()
    for place, items in ((0, ["a"]), (2, ["e"]), (3, ["f"])):
        assert np.array_equal(futures[place].result(10), expected(items))
    with pytest.raises(ValueError, match="bad cannot"):
        futures[1].result(10)
    # What the failed caller still had waiting is gone, and counts no more.
    assert not any("c" in batch or "d" in batch for batch in slow.batches)
    assert np.array_equal(encoder.encode(["after"]), expected(["after"]))
    assert encoder._queued == 0


def test_an_encoder_that_loses_an_item_is_an_error(make: Callable[..., BatchingEncoder]) -> None:
    encoder = make()
    encoder.encoder._encode = lambda batch: np.ones((1, 384), np.float32)  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="1 vectors of 2 items"):
        encoder.encode(["a", "b"])


def test_an_observer_that_raises_stops_nobody(
    make: Callable[..., BatchingEncoder],
    pool: ThreadPoolExecutor,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(Counts):
        def encoded(self, modality: str, items: int, waited_s: Sequence[float]) -> None:
            raise RuntimeError("cannot count")

        computed = queued = rejected = encoded  # type: ignore[assignment]

    counts = Counts()
    encoder = make(observers=[Broken(), counts])
    for _ in range(2):
        vectors = pool.submit(encoder.encode, ["a", "b"]).result(10)
        np.testing.assert_array_equal(vectors, expected(["a", "b"]))
    assert sum(counts.sizes) == 4  # the next one is told all the same
    assert "an observer failed" in caplog.text


def test_vectors_that_do_not_fit_together_are_an_error_and_not_the_end(
    make: Callable[..., BatchingEncoder],
    slow: Slow,
    pool: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lengths = iter((3, 4, 3))
    monkeypatch.setattr(slow, "encode", lambda batch: np.ones((len(batch), next(lengths))))
    encoder = make(max_batch=1)
    with pytest.raises(ValueError, match="same shape"):
        pool.submit(encoder.encode, ["a", "b"]).result(10)
    assert pool.submit(encoder.encode, ["a"]).result(10).shape == (1, 3)


def test_a_full_queue_refuses(
    slow: Slow, make: Callable[..., BatchingEncoder], pool: ThreadPoolExecutor
) -> None:
    encoder, counts = make(max_queue=3), Counts()
    encoder.observe(counts)
    futures = queue_up(pool, encoder, slow, [["a"], ["b", "c"]])
    with pytest.raises(Overloaded) as caught:
        encoder.encode(["d"])
    assert caught.value.details["retry_after_s"] >= 1
    assert (caught.value.details["found"], caught.value.details["accepted"]) == (4, 3)
    slow.gate.set()
    assert [len(future.result(10)) for future in futures] == [1, 2]
    assert counts.rejections == [1]
    assert (max(counts.lengths), counts.lengths[-1]) == (3, 0)
    assert counts.sizes == [1, 3]
    assert len(counts.waited_s) == 4


def test_more_than_the_queue_holds_is_let_in_alone(make: Callable[..., BatchingEncoder]) -> None:
    items = [f"text {n}" for n in range(9)]
    assert np.array_equal(make(max_queue=2, max_batch=4).encode(items), expected(items))


def test_how_long_to_stay_away_follows_from_what_waits_and_how_fast_it_goes(
    slow: Slow, make: Callable[..., BatchingEncoder], pool: ThreadPoolExecutor
) -> None:
    encoder = make(max_queue=40)
    encoder._item_s = 0.5  # as after slow batches
    queue_up(pool, encoder, slow, [["text"] * 40])
    with pytest.raises(Overloaded) as caught:
        encoder.encode(["late"])
    assert caught.value.details["retry_after_s"] == 21  # 40 wait, 1 is computed
    slow.gate.set()


def test_a_lone_caller_does_not_wait_for_others(make: Callable[..., BatchingEncoder]) -> None:
    encoder = make(max_wait_s=5.0)
    started = time.monotonic()
    for _ in range(20):
        encoder.encode(["alone"])
    assert time.monotonic() - started < 2


def test_after_a_shared_batch_the_first_to_come_waits_for_the_others(
    slow: Slow, make: Callable[..., BatchingEncoder], pool: ThreadPoolExecutor
) -> None:
    encoder = make(max_wait_s=5.0)
    futures = queue_up(pool, encoder, slow, [["a"], ["b"]])
    slow.gate.set()
    for future in futures:
        future.result(10)
    again = [pool.submit(encoder.encode, [item]) for item in ("c", "d")]
    for future in again:
        future.result(4)  # as soon as both are there, not after 5 s
    assert sorted(slow.batches[-1]) == ["c", "d"]


def test_closing_answers_what_is_queued_and_takes_no_more(
    slow: Slow, make: Callable[..., BatchingEncoder], pool: ThreadPoolExecutor
) -> None:
    encoder = make(max_batch=2)
    futures = queue_up(pool, encoder, slow, [[f"text {n}"] for n in range(7)])
    closing = pool.submit(encoder.close)
    wait_until(lambda: encoder._closed)
    with pytest.raises(NotReady):
        encoder.encode(["late"])
    slow.gate.set()
    closing.result(10)
    assert encoder._queued == 0
    assert [len(future.result(10)) for future in futures] == [1] * 7


def test_the_services_encode_together(open_app: Open) -> None:
    app, counts = open_app(), Counts()
    app.observe_batches(counts)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: app.memory.store([text(f"number {n}")]), range(48)))
        found = list(
            pool.map(
                lambda n: app.retriever.retrieve([QueryPart("text", f"number {n}".encode())], k=1),
                range(48),
            )
        )
    assert [each.hits["text"][0].memory.text for each in found] == [
        f"number {n}" for n in range(48)
    ]
    assert sum(counts.sizes) == 96
    assert app.profile.encoders[1].name == "FakeTextEncoder"
    app.close()
    with pytest.raises(NotReady):
        app.memory.store([text("late")])


def test_batches_of_one_are_no_batches(open_app: Open) -> None:
    app = open_app(batch_items=1)
    assert app.batching == ()
    app.memory.store([text("alone")])
