"""The same request with the same key is done once: alone, in a group, at once, after a crash."""

import os
import signal
import subprocess
import sys
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Open
from service_media import image, large, text
from store_consistency import assert_consistent
from turnable_clock import TurnableClock

from memory_service.app import Application
from memory_service.errors import InvalidInput, KeyInUse, KeyReused, NotFound, StorageFull
from memory_service.records import QueryPart, Stored, StoreOrder, Upload
from memory_service.storage import idempotency


def order(words: str, key: str | None = "k", **options: Any) -> StoreOrder:
    return StoreOrder([text(words)], idempotency_key=key, **options)


def write(app: Application, *orders: StoreOrder) -> list[Any]:
    return app.storing.write(app.storing.prepare(orders))


def test_is_stored_once(app: Application) -> None:
    first = app.storing.store(order("a fox", metadata={"a": 1, "b": 2}))
    again = app.storing.store(order("a fox", metadata={"b": 2, "a": 1}))
    assert again.episode == first.episode
    assert (first.replayed, again.replayed) == (False, True)
    assert (first.duplicate, again.duplicate) == (False, False)
    assert len(app.memory.list()[0]) == 1
    assert_consistent(app)


@pytest.mark.parametrize(
    "other",
    [
        order("an owl"),
        order("a fox", metadata={"a": 1}),
        order("a fox", ttl_s=5.0),
        order("a fox", if_duplicate="skip"),
        StoreOrder([text("a fox"), text("an owl")], idempotency_key="k"),
        StoreOrder(
            [Upload("text", b"a fox", vector=np.ones(384, np.float32), space="fake")],
            idempotency_key="k",
        ),
    ],
    ids=["content", "metadata", "expiry", "duplicates", "items", "vector"],
)
def test_another_request_is_refused(app: Application, other: StoreOrder) -> None:
    app.storing.store(order("a fox"))
    with pytest.raises(KeyReused):
        app.storing.store(other)
    assert len(app.memory.list()[0]) == 1


def test_other_keys_and_other_namespaces_are_others(app: Application) -> None:
    for each in (order("a"), order("a", "l"), order("a", namespace="zoo"), order("a", None)):
        assert not app.storing.store(each).replayed
    assert len(app.memory.list()[0]) == 4


@pytest.mark.parametrize("key", ["", " ", "a ", "x" * 256, "\n", "ä", "a\nb"])
def test_what_is_no_key(empty_app: Application, key: str) -> None:
    with pytest.raises(InvalidInput):
        empty_app.storing.store(order("a", key))


def test_within_one_group(app: Application) -> None:
    orders = [order("a"), order("a"), order("b"), order("b", "l"), order("c", "m")]
    outcomes = write(app, *orders, order("c", "n", if_duplicate="skip"))
    assert [getattr(each, "replayed", None) for each in outcomes] == [
        False,
        True,
        None,
        False,
        False,
        False,
    ]
    assert isinstance(outcomes[2], KeyReused)
    assert outcomes[1].episode == outcomes[0].episode
    assert outcomes[5].duplicate
    again = write(app, *orders, order("c", "n", if_duplicate="skip"))
    assert [each.episode for each in again if isinstance(each, Stored)] == [
        each.episode for each in outcomes if isinstance(each, Stored)
    ]
    assert again[5].duplicate
    assert again[5].replayed
    assert_consistent(app)


def test_a_duplicate_is_answered_as_one_again(app: Application) -> None:
    there = app.storing.store(order("a", None))
    first = app.storing.store(order("a", if_duplicate="skip"))
    assert (first.episode, first.duplicate, first.replayed) == (there.episode, True, False)
    again = app.storing.store(order("a", if_duplicate="skip"))
    assert (again.episode, again.duplicate, again.replayed) == (there.episode, True, True)


def test_many_at_once_are_one(app: Application) -> None:
    with ThreadPoolExecutor(8) as pool:
        stored = list(pool.map(lambda _: app.storing.store(order("a fox")), range(16)))
    assert sum(not each.replayed for each in stored) == 1
    assert len({each.episode.id for each in stored}) == 1
    assert_consistent(app)


