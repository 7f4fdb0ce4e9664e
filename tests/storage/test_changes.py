"""Counting changes: whoever reads beside a commit misses none."""

import sys
from types import FrameType
from typing import Any

import pytest

from memory_service.storage import changes as module
from memory_service.storage.changes import Changes


def commit(changes: Changes, *sequences: int) -> None:
    changes._noted += sequences  # as the trigger of a connection does
    changes.committed()


def test_tells_what_changed_since(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 4)
    changes = Changes(lambda rows: None)
    commit(changes, 5, 6)
    commit(changes)
    assert changes.memories == 2
    commit(changes, 6, 7, 8)
    assert changes.memories == 5
    assert changes.since(5) == []
    assert changes.since(2) == [6, 7, 8]
    assert changes.since(1) == [6, 7, 8]
    assert changes.since(0) is None  # too long ago
    changes._noted.append(9)
    changes.rolled_back()
    assert changes.memories == 5


def test_a_reader_misses_nothing_at_any_line_of_a_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Change number n is of memory n, so a reader can tell whether it is told the right ones."""
    monkeypatch.setattr(module, "KEPT", 10)
    changes = Changes(lambda rows: None)
    seen: list[int] = []

    def read(frame: FrameType, event: str, argument: Any) -> Any:
        count = changes.memories
        told = changes.since(count - 3)
        assert told == list(range(count - 3, count)), told
        seen.append(count)
        return read

    commit(changes, *range(10))
    before = sys.gettrace()
    for number in range(10, 40, 3):
        changes._noted += range(number, number + 3)
        sys.settrace(lambda frame, event, argument: read if event == "call" else None)
        try:
            changes.committed()
        finally:
            sys.settrace(before)
    assert changes.memories == 40
    assert len(seen) > 20
