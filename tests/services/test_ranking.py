"""How two rankings become one."""

from typing import Literal

import pytest

from memory_service.records import Reach
from memory_service.services.ranking import Found, joined


def found(
    sequence: int,
    path: Literal["direct", "associative"],
    rank: int,
    score: float,
    *,
    same_item: bool = False,
) -> Found:
    reach = Reach(path, rank, score)
    return Found(
        sequence, f"id {sequence}", f"episode {sequence}", score, (reach,), same_item=same_item
    )


def test_what_the_query_itself_was_stored_with_goes_first() -> None:
    """Another memory leads both rankings but for the very same item: that one is first."""
    direct = [found(1, "direct", 1, 0.95), found(2, "direct", 40, 0.6)]
    associative = [
        found(1, "associative", 2, 0.95),
        found(2, "associative", 1, 1.0, same_item=True),
    ]
    both = joined(direct, associative, {"episode 1": 2, "episode 2": 2})
    assert [each.sequence for each in both] == [2, 1]
    assert both[0].score == 1.0
    assert [reach.path for reach in both[0].reached_by] == ["direct", "associative"]


@pytest.mark.parametrize(("size", "first"), [(1, "alone"), (2, "led to")])
def test_what_is_alone_in_its_episode_counts_twice(size: int, first: str) -> None:
    direct = [found(1, "direct", 1, 0.8)]
    associative = [found(2, "associative", 1, 0.9)]
    both = joined(direct, associative, {"episode 1": size})
    assert {1: "alone", 2: "led to"}[both[0].sequence] == first
