"""Strength as a pure function of what is stored and of the time."""

import math

import pytest

from memory_service.strength import Trail, mixed, recalled, remaining, retention, strength


@pytest.mark.parametrize(
    ("elapsed_s", "half_life_s", "left"),
    [
        (0, 10, 1.0),
        (10, 10, 0.5),
        (30, 10, 0.125),
        (1000000000.0, None, 1.0),
        (-5, 10, 1.0),
        (1000000000000.0, 0.001, 0.0),
    ],
)
def test_what_is_left(elapsed_s: float, half_life_s: float | None, left: float) -> None:
    assert remaining(elapsed_s, half_life_s) == left


def test_strength_is_the_sum_over_encounters() -> None:
    times = [0.0, 7.0, 7.0, 40.0]
    trail = Trail.stored(times[0])
    for time in times[1:]:
        trail = recalled(trail, time, 20.0)
    expected = sum(2 ** (-(100.0 - time) / 20.0) for time in times)
    assert strength(trail, 100.0, 20.0) == pytest.approx(expected)
    assert (trail.recalls, trail.recalled_at) == (3, 40.0)


def test_a_clock_that_went_back_changes_nothing_but_the_count() -> None:
    trail = recalled(recalled(Trail.stored(0.0), 50.0, 10.0), 20.0, 10.0)
    assert (trail.since, trail.recalls) == (50.0, 2)
    assert strength(trail, 20.0, 10.0) == trail.base


def test_retention_is_that_of_act_r() -> None:
    for value in (0.01, 1.0, 7.5):
        activation = math.log(value)
        assert retention(value) == pytest.approx(1 / (1 + math.exp(-activation)))
    assert retention(0.0) == 0.0


def test_without_weights_the_score_is_the_score() -> None:
    assert mixed(0.123456789, 0.5, 0.9, 0.0, 0.0) == 0.123456789
    assert mixed(0.2, 1.0, 0.5, 1.0, 2.0) == pytest.approx((0.2 + 1.0 + 1.0) / 4)
