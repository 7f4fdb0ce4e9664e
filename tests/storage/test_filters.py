import json
import sqlite3
from typing import Any

import pytest

from memory_service.errors import InvalidInput
from memory_service.storage import filters

ROWS: list[dict[str, Any]] = [
    {"kind": "dog", "legs": 4, "wild": False},
    {"kind": "bird", "legs": 2, "wild": True, "it's": "a 'quoted' key"},
    {"kind": "snake", "legs": 0, "wild": 1, "note": None},
    {"kind": "4", "legs": 4.0, "größe": "klein", "a.b": 1, "a": {"b": 2}},
]
LISTS: list[dict[str, Any]] = [
    {"tags": ["bird", 2, True, None, ["nested"], {"a": "dog"}], "kind": ["dog"]},
    {"tags": []},
    {"tags": "bird"},
    {"kind": "bird"},
]


def matching(filter: Any, rows: list[dict[str, Any]] = ROWS) -> list[int]:
    database = sqlite3.connect(":memory:")
    database.execute(
        "CREATE TABLE memories (id, namespace, modality, metadata, media_type, created_at REAL)"
    )
    database.executemany(
        "INSERT INTO memories VALUES (?, 'n', 'text', ?, 'text/plain', ?)",
        [
            (number, json.dumps(row, ensure_ascii=False), 86_400.0 * number)
            for number, row in enumerate(rows)
        ],
    )
    clause, values = filters.where("n", "text", filters.parse(filter))
    found = database.execute(f"SELECT id FROM memories WHERE TRUE {clause} ORDER BY id", values)
    result = [row[0] for row in found]
    database.close()
    return result


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        (None, [0, 1, 2, 3]),
        ({}, [0, 1, 2, 3]),
        ({"kind": "dog"}, [0]),
        ({"kind": ["dog", "snake"]}, [0, 2]),
        ({"legs": 4}, [0, 3]),
        ({"legs": 4, "kind": "dog"}, [0]),
        ({"kind": 4}, []),
        ({"legs": "4"}, []),
        ({"wild": True}, [1]),
        ({"wild": 1}, [2]),
        ({"wild": False}, [0]),
        ({"note": None}, [2]),
        ({"größe": "klein"}, [3]),
        ({"a.b": 1}, [3]),
        ({"it's": "a 'quoted' key"}, [1]),
        ({"nothing": "there"}, []),
        ({"kind": "dog' OR '1'='1"}, []),
        ({"kind') OR ('1'='1": 1}, []),
        ({"kind": {"$eq": "dog"}}, [0]),
        ({"kind": {"$ne": "dog"}}, [1, 2, 3]),
        ({"wild": {"$ne": True}}, [0, 2, 3]),  # where there is none, it is not true either
        ({"kind": {"$in": ["dog", "4"]}}, [0, 3]),
        ({"kind": {"$nin": ["dog", "4"]}}, [1, 2]),
        ({"wild": {"$in": [True, 1, "x", None]}}, [1, 2]),
        ({"legs": {"$gt": 2}}, [0, 3]),
        ({"legs": {"$gte": 2}}, [0, 1, 3]),
        ({"legs": {"$lt": 2.5}}, [1, 2]),
        ({"legs": {"$lte": 0}}, [2]),
        ({"legs": {"$gt": 0, "$lt": 4}}, [1]),
        ({"legs": {"$gt": "0"}}, []),  # numbers and texts are not compared with each other
        ({"kind": {"$gte": "c"}}, [0, 2]),
        ({"wild": {"$gte": 0}}, [2]),
        ({"note": {"$exists": True}}, [2]),
        ({"note": {"$exists": False}}, [0, 1, 3]),
        ({"it's": {"$exists": True}}, [1]),
        ({"$or": [{"kind": "dog"}, {"legs": 0}]}, [0, 2]),
        ({"$or": [{"kind": "dog", "legs": 0}, {"legs": 2}]}, [1]),
        ({"$and": [{"legs": 4}, {"kind": "dog"}]}, [0]),
        ({"$not": {"legs": 4}}, [1, 2]),
        ({"$not": {"größe": "klein"}}, [0, 1, 2]),
        ({"$not": {"legs": 4, "kind": "dog"}}, [1, 2, 3]),
        ({"$not": {"$or": [{"legs": 4}, {"legs": 2}]}}, [2]),
        ({"$not": {}}, []),
        ({"$or": [{}, {"legs": 4}]}, [0, 1, 2, 3]),
        ({"legs": 4, "$or": [{"kind": "dog"}, {"kind": "bird"}]}, [0]),
        ({"$created_at": {"$gte": 86_400, "$lt": 259_200}}, [1, 2]),
        ({"$created_at": {"$gt": "1970-01-02"}}, [2, 3]),
        ({"$created_at": {"$lte": "1970-01-02T01:00:00+01:00"}}, [0, 1]),
        ({"$created_at": "1970-01-03T00:00:00Z"}, [2]),
        ({"$created_at": {"$exists": True}}, [0, 1, 2, 3]),
        ({"$media_type": "text/plain"}, [0, 1, 2, 3]),
        ({"$media_type": {"$ne": "text/plain"}}, []),
        ({"$modality": ["image", "text"]}, [0, 1, 2, 3]),
    ],
)
def test_selects(filter: Any, expected: list[int]) -> None:
    assert matching(filter) == expected


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ({"tags": {"$contains": "bird"}}, [0]),
        ({"tags": {"$contains": 2.0}}, [0]),
        ({"tags": {"$contains": True}}, [0]),
        ({"tags": {"$contains": 1}}, []),
        ({"tags": {"$contains": None}}, [0]),
        ({"tags": {"$contains": "nested"}}, []),  # only what the list itself holds
        ({"tags": {"$contains": "dog"}}, []),
        ({"tags": "bird"}, [2]),
        ({"$not": {"tags": {"$contains": "bird"}}}, [1, 2, 3]),
        ({"tags": {"$contains": "bird"}, "kind": {"$contains": "dog"}}, [0]),
        ({"tags": {"$exists": True}}, [0, 1, 2]),
    ],
)
def test_looks_into_lists(filter: Any, expected: list[int]) -> None:
    assert matching(filter, LISTS) == expected


