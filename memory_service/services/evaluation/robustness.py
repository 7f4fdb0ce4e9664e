"""Recall and generation against noise on what is asked with, from none upwards; and with modalities
of the query missing.

The memory is whole: what is asked with is a damaged copy of something that is remembered.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from encoders.base import Modality, Vectors, normalize
from memory_service.services.evaluation import metrics, noise
from memory_service.services.evaluation.cases import Rows
from memory_service.services.evaluation.lab import CREATIVITY, FEWEST, K, Lab, Task
from memory_service.services.evaluation.metrics import summary
from memory_service.services.evaluation.scoring import QUALITY, Scorer, paired

GENERATED = 8  # at most, of the noised queries, that something is made from
AT = 10


@dataclass(frozen=True)
class Damage:
    """A kind of noise on one modality, and the strengths that are tried; the first is none."""

    modality: Modality
    name: str
    unit: str
    apply: Callable[[Any, float, np.random.Generator], Any]
    levels: tuple[float, ...]
    across: Modality  # the modality that it is to find, besides itself


KINDS = (
    Damage("image", "Gaussian noise", "sigma, of values in [0, 1]", noise.gaussian,
           (0.0, 0.05, 0.1, 0.2, 0.35, 0.5), "text"),
    Damage("image", "salt and pepper", "share of the pixels", noise.salt_and_pepper,
           (0.0, 0.02, 0.05, 0.1, 0.2, 0.4), "text"),
    Damage("audio", "white noise", "of the sound's level; 0.1 is an SNR of 20 dB, 1 of 0 dB",
           noise.white_noise, (0.0, 0.03, 0.1, 0.3, 1.0, 2.0), "text"),
    Damage("text", "typing errors", "share of the characters", noise.typing_errors,
           (0.0, 0.05, 0.1, 0.2, 0.3, 0.5), "image"),
)  # fmt: skip


def curves(lab: Lab) -> list[dict[str, Any]]:
    """One per kind of noise that there are cases for."""
    found = []
    for damage in KINDS:
        pool = lab.cases.having(damage.modality)
        if len(pool) >= FEWEST:
            found.append(_curve(lab, damage, pool))
    return found


def _curve(lab: Lab, damage: Damage, pool: Rows) -> dict[str, Any]:
    queries = lab.cases.draw(pool, lab.budget.noised, lab.random())
    unseen = lab.cases.unseen(queries)
    originals = lab.cases.media(damage.modality, queries)
    generates = lab.generator(damage.modality) is not None
    points = []
    for level in damage.levels:
        with lab.step(f"robustness: {damage.modality}, {damage.name} {level:g}"):
            random = lab.random()
            damaged = [damage.apply(each, level, random) for each in originals]
            vectors = lab.encode(damage.modality, damaged)
            point: dict[str, Any] = {"level": level}
            itself = _finds_itself(lab, damage.modality, vectors, queries, pool)
            point["itself"] = summary(itself, unseen, share=True)
            across = _finds_across(lab, damage.across, vectors, queries)
            if across is not None:
                point["across"] = summary(across[1], unseen[across[0]], share=True)
            if generates:
                made = _made(lab, damage.modality, vectors, queries, pool)
                point["made"] = summary(made, unseen[: len(made)])
        points.append(point)
    candidates = len(lab.cases.one_per_group(lab.cases.having(damage.across)))
    return {
        "modality": damage.modality,
        "noise": damage.name,
        "unit": damage.unit,
        "queries": len(queries),
        "candidates": len(pool),
        "chance_itself": metrics.chance_at_k(1, len(pool)),
        "across": damage.across,
        "chance_across": metrics.chance_at_k(AT, candidates),
        "quality": QUALITY[damage.modality][0] if generates else None,
        "points": points,
    }


def _finds_itself(
    lab: Lab, modality: Modality, vectors: Vectors, queries: Rows, pool: Rows
) -> metrics.Floats:
    """Whether the nearest item is the undamaged one, or one with an equal vector."""
    known = lab.cases.vectors(modality, pool)
    own = lab.cases.vectors(modality, queries)
    scores = vectors @ known.T
    itself = np.sum(vectors * own, axis=1)
    return np.asarray(itself >= scores.max(axis=1) - 1e-5, np.float64)


def _finds_across(
    lab: Lab, modality: Modality, vectors: Vectors, queries: Rows
) -> tuple[Rows, metrics.Floats] | None:
    """Which of the queries have an item of the other modality that means the same, and whether it
    is among the first AT groups."""
    named = lab.cases.one_per_group(lab.cases.having(modality))
    row = {int(lab.cases.groups[place]): number for number, place in enumerate(named)}
    there = [n for n, place in enumerate(queries) if int(lab.cases.groups[place]) in row]
    asked = np.array(there, np.int64)
    if len(asked) < 2:
        return None
    own = np.array([row[int(lab.cases.groups[queries[n]])] for n in asked])
    scores = vectors[asked] @ lab.cases.vectors(modality, named).T
    return asked, np.asarray(metrics.ranks(scores, own) < AT, np.float64)


def _made(
    lab: Lab, modality: Modality, vectors: Vectors, queries: Rows, pool: Rows
) -> metrics.Floats:
    """Recall through a damaged cue: what is made of the memory, beside the undamaged original."""
    task, name = Task(modality, modality), QUALITY[modality][0]
    few = min(GENERATED, lab.budget.queries, len(queries))
    made = [
        lab.make(task, vectors[row], lab.nearest(task, vectors[row], pool, K), seed=lab.seed)
        for row in range(few)
    ]
    targets = queries[:few]
    if name == "cosine":
        own = lab.cases.vectors(modality, targets)
        return np.asarray(np.sum(lab.encode(modality, made) * own, axis=1), np.float64)
    originals = lab.cases.media(modality, targets)
    return np.array([paired(modality, *pair)[name] for pair in zip(made, originals, strict=True)])


def dropped(lab: Lab, scorers: Mapping[Modality, Scorer]) -> list[dict[str, Any]]:
    """Each modality sought and made from every subset of the others, by cases that have all three;
    what is made, with the case and its like held back."""
    found: list[dict[str, Any]] = []
    whole = lab.cases.having("image", "text", "audio")
    if len(whole) < FEWEST:
        return found
    queries = lab.cases.draw(whole, lab.budget.noised, lab.random())
    for sought in ("image", "text", "audio"):
        others = [each for each in ("image", "text", "audio") if each != sought]
        subsets = [s for n in (1, 2) for s in itertools.combinations(others, n)]
        for subset in subsets:
            with lab.step(f"modalities left out: {' + '.join(subset)} -> {sought}"):
                found.append(_dropped(lab, scorers.get(sought), sought, subset, queries))
    return found


def _dropped(
    lab: Lab, scorer: Scorer | None, sought: Modality, given: Sequence[Modality], queries: Rows
) -> dict[str, Any]:
    vectors = normalize(np.sum([lab.cases.vectors(each, queries) for each in given], axis=0))
    hits = _finds_across(lab, sought, vectors, queries)
    unseen = lab.cases.unseen(queries)
    candidates = len(lab.cases.one_per_group(lab.cases.having(sought)))
    row: dict[str, Any] = {
        "given": list(given),
        "sought": sought,
        "queries": len(queries),
        "recall_at_10": None if hits is None else summary(hits[1], unseen[hits[0]], share=True),
        "chance": metrics.chance_at_k(AT, candidates),
    }
    if scorer is not None:
        # Cosines are read as those of the first modality given.
        task = Task(sought, given[0])
        few = queries[: min(GENERATED, lab.budget.queries)]
        among = lab.cases.having(sought, given[0])
        made = [
            lab.make(
                task,
                vectors[n],
                lab.nearest(task, vectors[n], lab.others(place, among), K),
                seed=lab.seed,
                creativity=CREATIVITY,
            )
            for n, place in enumerate(few.tolist())
        ]
        measures, _ = scorer(made, few)
        row["made"] = {
            name: summary(values, unseen[: len(few)]) for name, values in measures.items()
        }
    return row
