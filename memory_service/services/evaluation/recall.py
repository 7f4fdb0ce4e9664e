"""Recall across modalities: does each modality find the others' items that mean the same?"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from memory_service.services.evaluation import metrics
from memory_service.services.evaluation.cases import MODALITIES
from memory_service.services.evaluation.lab import Lab
from memory_service.services.evaluation.metrics import summary

AT = (1, 5, 10)


def recall(lab: Lab) -> list[dict[str, Any]]:
    """One row per direction: all cases that have both, among one item per group."""
    found = []
    for asked, sought in itertools.permutations(MODALITIES, 2):
        both = lab.cases.having(asked, sought)
        named = lab.cases.one_per_group(both)
        if len(named) < 2:
            continue
        with lab.step(f"recall: {asked} -> {sought}"):
            row = {int(lab.cases.groups[place]): number for number, place in enumerate(named)}
            own = np.array([row[int(group)] for group in lab.cases.groups[both]])
            scores = lab.cases.vectors(asked, both) @ lab.cases.vectors(sought, named).T
            place = metrics.ranks(scores, own)
            unseen = lab.cases.unseen(both)
            direction: dict[str, Any] = {
                "asked": asked,
                "sought": sought,
                "queries": len(both),
                "candidates": len(named),
                "unseen_queries": int(unseen.sum()),
            }
            for k in AT:
                hits = (place < k).astype(np.float64)
                direction[f"recall_at_{k}"] = summary(hits, unseen, share=True)
                direction[f"chance_at_{k}"] = metrics.chance_at_k(k, len(named))
            found.append(direction)
    return found
