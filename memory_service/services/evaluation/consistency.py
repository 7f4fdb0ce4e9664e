"""The same input again and again: how far what is made differs, by one seed and over seeds.

Little spread is good with one seed only: over seeds, diversity is shown beside it, since a
generator that always makes the same would be the steadiest of all.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from encoders.base import Modality
from encoders.log_mel import log_mel, resample
from memory_service.services.evaluation import judges, metrics
from memory_service.services.evaluation.lab import CREATIVITY, K, Lab, Task
from memory_service.services.evaluation.metrics import summary
from memory_service.services.evaluation.scoring import Scorer
from memory_service.services.rendering import render

CREATIVITIES = (CREATIVITY, 1.0)


def consistency(lab: Lab, scorers: Mapping[Modality, Scorer]) -> list[dict[str, Any]]:
    """One row per task and creativity; the memory is that of retrieval, the target held back."""
    return [
        _row(lab, task, creativity, scorers[task.output])
        for task in lab.tasks()
        for creativity in CREATIVITIES
    ]


def _row(lab: Lab, task: Task, creativity: float, scorer: Scorer) -> dict[str, Any]:
    both = lab.cases.having(task.output, task.query)
    queries = lab.cases.draw(both, lab.budget.repeated, lab.random())
    seeds = range(lab.budget.repeats)
    same_bytes, spread_fixed, spread, diverse, diverse_in_itself = [], [], [], [], []
    for place in queries.tolist():
        with lab.step(f"consistency: {task.name}, creativity {creativity:g}"):
            query = lab.cases.vectors(task.query, [place])[0]
            memory = lab.nearest(task, query, lab.others(place, both), K)

            def make(seed: int, query: Any = query, memory: Any = memory) -> Any:
                return lab.make(task, query, memory, seed=seed, creativity=creativity)

            fixed, drawn = [make(0) for _ in range(2)], [make(seed) for seed in seeds]
            bytes_of = {render(task.output, each)[1] for each in [*fixed, drawn[0]]}
            same_bytes.append(float(len(bytes_of) == 1))
            targets = np.full(len(drawn), place)
            measures, vectors = scorer(drawn, targets)
            spread.append({name: float(values.std()) for name, values in measures.items()})
            again, _ = scorer(fixed, targets[:2])
            spread_fixed.append({name: float(values.std()) for name, values in again.items()})
            diverse.append(metrics.diversity(vectors))
            diverse_in_itself.append(difference(task.output, drawn))
    return {
        "task": task.name,
        "creativity": creativity,
        "inputs": len(queries),
        "repeats": lab.budget.repeats,
        "equal_bytes_with_one_seed": summary(same_bytes, share=True),
        "deviation_with_one_seed": _means(spread_fixed),
        "deviation_over_seeds": _means(spread),
        "diversity": summary(np.array(diverse)),
        "difference": summary(np.array(diverse_in_itself)),
        "difference_is": DIFFERENCE[task.output],
    }


DIFFERENCE = {
    "image": "1 - SSIM",
    "audio": "log-mel distance",
    "text": "1 - cosine of trigrams",
}


def difference(modality: Modality, media: Sequence[Any]) -> float:
    """Mean over all pairs, of what is seen or heard rather than of vectors."""
    if modality == "image":
        squares = [metrics.pixels(each, each.width) for each in media]
        pairs = itertools.combinations(squares, 2)
        return float(np.mean([1 - metrics.ssim(*pair) for pair in pairs]))
    if modality == "audio":
        length = max(resample(each).size for each in media)
        heard = [log_mel(metrics.audible(each, length)) for each in media]
        return metrics.mean_pairwise(heard)
    return metrics.diversity(judges.describe(modality, media))


def _means(rows: Sequence[dict[str, float]]) -> dict[str, dict[str, Any]]:
    return {name: summary([row[name] for row in rows]) for name in rows[0]}
