"""What was to be reached, and whether it was: each rung of the ladder with its measure and
threshold, and a verdict that is computed.

A verdict is hard on us. Met: the estimate is on the right side, and all of its 95 % interval.
Undecided: the estimate is on the right side, but the interval reaches to the wrong one; or there
are fewer than FEWEST queries, of which nothing follows either way. Not met: the estimate is on the
wrong side, however near. Differences and ratios are of the same queries, by the paired bootstrap;
shares that are the same of all queries have Wilson's interval (`metrics.interval`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isclose
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from memory_service.services.evaluation import metrics
from memory_service.services.evaluation.lab import Lab
from memory_service.services.evaluation.ladder import COPY, ORDER, RECODED, Climb, Rung
from memory_service.services.evaluation.metrics import Floats
from memory_service.services.evaluation.scoring import HEADLINE

Sense = Literal["at least", "at most", "above"]
Json = dict[str, Any]
ROUNDING = 1e-9
MET, UNDECIDED, MISSED = "met", "undecided", "not met"
FEWEST = 12  # queries that a verdict needs

RECALLED, IMAGINED = Rung("own", 0.0).name, Rung("retrieved").name
REPEATED = Rung("retrieved", 0.0).name  # a memory through the autoencoder, and no more
STRANGERS, NOTHING = Rung("random").name, Rung("none", 1.0, 0).name
UNTAUGHT = Rung("untaught", 1.0, 0).name
PICTURES, SOUNDS = "text -> image", "text -> audio"
TEXTS, DESCRIBED = "text -> text", "image -> text"


@dataclass(frozen=True)
class Target:
    """`value` is what `row` is to reach by `measure`; with `beside`, its difference to that row of
    the same queries, or its ratio."""

    title: str
    task: str
    row: str
    measure: str
    sense: Sense
    value: float
    beside: str | None = None
    ratio: bool = False


def _above(title: str, task: str, row: str, beside: str, measure: str, sense: Sense) -> Target:
    return Target(title, task, row, measure, sense, 0.0, beside)


def _headline(task: str) -> str:
    return next(measure for output, measure in HEADLINE.items() if task.endswith(f"> {output}"))


TARGETS = (
    Target("autoencoder, held-out pictures", PICTURES, RECODED, "psnr_db", "at least", 26.0),
    Target("autoencoder, held-out pictures", PICTURES, RECODED, "ssim", "at least", 0.88),
    Target("recall: picture", PICTURES, RECALLED, "ssim", "at least", 0.80),
    Target("recall: picture", PICTURES, RECALLED, "psnr_db", "at least", 22.0),
    Target("recall: picture, encoded again", PICTURES, RECALLED, "recall_at_1", "at least", 0.65),
    Target("recall: sound, by its autoencoder's distance", SOUNDS, RECALLED, "log_mel", "at most",
           1.3, RECODED, ratio=True),
    Target("recall: text", TEXTS, RECALLED, "cosine", "at least", 0.9),
    Target("recall: text, by picture", DESCRIBED, RECALLED, "cosine", "at least", 0.9),
    _above("imagination: picture", PICTURES, IMAGINED, COPY, "recall_at_10", "at least"),
    _above("imagination: picture, by the judge of meaning", PICTURES, IMAGINED, COPY,
           "meaning_recall_at_10", "at least"),
    _above("imagination: picture, newer than what recall alone changes", PICTURES, IMAGINED,
           REPEATED, "media_novelty", "above"),
    *(
        Target(f"imagination: {kind}, share that is no copy", task, IMAGINED, "novel", "at least",
               0.8)
        for task, kind in ((PICTURES, "picture"), (SOUNDS, "sound"), (TEXTS, "text"),
                           (DESCRIBED, "text by picture"))
    ),
    Target("imagination: text", TEXTS, IMAGINED, "cosine", "at least", 0.55),
    _above("imagination: text", TEXTS, IMAGINED, COPY, "cosine", "above"),
    Target("imagination: text, by picture", DESCRIBED, IMAGINED, "cosine", "at least", 0.55),
    _above("imagination: text, by picture", DESCRIBED, IMAGINED, COPY, "cosine", "above"),
    _above("imagination: sound", SOUNDS, IMAGINED, COPY, "recall_at_10", "above"),
    *(
        _above(f"memory helps: {task}", task, IMAGINED, row, _headline(task), "above")
        for task in (PICTURES, SOUNDS, TEXTS, DESCRIBED)
        for row in (STRANGERS, NOTHING, UNTAUGHT)
    ),
)  # fmt: skip
# Between these the order that was asked for is strict.
STRICT = {(IMAGINED, COPY), (COPY, STRANGERS)}
# Milliseconds, warm, on two cores; "second" is of sound made.
LATENCIES = (
    ("text -> image", 300.0, "picture"),
    ("text -> text", 150.0, "text"),
    ("text -> audio", 300.0, "one second of sound"),
    ("text -> image + text + audio", 700.0, "picture, text and sound at once"),
)


def verdict(estimate: Mapping[str, float], sense: Sense, value: float) -> str:
    """Of a mean with its interval, of so many queries (`mean`, `low`, `high`, `n`)."""
    if estimate["n"] < FEWEST:
        return UNDECIDED
    mean, low = estimate["mean"], estimate["low"]
    if sense == "at most":
        mean, low, value = -mean, -estimate["high"], -value
    # Means of the same hits in another order differ in their last bits.
    mean = value if isclose(mean, value, abs_tol=ROUNDING) else mean
    if not (mean > value if sense == "above" else mean >= value):
        return MISSED
    # Where all are just as asked there is no spread to tell anything by.
    return MET if low > value or (sense != "above" and low == value < mean) else UNDECIDED


def why(estimate: Mapping[str, float]) -> str:
    """Where it is too few queries that leave a verdict open; else empty."""
    return f"fewer than {FEWEST} queries" if estimate["n"] < FEWEST else ""


def judged(lab: Lab, climbs: Sequence[Climb]) -> list[Json]:
    """Those targets that the climbs have figures for."""
    by_task = {climb.task.name: climb for climb in climbs}
    found = []
    for target in TARGETS:
        climb = by_task.get(target.task)
        if climb is not None and (row := _judged(lab, climb, target)) is not None:
            found.append(row)
    return found


def order(lab: Lab, climbs: Sequence[Climb]) -> list[Json]:
    """Of each task, every rung beside the next one of the order that was asked for: by its headline
    measure, and by each judge that no loss has seen."""
    return [
        row
        for climb in climbs
        for target in _steps(climb)
        if (row := _judged(lab, climb, target)) is not None
    ]


def _steps(climb: Climb) -> Iterator[Target]:
    output = climb.task.output
    headline = HEADLINE[output]
    there = [name for name in ORDER if name in climb.made]
    suffix = "_cosine" if output == "text" else "_recall_at_10"
    for upper, lower in itertools.pairwise(there):
        sense: Sense = "above" if (upper, lower) in STRICT else "at least"
        for measure in (headline, f"judge{suffix}", f"meaning{suffix}"):
            title = f"{climb.task.name}: {upper} beside {lower}"
            yield _above(title, climb.task.name, upper, lower, measure, sense)


def _judged(lab: Lab, climb: Climb, target: Target) -> Json | None:
    rows = [climb.made.get(name) for name in (target.row, target.beside) if name is not None]
    values = [None if row is None else row.measures.get(target.measure) for row in rows]
    if any(each is None for each in values):
        return None
    unseen = lab.cases.unseen(climb.queries)
    found: Json = {
        "title": target.title,
        "task": target.task,
        "row": target.row,
        "beside": target.beside,
        "measure": target.measure,
        "ratio": target.ratio,
        "sense": target.sense,
        "value": target.value,
        **_told([each for each in values if each is not None], target),
    }
    if 2 <= unseen.sum() < len(unseen):
        found["unseen"] = _told([each[unseen] for each in values if each is not None], target)
    return found


def _told(values: Sequence[Floats], target: Target) -> Json:
    """`of`: the means that the estimate is made of; `estimate` and `verdict`."""
    if target.ratio:
        low, high = metrics.ratio_interval(values[0], values[1])
        mean = float(values[0].mean() / max(values[1].mean(), 1e-12))
        estimate = {"mean": mean, "low": low, "high": high, "n": len(values[0])}
    else:
        beside = len(values) == 2
        estimate = metrics.summary(
            values[0] - values[1] if beside else values[0],
            share=metrics.is_share(target.measure),
            least=-1.0 if beside else 0.0,
        )
    return {
        "of": [float(each.mean()) for each in values],
        "estimate": estimate,
        "verdict": verdict(estimate, target.sense, target.value),
        "why": why(estimate),
    }


def swapped(share: Mapping[str, float]) -> Json:
    """Does what is made take the colours of the memory that was put in place of another?"""
    return {
        "title": "memory swap: the output takes the memory's style",
        "task": PICTURES,
        "row": "share of the memories' difference in colour",
        "beside": None,
        "measure": "swap_share",
        "ratio": False,
        "sense": "above",
        "value": 0.0,
        "of": [share["mean"]],
        "estimate": dict(share),
        "verdict": verdict(share, "above", 0.0),
        "why": why(share),
    }


def fast_enough(latency: Sequence[Mapping[str, Any]]) -> list[Json]:
    """By the median of the requests that were timed, whatever else the machine did then."""
    found = []
    for task, limit_ms, title in LATENCIES:
        row = next((each for each in latency if each["task"] == task), None)
        if row is None:
            continue
        times: npt.NDArray[np.float64] = np.asarray(row["total_ms"], np.float64)
        if title.startswith("one second"):
            times = times / np.maximum(np.asarray(row["made_s"], np.float64), 1.0)
        low, high = metrics.interval(times, np.median)
        estimate = {"mean": float(np.median(times)), "low": low, "high": high, "n": len(times)}
        found.append(
            {
                "title": f"latency: {title}",
                "task": task,
                "row": f"median, creativity {row['creativity']:g}",
                "beside": None,
                "measure": "ms",
                "ratio": False,
                "sense": "at most",
                "value": limit_ms,
                "of": [estimate["mean"]],
                "estimate": estimate,
                "verdict": verdict(estimate, "at most", limit_ms),
                "why": why(estimate),
            }
        )
    return found
