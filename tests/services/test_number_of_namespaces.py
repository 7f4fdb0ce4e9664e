"""Each namespace has indexes in memory, so their number is bounded."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from memory_service.app import Application
from memory_service.bootstrap import build
from memory_service.errors import TooManyNamespaces
from memory_service.records import Stored, StoreOrder, Upload
from memory_service.settings import Settings


@pytest.fixture
def application(tmp_path: Path) -> Iterator[Application]:
    settings = Settings(data_dir=tmp_path / "data", profile="fake", max_namespaces=3)
    with build(settings) as application:
        yield application


def order(namespace: str) -> StoreOrder:
    return StoreOrder([Upload("text", b"a hen")], namespace=namespace)


def test_no_more_than_may_be(application: Application) -> None:
    for name in "abc":
        application.storing.store(order(name))
    with pytest.raises(TooManyNamespaces) as caught:
        application.storing.store(order("d"))
    assert caught.value.details == {"found": 3, "accepted": 3}
    assert {each.namespace for each in application.forgetting.namespaces()} == set("abc")
    application.storing.store(order("a"))
    assert application.memory.count(None) == 4


def test_one_that_is_forgotten_makes_room(application: Application) -> None:
    for name in "abc":
        stored = application.storing.store(order(name))
    application.forgetting.forget_namespace("a")
    application.storing.store(order("d"))
    application.memory.forget(stored.episode.memories[0].id)
    application.storing.store(order("e"))
    assert {each.namespace for each in application.forgetting.namespaces()} == set("bde")
    with pytest.raises(TooManyNamespaces):
        application.storing.store(order("c"))


def test_of_a_group_that_comes_together(application: Application) -> None:
    orders = [order(name) for name in "aabbccddee"]
    outcomes = application.storing.store_all(orders)
    assert [type(each) for each in outcomes] == [Stored] * 6 + [TooManyNamespaces] * 4
    assert application.memory.count(None) == 6


def test_of_many_at_once(application: Application) -> None:
    def store(number: int) -> bool:
        try:
            application.storing.store(order(f"n{number % 12}"))
        except TooManyNamespaces:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        stored = list(pool.map(store, range(48)))
    names = {each.namespace for each in application.forgetting.namespaces()}
    assert len(names) == 3
    assert sum(stored) == application.memory.count(None)


def test_those_of_a_store_that_has_more_are_kept(application: Application) -> None:
    for name in "abc":
        application.storing.store(order(name))
    settings = application.settings.model_copy(update={"max_namespaces": 1})
    application.close()
    with build(settings) as application:
        application.storing.store(order("b"))
        with pytest.raises(TooManyNamespaces):
            application.storing.store(order("d"))
        assert application.memory.count(None) == 4
