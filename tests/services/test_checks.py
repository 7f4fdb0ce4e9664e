"""What is stored as metadata can be asked for, and what no filter finds is refused."""

from typing import Any

import pytest
from service_media import text

from memory_service.app import Application
from memory_service.errors import InvalidInput
from memory_service.services import checks

FOUND: list[dict[str, Any]] = [
    {"n": 2**63 - 1},
    {"n": -(2**63)},
    {"n": 1e300},
    {"größe": "klein\n"},
    {"it's": "a 'quoted' key"},
    {"a.b[0]": "\x7f\U0001f600"},
    {"x" * 64: True},
    {"n": None},
]


@pytest.mark.parametrize("metadata", FOUND, ids=str)
def test_what_is_stored_is_found(app: Application, metadata: dict[str, Any]) -> None:
    episode = app.memory.store([text("a note")], metadata=metadata).episode
    app.memory.store([text("another")], metadata=dict.fromkeys(metadata, "else"))
    assert [each.id for each in app.memory.list(filter=metadata)[0]] == [episode.memories[0].id]


def test_each_item_of_a_list_is_found(app: Application) -> None:
    items = ["bird", 2, 2.5, True, None, -(2**63)]
    app.memory.store([text("a note")], metadata={"tags": items})
    app.memory.store([text("another")], metadata={"tags": ["else", 3]})
    for each in items:
        assert len(app.memory.list(filter={"tags": {"$contains": each}})[0]) == 1, each
    assert not app.memory.list(filter={"tags": {"$contains": "owl"}})[0]


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ({"": 1}, "no filter can ask for"),
        ({"$created_at": 1}, "no filter can ask for"),
        ({"x" * 65: 1}, "no filter can ask for"),
        ({'a"b': 1}, "no filter can ask for"),
        ({"a\\b": 1}, "no filter can ask for"),
        ({"a\nb": 1}, "no filter can ask for"),
        ({"n": 2**64 - 1}, "no filter can compare"),
        ({"n": -(2**63) - 1}, "no filter can compare"),
        ({"n": [1, 2**63]}, "no filter can compare"),
        ({"n": "a\0b"}, "U\\+0000"),
        ({"n": ["a", "\0"]}, "U\\+0000"),
    ],
    ids=lambda each: str(each)[:40],
)
def test_what_no_filter_finds_is_refused(metadata: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidInput, match=why) as raised:
        checks.metadata(metadata, 10_000)
    assert {"found", "accepted"} <= raised.value.details.keys()


def test_of_a_change_too(app: Application) -> None:
    (memory,) = app.memory.store([text("a note")], metadata={"a": 1}).episode.memories
    with pytest.raises(InvalidInput, match="no filter"):
        app.memory.update(memory.id, {"metadata": {"b": 2**63}})
    assert app.memory.list()[0][0].metadata == {"a": 1}


def test_a_number_that_nobody_could_read_again_is_refused() -> None:
    with pytest.raises(InvalidInput, match="cannot be written as JSON"):
        checks.metadata({"a": {"n": 10**5000}}, 10_000)
    assert checks.metadata({"a": {"n": 10**4000}}, 10_000) == {"a": {"n": 10**4000}}
