"""The simulation of memory dynamics, with the bundled text encoder."""

import pytest

from benchmarks import dynamics


@pytest.mark.slow
def test_what_is_recent_helps_where_the_topic_decides_and_hurts_where_age_does() -> None:
    results = dynamics.simulate(words=120, seed=0)
    nearest, recent = results["nearest"], results["recency .1"]
    assert recent["topic"]["mrr"] > nearest["topic"]["mrr"] + 0.05
    assert recent["old"]["mrr"] < nearest["old"]["mrr"]
    assert {found["mrr_gain"] for found in nearest.values()} == {0.0}
