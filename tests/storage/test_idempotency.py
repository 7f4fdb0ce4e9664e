"""Keys in the catalog: found by namespace, for the same request, until they expire."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from turnable_clock import TurnableClock

from memory_service.errors import KeyReused
from memory_service.records import Claim, Claimed
from memory_service.storage import idempotency
from memory_service.storage.catalog import Catalog


@pytest.fixture
def clock() -> TurnableClock:
    return TurnableClock()


@pytest.fixture
def catalog(tmp_path: Path, clock: TurnableClock) -> Iterator[Catalog]:
    catalog = Catalog(tmp_path / "catalog.sqlite3", clock)
    yield catalog
    catalog.close()


def claim(clock: TurnableClock, key: str = "k", request: str = "r") -> Claim:
    return Claim("zoo", key, request, made_at=clock.now(), expires_at=clock.now() + 100)


def insert(catalog: Catalog, given: Claim, result: str) -> None:
    with catalog.transaction("noting a key") as connection:
        idempotency.insert(connection, given, result, duplicate=False)


def test_found_by_its_namespace_until_it_expires(catalog: Catalog, clock: TurnableClock) -> None:
    given = claim(clock)
    assert idempotency.find(catalog, given) is None
    insert(catalog, given, "e1")
    assert idempotency.find(catalog, given) == Claimed("e1", duplicate=False)
    assert idempotency.find(catalog, replace(given, namespace="other")) is None
    clock.turn(101)
    assert idempotency.find(catalog, given) is None


def test_another_request_is_refused(catalog: Catalog, clock: TurnableClock) -> None:
    insert(catalog, claim(clock), "e1")
    with pytest.raises(KeyReused) as caught:
        idempotency.find(catalog, claim(clock, request="another"))
    assert caught.value.details["found"] == "k"


def test_expired_ones_go_with_the_next(catalog: Catalog, clock: TurnableClock) -> None:
    insert(catalog, claim(clock, "old"), "e1")
    insert(catalog, claim(clock), "e2")
    clock.turn(101)
    insert(catalog, claim(clock, request="another"), "e3")
    rows = catalog.select("SELECT key, result FROM idempotency_keys")
    assert [tuple(row) for row in rows] == [("k", "e3")]


def test_a_key_goes_with_its_transaction(catalog: Catalog, clock: TurnableClock) -> None:
    def fail() -> None:
        with catalog.transaction("failing") as connection:
            idempotency.insert(connection, claim(clock), "e1", duplicate=False)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert idempotency.find(catalog, claim(clock)) is None
