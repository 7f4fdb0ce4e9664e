"""Verdicts are computed, and hard on us."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from memory_service.services.evaluation import targets
from memory_service.services.evaluation.cases import Case, Cases
from memory_service.services.evaluation.lab import Budget, Lab, Task
from memory_service.services.evaluation.ladder import COPY, REAL, RECODED, Climb, Made
from memory_service.services.evaluation.targets import (
    FEWEST,
    IMAGINED,
    MET,
    MISSED,
    NOTHING,
    RECALLED,
    REPEATED,
    STRANGERS,
    UNDECIDED,
    verdict,
    why,
)

QUERIES = 20


def lab(unseen: int = 0) -> Lab:
    cases = [Case(str(n), str(n), {}, {}, {}, {}, unseen=n < unseen) for n in range(QUERIES)]
    budget = Budget(queries=3, seeds=(0,), noised=3, repeated=1, repeats=2, timed=1)
    nothing: Any = SimpleNamespace()
    return Lab(nothing, nothing, Cases(cases), budget, 0, lambda label: nullcontext())


def climb(task: Task, measure: str, **rows: np.ndarray) -> Climb:
    names = {"real": REAL, "recoded": RECODED, "copy": COPY, "recalled": RECALLED,
             "imagined": IMAGINED, "strangers": STRANGERS, "nothing": NOTHING,
             "repeated": REPEATED}  # fmt: skip
    none = np.empty((QUERIES, 0), np.float32)
    made = {
        names[key]: Made(names[key], [], {measure: np.asarray(values, float)}, none, [])
        for key, values in rows.items()
    }
    return Climb(task, np.arange(QUERIES), made, QUERIES, np.arange(0))


@pytest.mark.parametrize(
    ("mean", "low", "high", "sense", "found"),
    [
        (0.60, 0.56, 0.64, "at least", MET),
        (0.60, 0.54, 0.66, "at least", UNDECIDED),
        (0.549, 0.50, 0.90, "at least", MISSED),
        (0.56, 0.55, 0.58, "at least", MET),
        (0.55, 0.55, 0.55, "at least", UNDECIDED),  # no spread, and no room
        (0.60, 0.60, 0.60, "at least", MET),
        (0.55, 0.55, 0.55, "above", MISSED),
        (0.60, 0.55, 0.66, "above", UNDECIDED),
        (0.55 - 1e-12, 0.50, 0.60, "at least", UNDECIDED),  # the same but for rounding
        (0.55 + 1e-12, 0.50, 0.60, "above", MISSED),
        (0.55 + 1e-12, 0.50, 0.60, "at most", UNDECIDED),
        (0.50, 0.40, 0.54, "at most", MET),
        (0.50, 0.40, 0.60, "at most", UNDECIDED),
        (0.56, 0.40, 0.60, "at most", MISSED),
        (0.55, 0.55, 0.55, "at most", UNDECIDED),
    ],
)
def test_verdicts(mean: float, low: float, high: float, sense: Any, found: str) -> None:
    estimate = {"mean": mean, "low": low, "high": high, "n": FEWEST}
    assert verdict(estimate, sense, 0.55) == found
    # Of too few queries nothing follows, whatever the interval says.
    assert verdict({**estimate, "n": FEWEST - 1}, sense, 0.55) == UNDECIDED
    assert "fewer than 12" in why({**estimate, "n": FEWEST - 1})
    assert not why(estimate)


def test_just_below_the_copy_is_not_met_and_a_paired_gain_is() -> None:
    random = np.random.default_rng(0)
    copies = random.uniform(0.6, 0.9, QUERIES)
    task = Task("text", "text")
    (level, beside) = [
        row
        for row in targets.judged(
            lab(), [climb(task, "cosine", copy=copies, imagined=copies - 0.002)]
        )
        if row["title"] == "imagination: text"
    ]
    assert level["verdict"] == MET
    assert level["beside"] is None
    assert beside["verdict"] == MISSED
    assert beside["estimate"]["mean"] == pytest.approx(-0.002)
    # A gain that is small beside the spread of the queries, but the same for each of them.
    rows = targets.judged(lab(), [climb(task, "cosine", copy=copies, imagined=copies + 0.002)])
    assert [row["verdict"] for row in rows if row["beside"] == COPY] == [MET]


def test_a_ratio_is_of_means_with_its_paired_interval() -> None:
    random = np.random.default_rng(0)
    recoded = random.uniform(0.5, 1.5, QUERIES)
    made = climb(Task("audio", "text"), "log_mel", recoded=recoded, recalled=1.2 * recoded)
    (row,) = targets.judged(lab(), [made])
    assert row["ratio"]
    assert row["estimate"]["mean"] == pytest.approx(1.2)
    assert row["estimate"]["low"] == pytest.approx(1.2)
    assert row["verdict"] == MET


def test_unseen_concepts_get_a_verdict_of_their_own() -> None:
    hits = np.zeros(QUERIES)
    hits[5:] = 1  # only of concepts that training saw
    made = climb(Task("image", "text"), "recall_at_1", recalled=hits)
    (row,) = targets.judged(lab(unseen=5), [made])
    assert (row["of"], row["verdict"], row["why"]) == ([0.75], UNDECIDED, "")
    assert (row["unseen"]["of"], row["unseen"]["verdict"]) == ([0.0], UNDECIDED)
    assert row["unseen"]["estimate"]["n"] == 5
    assert row["unseen"]["why"] == "fewer than 12 queries"
    (row,) = targets.judged(lab(unseen=15), [made])
    assert (row["unseen"]["of"], row["unseen"]["verdict"]) == ([pytest.approx(2 / 3)], UNDECIDED)


def test_hits_that_are_all_the_same_are_no_certainty() -> None:
    every = np.ones(QUERIES)
    made = climb(Task("image", "text"), "recall_at_1", recalled=every)
    (row,) = targets.judged(lab(), [made])
    assert row["estimate"]["high"] == 1
    assert row["estimate"]["low"] == pytest.approx(1 - 1.96**2 / (QUERIES + 1.96**2))
    assert row["verdict"] == MET  # .84 is above .65
    made = climb(Task("image", "text"), "judge_recall_at_10", real=every, recoded=every)
    (row,) = targets.order(lab(), [made])
    assert row["estimate"]["low"] == -row["estimate"]["high"] < 0
    assert row["verdict"] == UNDECIDED  # 1.000 beside 1.000


def test_novelty_can_fail() -> None:
    """By the share of no copies, and beside what recall alone changes of a memory."""
    random = np.random.default_rng(0)
    blurred = random.uniform(0.05, 0.1, QUERIES)
    task = Task("image", "text")

    def found(measure: str, **rows: np.ndarray) -> list[str]:
        rows_of = targets.judged(lab(), [climb(task, measure, **rows)])
        return [row["verdict"] for row in rows_of]

    assert found("media_novelty", repeated=blurred, imagined=blurred) == [MISSED]
    assert found("media_novelty", repeated=blurred, imagined=blurred + 0.1) == [MET]
    assert found("novel", imagined=np.zeros(QUERIES)) == [MISSED]
    assert found("novel", imagined=np.ones(QUERIES)) == [MET]  # .84 to 1


def test_the_order_is_asked_of_every_judge_there_is() -> None:
    better, worse = np.ones(QUERIES), np.zeros(QUERIES)
    made = climb(
        Task("image", "text"),
        "meaning_recall_at_10",
        imagined=worse, copy=better, strangers=worse, nothing=worse,
    )  # fmt: skip
    rows = targets.order(lab(), [made])
    assert [(row["row"], row["beside"], row["verdict"]) for row in rows] == [
        (IMAGINED, COPY, MISSED),
        (COPY, STRANGERS, MET),
        (STRANGERS, NOTHING, UNDECIDED),  # as good would be enough, but 20 are no proof of it
    ]
    assert {row["measure"] for row in rows} == {"meaning_recall_at_10"}


def test_latencies_are_judged_by_their_median_and_sounds_by_the_second() -> None:
    timed = [
        {"task": "text -> image", "creativity": 0.3, "total_ms": [200.0, 210.0, 5000.0] * 4},
        {
            "task": "text -> audio",
            "creativity": 0.3,
            "total_ms": [500.0] * 12,
            "made_s": [2.0] * 12,
        },
        {"task": "text -> text", "creativity": 0.3, "total_ms": [400.0] * 12},
    ]
    found = {row["title"]: row for row in targets.fast_enough(timed)}
    assert found["latency: picture"]["estimate"]["mean"] == 210
    assert found["latency: picture"]["verdict"] == UNDECIDED
    assert found["latency: one second of sound"]["estimate"]["mean"] == 250
    assert found["latency: one second of sound"]["verdict"] == MET
    assert found["latency: text"]["verdict"] == MISSED


def test_every_target_names_a_row_and_a_measure_of_the_report() -> None:
    tasks = {each.task for each in targets.TARGETS}
    assert tasks == {"text -> image", "text -> audio", "text -> text", "image -> text"}
    assert len({(t.title, t.measure, t.beside) for t in targets.TARGETS}) == len(targets.TARGETS)