def nested(depth: int) -> dict[str, Any]:
    return {"$not": nested(depth - 1)} if depth else {"legs": 4}


REFUSED: list[tuple[Any, str]] = [
    ([], "object of at most 16"),
    ("kind", "object of at most 16"),
    ({"": 1}, "not a metadata field name"),
    ({'a"b': 1}, "not a metadata field name"),
    ({"a\\b": 1}, "not a metadata field name"),
    ({"a\nb": 1}, "not a metadata field name"),
    ({"\ud800": 1}, "not a metadata field name"),
    ({"x" * 65: 1}, "not a metadata field name"),
    ({1: 1}, "not a metadata field name"),
    ({"kind": []}, "1 to 256"),
    ({"kind": {}}, "without an operator"),
    ({"kind": {"like": "d%"}}, "no operator"),
    ({"kind": {"$like": "d%"}}, "no operator"),
    ({"kind": {"$not": {"$eq": 1}}}, "no operator"),
    ({"kind": {1: 1}}, "no operator"),
    ({"kind": [["dog"]]}, "a scalar"),
    ({"kind": {"$eq": ["dog"]}}, "a scalar"),
    ({"kind": {"$in": "dog"}}, "must have a list"),
    ({"kind": {"$in": []}}, "1 to 256"),
    ({"kind": {"$exists": 1}}, "true or false"),
    ({"tags": {"$contains": ["bird"]}}, "a scalar"),
    ({"tags": {"$contains": 2**63}}, "a scalar"),
    ({"$modality": {"$contains": "text"}}, "no list"),
    ({"legs": {"$gt": True}}, "compares numbers"),
    ({"legs": {"$lt": None}}, "compares numbers"),
    ({"legs": {"$lt": [1]}}, "a scalar"),
    ({"kind": list(range(257))}, "1 to 256"),
    ({"legs": float("nan")}, "a scalar"),
    ({"legs": {"$gt": float("inf")}}, "a scalar"),
    ({"legs": 2**63}, "a scalar"),
    ({f"field{number}": 1 for number in range(17)}, "at most 16"),
    ({"$nor": [{"a": 1}]}, "no '\\$nor' in a filter"),
    ({"$or": {"a": 1}}, "list of 1 to 16"),
    ({"$or": []}, "list of 1 to 16"),
    ({"$and": [{"a": 1}] * 17}, "list of 1 to 16"),
    ({"$or": ["a"]}, "object of at most"),
    ({"$not": [{"a": 1}]}, "object of at most"),
    (nested(8), "nested more than 8"),
    ({"$and": [{f"f{n}": 1 for n in range(13)}] * 5}, "65 conditions, at most 64"),
    ({"$created_at": "yesterday"}, "compared with a time"),
    ({"$created_at": True}, "compared with a time"),
    ({"$created_at": {"$lt": None}}, "compared with a time"),
    ({"$media_type": 4}, "compared with texts"),
    ({"$size": 4}, "no '\\$size' in a filter"),
]


@pytest.mark.parametrize(("filter", "why"), REFUSED, ids=lambda each: str(each)[:40])
def test_refuses(filter: Any, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        filters.parse(filter)


def test_takes_as_deep_and_as_much_as_it_says() -> None:
    assert matching(nested(7)) == [1, 2]
    assert matching({"$and": [{f"f{n}": 1 for n in range(16)}] * 4}) == []
    assert matching({"kind": {"$in": [str(number) for number in range(256)]}}) == [3]


def test_says_what_is_accepted() -> None:
    with pytest.raises(InvalidInput) as raised:
        filters.parse({"kind": {"$like": "d%"}})
    assert raised.value.details["found"] == "$like"
    assert "$gte" in raised.value.details["accepted"]
