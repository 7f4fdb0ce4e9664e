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
    IMAGINED,
    MET,
    MISSED,
    NOTHING,
    RECALLED,
    STRANGERS,
    UNDECIDED,
    verdict,
)

QUERIES = 20


def lab(unseen: int = 0) -> Lab:
    cases = [Case(str(n), str(n), {}, {}, {}, {}, unseen=n < unseen) for n in range(QUERIES)]
    budget = Budget(queries=3, seeds=(0,), noised=3, repeated=1, repeats=2, timed=1)
    nothing: Any = SimpleNamespace()
    return Lab(nothing, nothing, Cases(cases), budget, 0, lambda label: nullcontext())


def climb(task: Task, measure: str, **rows: np.ndarray) -> Climb:
    names = {"real": REAL, "recoded": RECODED, "copy": COPY, "recalled": RECALLED,
             "imagined": IMAGINED, "strangers": STRANGERS, "nothing": NOTHING}  # fmt: skip
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
        (0.55, 0.55, 0.55, "at least", MET),
        (0.55, 0.55, 0.55, "above", MISSED),
        (0.60, 0.55, 0.66, "above", UNDECIDED),
        (0.50, 0.40, 0.54, "at most", MET),
        (0.50, 0.40, 0.60, "at most", UNDECIDED),
        (0.56, 0.40, 0.60, "at most", MISSED),
    ],
)
def test_verdicts(mean: float, low: float, high: float, sense: Any, found: str) -> None:
    assert verdict({"mean": mean, "low": low, "high": high}, sense, 0.55) == found


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
    assert (row["of"], row["verdict"]) == ([0.75], UNDECIDED)
    assert (row["unseen"]["of"], row["unseen"]["verdict"]) == ([0.0], MISSED)
    assert row["unseen"]["estimate"]["n"] == 5


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
        (STRANGERS, NOTHING, MET),  # as good is enough here
    ]
    assert {row["measure"] for row in rows} == {"meaning_recall_at_10"}


def test_latencies_are_judged_by_their_median_and_sounds_by_the_second() -> None:
    timed = [
        {"task": "text -> image", "creativity": 0.3, "total_ms": [200.0, 210.0, 5000.0]},
        {"task": "text -> audio", "creativity": 0.3, "total_ms": [500.0] * 4, "made_s": [2.0] * 4},
        {"task": "text -> text", "creativity": 0.3, "total_ms": [400.0] * 4},
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
