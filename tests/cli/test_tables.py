"""What tables say that the answers do not say as such."""

import io

import pytest
from rich.console import Console

from memory_service.cli.tables import clock, retrieval_table
from memory_service.client import Hit, Memory, Retrieval, Segment


@pytest.mark.parametrize(
    ("segment", "told"),
    [
        (Segment(0.0, 2.0), "0:00-0:02"),
        (Segment(59.4, 61.4), "0:59-1:01"),
        (Segment(3723.0, 3725.0), "1:02:03-1:02:05"),
    ],
)
def test_times_are_told_as_on_a_clock(segment: Segment, told: str) -> None:
    assert clock(segment) == told


def test_a_hit_in_a_long_sound_says_where() -> None:
    memory = Memory("m", "e", "default", "audio", "audio/ogg", 9, "00", None, {"path": "farm"}, 1.0)
    hits = (Hit(memory, 0.9, 0.5, (), Segment(61.0, 63.0)), Hit(memory, 0.8, 0.4, ()))
    console = Console(file=io.StringIO(), width=100)
    console.print(retrieval_table(Retrieval({"audio": hits}, {}, {}, {}, {})))
    assert console.file.getvalue().count("farm at 1:01-1:03") == 1  # type: ignore[attr-defined]
    assert console.file.getvalue().count("farm") == 2  # type: ignore[attr-defined]
