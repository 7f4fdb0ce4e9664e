"""Fit the maps from cosine to score, per pair of modalities, on the validation split.

Pairs of items of one concept are matches, all other pairs are not; both kinds weigh the same, so a
score of 0.5 means that the cosine is as likely for a match as for a random pair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from encoders.base import Vectors
from encoders.calibration import Calibration, Logistic
from encoders.training.contrastive import TextVectors, texts_of
from encoders.training.data import Item

Doubles = npt.NDArray[np.float64]


def fit(
    items: Mapping[str, Sequence[Item]], vectors: Mapping[str, Vectors], texts: TextVectors
) -> Calibration:
    """`items` and their `vectors` (N, D) by modality, image and audio; texts come from them."""
    every = [item for members in items.values() for item in members]
    # A text matches another text of the same item: caption and tag, say.
    said = sorted({(text, item.concept) for item in every for text in texts_of(item)[:4]})
    known = {**vectors, "text": texts.of(text for text, _ in said)}
    concepts = {modality: [i.concept for i in members] for modality, members in items.items()}
    concepts["text"] = [concept for _, concept in said]
    maps = {}
    for query in known:
        for memory in known:
            cosines = known[query] @ known[memory].T
            same = np.array(concepts[query])[:, None] == np.array(concepts[memory])[None, :]
            counted = np.ones_like(same)
            if query == memory:
                np.fill_diagonal(counted, False)
            if (same & counted).sum() >= 5:
                maps[query, memory] = logistic(cosines[same & counted], cosines[~same & counted])
    return Calibration(maps)


def logistic(matches: npt.ArrayLike, others: npt.ArrayLike, steps: int = 100) -> Logistic:
    """Logistic regression of match on cosine by Newton's method; each kind weighs one half."""
    matches, others = np.asarray(matches, np.float64), np.asarray(others, np.float64)
    x = np.concatenate([matches, others])
    y = np.concatenate([np.ones(len(matches)), np.zeros(len(others))])
    weight = np.where(y == 1, 0.5 / len(matches), 0.5 / len(others))
    design = np.stack([x, np.ones_like(x)], axis=1)  # (N, 2)
    beta = np.array([5.0, -2.0])
    for _ in range(steps):
        p = 1 / (1 + np.exp(-np.clip(design @ beta, -50, 50)))
        gradient = design.T @ (weight * (y - p)) - RIDGE * beta
        hessian = (design * (weight * p * (1 - p))[:, None]).T @ design + RIDGE * np.eye(2)
        update = np.linalg.solve(hessian, gradient)
        # Newton steps may overshoot far from the optimum.
        beta = beta + update * min(1.0, 5.0 / max(1e-9, float(np.abs(update).max())))
    return Logistic(max(float(beta[0]), 0.1), float(beta[1]))


RIDGE = 1e-4  # keeps the slope finite where matches and others do not overlap
