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


def matching(filter: Any) -> list[int]:
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE memories (id, namespace, modality, metadata)")
    database.executemany(
        "INSERT INTO memories VALUES (?, 'n', 'text', ?)",
        [(number, json.dumps(row, ensure_ascii=False)) for number, row in enumerate(ROWS)],
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
    ],
)
def test_selects(filter: Any, expected: list[int]) -> None:
    assert matching(filter) == expected


@pytest.mark.parametrize(
    "filter",
    [
        [],
        "kind",
        {"": 1},
        {'a"b': 1},
        {"a\\b": 1},
        {"a\nb": 1},
        {"\ud800": 1},
        {"x" * 65: 1},
        {1: 1},
        {"kind": []},
        {"kind": {"like": "d%"}},
        {"kind": [["dog"]]},
        {"kind": list(range(257))},
        {"legs": float("nan")},
        {"legs": float("inf")},
        {"legs": 2**63},
        {f"field{number}": 1 for number in range(17)},
    ],
)
def test_refuses(filter: Any) -> None:
    with pytest.raises(InvalidInput):
        filters.parse(filter)
