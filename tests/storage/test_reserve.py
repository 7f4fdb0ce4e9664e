"""When it is looked how much disk space is to be kept: seldom, and before it can be too little."""

from pathlib import Path

import pytest

from memory_service.storage.database import STORING
from memory_service.storage.reserve import BYTES, LOOK_BYTES, LOOK_ROWS, STEP_BYTES, Reserve


class Written:
    """A catalog, as far as the reserve knows it."""

    def __init__(self) -> None:
        self.rows = self.growth = self.looks = 0

    def look(self) -> int:
        self.looks += 1
        return self.growth


@pytest.fixture
def written() -> Written:
    return Written()


@pytest.fixture
def reserve(tmp_path: Path, written: Written) -> Reserve:
    reserve = Reserve(tmp_path, written.look, lambda: written.rows)
    reserve.keep()
    written.looks = 0
    return reserve


def store(reserve: Reserve, written: Written, rows: int, size_bytes: int) -> None:
    reserve.grouped(1, size_bytes)
    written.rows += rows
    reserve.committed(STORING, 0.001)


def test_few_rows_are_not_looked_after_each(reserve: Reserve, written: Written) -> None:
    store(reserve, written, 1, 10)  # the first is
    for _ in range(3 * LOOK_ROWS):
        store(reserve, written, 1, 10)
    assert written.looks == 1 + 3


def test_large_contents_are(reserve: Reserve, written: Written, tmp_path: Path) -> None:
    store(reserve, written, 1, 10)
    written.growth = BYTES
    store(reserve, written, 1, LOOK_BYTES)
    assert (tmp_path / "reserve").stat().st_size == BYTES + STEP_BYTES
    store(reserve, written, 1, LOOK_BYTES - 1)
    store(reserve, written, 1, 1)
    assert written.looks == 4  # that room was taken is one, too


def test_without_it_nothing_is_asked(reserve: Reserve, written: Written) -> None:
    reserve.give_up()
    store(reserve, written, LOOK_ROWS, LOOK_BYTES)
    assert written.looks == 0


def test_other_transactions_are_looked_after_each(
    reserve: Reserve, written: Written, tmp_path: Path
) -> None:
    """A change of metadata is one row, and says nothing of its size."""
    store(reserve, written, 1, 10)
    written.growth = BYTES
    written.rows += 1
    reserve.committed("changing a memory", 0.001)
    assert (tmp_path / "reserve").stat().st_size == BYTES + STEP_BYTES
