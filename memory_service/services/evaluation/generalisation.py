"""Cross-validation and transfer: a map of vectors and a classifier, fitted on some cases only.

The encoders are not trained here. What is fitted is a linear map from one modality's vectors to
those of texts, by ridge regression towards the identity (Hoerl & Kennard 1970): with an endless
penalty it changes nothing, so it can only help where the namespace's own pairs teach something.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from encoders.base import Modality, Vectors, normalize
from memory_service.services.evaluation import metrics
from memory_service.services.evaluation.cases import Rows, value_of
from memory_service.services.evaluation.lab import FEWEST, Lab
from memory_service.services.evaluation.metrics import Floats

PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
SOURCES: tuple[Modality, ...] = ("image", "audio")
AT = 10
MOST_VALUES = 4  # of a metadata field, the most frequent ones


def ridge_towards(start: Floats, x: Vectors, y: npt.ArrayLike, penalty: float) -> Floats:
    """W (D, D') that minimises |x W - y|^2 + penalty |W - start|^2, in closed form."""
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    left = a.T @ a + penalty * np.eye(a.shape[1])
    return np.asarray(np.linalg.solve(left, a.T @ b + penalty * start), np.float64)


def folds(groups: Rows, count: int, random: np.random.Generator) -> list[Rows]:
    """The places of each fold; cases of one group are in one fold. Groups are dealt out in turn."""
    names = random.permutation(np.unique(groups))
    fold_of = {int(name): number % count for number, name in enumerate(names)}
    number = np.array([fold_of[int(group)] for group in groups])
    return [np.flatnonzero(number == fold) for fold in range(count)]


def _recall(x: Vectors, texts: Vectors, groups: Rows) -> float:
    """Recall@AT of the own group's text, among one text per group of these cases."""
    _, first = np.unique(groups, return_index=True)
    row = {int(groups[place]): number for number, place in enumerate(first)}
    own = np.array([row[int(group)] for group in groups])
    return float((metrics.ranks(x @ texts[first].T, own) < AT).mean())


def fitted(
    x: Vectors, texts: Vectors, groups: Rows, random: np.random.Generator
) -> tuple[Floats, float]:
    """A map, and its penalty: the one that recalls best on a fifth of these cases."""
    start = np.eye(x.shape[1])
    held = folds(groups, 5, random)[0]
    rest = np.setdiff1d(np.arange(len(groups)), held)
    if len(held) < 2 or len(rest) < 2:
        return ridge_towards(start, x, texts, PENALTIES[-1]), PENALTIES[-1]

    def quality(penalty: float) -> float:
        mapped = normalize(x[held] @ ridge_towards(start, x[rest], texts[rest], penalty))
        # Ranks tie often among few: the mean cosine decides between them.
        cosine = float(np.sum(mapped * texts[held], axis=1).mean())
        return _recall(mapped, texts[held], groups[held]) + 1e-3 * cosine

    best = max(PENALTIES, key=quality)
    return ridge_towards(start, x, texts, best), best


def cross_validation(lab: Lab) -> list[dict[str, Any]]:
    """By modality: recall of the own text in each fold, as served and mapped by the other folds."""
    found = []
    for modality in SOURCES:
        both = lab.cases.having(modality, "text")
        count = lab.budget.folds
        if len(np.unique(lab.cases.groups[both])) < count * 3:
            continue
        with lab.step(f"{count}-fold cross-validation: {modality}"):
            found.append(_cross_validated(lab, modality, both, count))
    return found


def _cross_validated(lab: Lab, modality: Modality, both: Rows, count: int) -> dict[str, Any]:
    x, texts = lab.cases.vectors(modality, both), lab.cases.vectors("text", both)
    groups = lab.cases.groups[both]
    served, mapped, penalties, chances = [], [], [], []
    for fold in folds(groups, count, lab.random()):
        rest = np.setdiff1d(np.arange(len(both)), fold)
        weights, penalty = fitted(x[rest], texts[rest], groups[rest], lab.random())
        penalties.append(penalty)
        served.append(_recall(x[fold], texts[fold], groups[fold]))
        mapped.append(_recall(normalize(x[fold] @ weights), texts[fold], groups[fold]))
        chances.append(metrics.chance_at_k(AT, len(np.unique(groups[fold]))))
    return {
        "modality": modality,
        "pairs": len(both),
        "folds": count,
        "served": over_folds(served),
        "mapped": over_folds(mapped),
        "difference": over_folds(np.subtract(mapped, served).tolist()),
        "chance": float(np.mean(chances)),
        "penalties": penalties,
    }


def over_folds(values: Sequence[float]) -> dict[str, Any]:
    """Mean and sample standard deviation over folds, and each of them."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "sd": deviation, "folds": [float(v) for v in values]}


def groups_by_value(lab: Lab, places: Rows, field: str) -> dict[str, Rows]:
    """The places of the most frequent values of a metadata field that have cases enough."""
    values = [value_of(lab.cases.all[place], field) for place in places]
    counts = Counter(value for value in values if value is not None)
    chosen = [v for v, n in counts.most_common(MOST_VALUES) if n >= FEWEST]
    return {each: places[np.array([value == each for value in values], bool)] for each in chosen}


def transfer(lab: Lab, field: str) -> list[dict[str, Any]]:
    """The map fitted on the cases of one value of `field` and tried on those of another."""
    found = []
    for modality in SOURCES:
        by_value = groups_by_value(lab, lab.cases.having(modality, "text"), field)
        if len(by_value) < 2:
            continue
        with lab.step(f"transfer by {field}: {modality}"):
            for target, tested in by_value.items():
                found.append(_transferred(lab, modality, target, tested, by_value))
    return found


def _transferred(
    lab: Lab, modality: Modality, target: str, tested: Rows, by_value: Mapping[str, Rows]
) -> dict[str, Any]:
    x, texts = lab.cases.vectors(modality, tested), lab.cases.vectors("text", tested)
    groups = lab.cases.groups[tested]
    from_other = {}
    for source, trained in by_value.items():
        trained = trained[~np.isin(lab.cases.groups[trained], groups)]
        if source == target or len(trained) < FEWEST:
            continue
        weights, _ = fitted(
            lab.cases.vectors(modality, trained),
            lab.cases.vectors("text", trained),
            lab.cases.groups[trained],
            lab.random(),
        )
        from_other[source] = _recall(normalize(x @ weights), texts, groups)
    return {
        "modality": modality,
        "target": target,
        "cases": len(tested),
        "served": _recall(x, texts, groups),
        "trained_on": from_other,
        "chance": metrics.chance_at_k(AT, len(np.unique(groups))),
    }


def classification(lab: Lab, field: str) -> list[dict[str, Any]]:
    """A ridge classifier of a metadata field's values, from vectors alone, over folds."""
    found = []
    for modality in ("image", "text", "audio"):
        by_value = groups_by_value(lab, lab.cases.having(modality), field)
        if len(by_value) < 2:
            continue
        with lab.step(f"classifier of {field}: {modality}"):
            found.append(_classified(lab, modality, by_value))
    return found


def _classified(lab: Lab, modality: Modality, by_value: Mapping[str, Rows]) -> dict[str, Any]:
    places = np.concatenate(list(by_value.values()))
    labels = np.repeat(np.arange(len(by_value)), [len(rows) for rows in by_value.values()])
    x = lab.cases.vectors(modality, places)
    correct, common = [], []
    for fold in folds(lab.cases.groups[places], lab.budget.folds, lab.random()):
        rest = np.setdiff1d(np.arange(len(places)), fold)
        if not len(fold):
            continue
        wanted = np.eye(len(by_value))[labels[rest]]
        middle = wanted.mean(axis=0)
        weights = ridge_towards(
            np.zeros((x.shape[1], len(by_value))), x[rest], wanted - middle, 1.0
        )
        correct.append(float(((x[fold] @ weights + middle).argmax(axis=1) == labels[fold]).mean()))
        common.append(float((labels[fold] == middle.argmax()).mean()))
    return {
        "modality": modality,
        "values": list(by_value),
        "cases": len(places),
        "accuracy": over_folds(correct),
        "most_common": over_folds(common),
    }