def test_what_failed_can_be_asked_again(app: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise StorageFull("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(idempotency, "insert", full)
        with pytest.raises(StorageFull):
            app.storing.store(StoreOrder([text("a"), large(1)], idempotency_key="k"))
    assert_consistent(app)
    assert app.memory.list() == ([], None)
    stored = app.storing.store(StoreOrder([text("a"), large(1)], idempotency_key="k"))
    assert not stored.replayed


def test_what_is_forgotten_is_not_stored_again(app: Application) -> None:
    stored = app.storing.store(order("a fox"))
    app.memory.forget_episode(stored.episode.id)
    with pytest.raises(NotFound, match="forgotten"):
        app.storing.store(order("a fox"))
    assert app.memory.list() == ([], None)


def test_keys_outlive_the_process_and_expire(open_app: Open, clock: TurnableClock) -> None:
    app = open_app(clock, idempotency_ttl_s=100.0)
    first = app.storing.store(order("a fox"))
    app.close()
    app = open_app(clock, idempotency_ttl_s=100.0)
    assert app.storing.store(order("a fox")).episode == first.episode
    clock.turn(101)
    again = app.storing.store(order("a fox"))
    assert not again.replayed
    assert len(app.memory.list()[0]) == 2


FOX = QueryPart("text", b"a red fox")


class TestGenerations:
    @pytest.fixture(autouse=True)
    def something(self, app: Application) -> None:
        app.memory.store([text("a red fox"), image(1)])

    def test_is_made_once(self, app: Application) -> None:
        options: dict[str, Any] = {"outputs": ["text"], "namespace": "default"}
        first, before = app.generation.generate_once("k", [FOX], **options)
        again, after = app.generation.generate_once("k", [FOX], **options)
        assert (before, after) == (False, True)
        assert (again.id, again.outputs) == (first.id, first.outputs)
        other, _ = app.generation.generate_once(None, [FOX], **options)
        assert other.id != first.id

    def test_another_request_is_refused(self, app: Application) -> None:
        app.generation.generate_once("k", [FOX], outputs=["text"], namespace="default")
        for parts, outputs in (([FOX], ["image"]), ([QueryPart("text", b"an owl")], ["text"])):
            with pytest.raises(KeyReused):
                app.generation.generate_once("k", parts, outputs=outputs, namespace="default")
        with pytest.raises(KeyReused):
            app.storing.store(order("a fox"))

    def test_the_second_of_two_at_once_is_told_to_wait(
        self, app: Application, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made: list[Any] = []
        real = app.store.add_generation

        def meanwhile(*arguments: Any) -> Any:
            with pytest.raises(KeyInUse) as caught:
                app.generation.generate_once("k", [FOX], outputs=["text"], namespace="default")
            made.append(caught.value.details["retry_after_s"])
            return real(*arguments)

        monkeypatch.setattr(app.store, "add_generation", meanwhile)
        app.generation.generate_once("k", [FOX], outputs=["text"], namespace="default")
        assert made == [1]
        _, before = app.generation.generate_once("k", [FOX], outputs=["text"], namespace="default")
        assert before


WRITER = """
import os, sys, threading
from pathlib import Path
from memory_service.bootstrap import build
from memory_service.records import StoreOrder, Upload
from memory_service.settings import Settings

app = build(Settings(data_dir=Path(sys.argv[1]), profile="fake"))

def write(worker):
    for number in range(100_000):
        key = f"{worker}-{number}"
        order = StoreOrder([Upload("text", key.encode())], idempotency_key=key)
        stored = app.storing.store(order)
        os.write(1, f"{key}|{stored.episode.id}|{stored.replayed}".encode() + b"\\n")

for worker in range(3):
    threading.Thread(target=write, args=(worker,)).start()
"""


def killed(folder: Path, answers: int, keys: Collection[str] = ()) -> list[list[str]]:
    """After so many answers, those to `keys` among them."""
    command = [sys.executable, "-c", WRITER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines: list[str] = []
        left = set(keys)
        while len(lines) < answers or left:
            lines.append(process.stdout.readline())
            left.discard(lines[-1].partition("|")[0])
        os.kill(process.pid, signal.SIGKILL)
        lines += [*process.stdout]
    return [line.strip().split("|") for line in lines if line.endswith("\n")]


def test_sigkill_leaves_both_or_neither(folder: Path, open_app: Open) -> None:
    """Whoever got no answer asks again, and everything is there once."""
    first = killed(folder, 40)
    episodes = {key: episode for key, episode, _ in first}
    # The same requests, from the beginning.
    second = killed(folder, len(first) + 20, episodes)
    replayed = {key: episode for key, episode, again in second if again == "True"}
    assert all(replayed[key] == episode for key, episode in episodes.items())
    assert len(replayed) <= len(first) + 3  # what was written, but not answered any more
    app = open_app()
    texts = [memory.text for memory in app.memory.list(limit=1000)[0]]
    assert len(texts) == len(set(texts))
    keys = {row["key"] for row in app.store.catalog.select("SELECT key FROM idempotency_keys")}
    assert keys == set(texts)
    assert_consistent(app)
