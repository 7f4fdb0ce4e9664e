"""Brief retrievals that are there at the same time are answered like each alone."""

import asyncio
import json
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import anyio
import numpy as np
import pytest
from asgi import Sender, scope
from fastapi import FastAPI
from fastapi.testclient import TestClient

from memory_service.api.searches import MOST_TOGETHER, Searches
from memory_service.services.searches import NONE_AHEAD, Search
from memory_service.storage.vectors import Nearest, VectorIndex

TEXTS = [f"{number} hens and a cat" for number in range(20)]


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many queries each call of an index had that took several."""
    sizes: list[int] = []
    search = VectorIndex.nearest_of_each

    def counted(self: VectorIndex, queries: Any, k: int) -> list[Nearest]:
        assert threading.current_thread().name == "search-0"
        sizes.append(len(queries))
        return search(self, queries, k)

    monkeypatch.setattr(VectorIndex, "nearest_of_each", counted)
    return sizes


@pytest.fixture
def filled(client: TestClient) -> TestClient:
    for text in TEXTS:
        client.post("/store", json={"items": [{"modality": "text", "text": text}]})
    return client


def bodies(client: TestClient, count: int) -> list[dict[str, Any]]:
    dimension = client.get("/models").json()["encoders"][0]["dimension"]
    vectors = np.random.default_rng(1).standard_normal((count, dimension))
    return [
        {"query": {"vector": vector.tolist()}, "modalities": ["text"], "mode": "direct", "k": 5}
        for vector in vectors
    ]


def at_once(client: TestClient, *given: dict[str, Any]) -> list[tuple[int, Any]]:
    """Status and body of each; the requests are there before any of them is begun."""
    app = client.app
    assert isinstance(app, FastAPI)

    async def one(body: dict[str, Any]) -> tuple[int, Any]:
        sender = Sender([json.dumps(body).encode()])
        await app(
            scope(app, "POST", "/retrieve", content_type="application/json"),
            sender.receive,
            sender.send,
        )
        assert sender.status is not None
        return sender.status, json.loads(sender.body)

    async def all_of_them() -> list[tuple[int, Any]]:
        return await asyncio.gather(*(one(body) for body in given))

    assert client.portal is not None
    return client.portal.call(all_of_them)


def told(answer: tuple[int, Any]) -> tuple[int, Any]:
    status, body = answer
    return status, {key: value for key, value in body.items() if key != "timings_ms"}


def test_each_has_the_answer_that_it_has_alone(filled: TestClient, groups: list[int]) -> None:
    asked = bodies(filled, 12)
    alone = [at_once(filled, body)[0] for body in asked]
    assert groups == []  # in the thread of the loop
    assert [status for status, _ in alone] == [200] * 12
    together = at_once(filled, *asked)
    assert [told(each) for each in together] == [told(each) for each in alone]
    assert sum(groups) == 12
    assert len(groups) < 12
    timings = together[0][1]["timings_ms"]
    assert 0 < timings["search"] <= timings["total"]


def test_what_is_not_brief_or_wrong_stays_as_it_was(filled: TestClient, groups: list[int]) -> None:
    asked = bodies(filled, 6)
    others = [
        asked[0] | {"filter": {"place": "farm"}},
        asked[1] | {"context_weight": 0.5},
        asked[2] | {"k": 0},
        asked[3] | {"query": {"vector": [1.0]}},
    ]
    alone = [at_once(filled, body)[0] for body in others]
    assert [status for status, _ in alone] == [200, 200, 422, 422]
    together = at_once(filled, *others, *asked[4:])
    assert [told(each) for each in together[:4]] == [told(each) for each in alone]
    assert sum(groups) == 2


def test_other_namespaces_and_numbers_of_hits_are_searched_by_themselves(
    filled: TestClient, groups: list[int]
) -> None:
    asked = bodies(filled, 3)
    other = asked[1] | {"namespace": "elsewhere"}
    found = at_once(filled, asked[0], other, asked[2] | {"k": 7})
    assert [len(body["results"]["text"]) for _, body in found] == [5, 0, 7]
    assert groups == [1, 1]  # in `elsewhere` is nothing to search


def test_what_a_search_raises_is_raised_to_all_and_the_next_are_done(
    filled: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = bodies(filled, 4)
    with monkeypatch.context() as broken:
        broken.setattr(VectorIndex, "nearest_of_each", lambda *_: 1 / 0)
        assert [status for status, _ in at_once(filled, *asked)] == [500] * 4
    assert [status for status, _ in at_once(filled, *asked)] == [200] * 4


def one_search() -> tuple[VectorIndex, list[Search]]:
    index = VectorIndex(8)
    index.add(np.arange(1, 4), np.eye(8, dtype=np.float32)[:3])
    return index, [Search(index, np.eye(8, dtype=np.float32)[1], 1)]


async def two_at_once(together: Searches, given: list[Search]) -> list[Any]:
    asking = [together.ahead(lambda: given) for _ in range(2)]
    with anyio.fail_after(10):
        return await asyncio.gather(*asking, return_exceptions=True)


@pytest.mark.parametrize("raised", [SystemExit, StopIteration])
def test_what_would_end_the_thread_or_no_future_takes_is_an_error_of_its_group(
    monkeypatch: pytest.MonkeyPatch, raised: type[BaseException]
) -> None:
    def raising(*given: Any) -> None:
        raise raised

    async def main() -> None:
        together, (index, given) = Searches(), one_search()
        with monkeypatch.context() as patch:
            patch.setattr(VectorIndex, "nearest_of_each", raising)
            found = await two_at_once(together, given)
        assert [str(each) for each in found] == [f"a call raised {raised()!r}"] * 2
        assert all(each.of(index, 1) is not None for each in await two_at_once(together, given))
        together.close()

    anyio.run(main)


def test_without_a_thread_each_searches_by_itself(
    no_threads: Callable[[], AbstractContextManager[None]],
) -> None:
    async def main() -> None:
        together, (index, given) = Searches(), one_search()
        with no_threads():
            assert await two_at_once(together, given) == [NONE_AHEAD] * 2
        assert all(each.of(index, 1) is not None for each in await two_at_once(together, given))
        together.close()

    anyio.run(main)


def test_a_group_has_a_bounded_size_and_who_leaves_is_passed_over(groups: list[int]) -> None:
    index, given = one_search()

    def searches() -> list[Search]:
        return [Search(index, given[0].vector, 1)]

    async def main() -> None:
        together = Searches()
        tasks = [asyncio.create_task(together.ahead(searches)) for _ in range(MOST_TOGETHER + 3)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        tasks[0].cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError)
        for each in found[1:]:
            assert not isinstance(each, BaseException)
            nearest = each.of(index, 1)
            assert nearest is not None
            assert nearest.sequences.tolist() == [2]
            assert each.of(index, 2) is None
        assert groups == [MOST_TOGETHER, 3]
        assert await together.ahead(searches) is NONE_AHEAD
        together.close()

    anyio.run(main)
