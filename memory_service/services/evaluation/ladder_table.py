"""A ladder's rows as JSON values: means with intervals, of all queries and of unseen concepts, and
what can be told only of a set."""

from __future__ import annotations

from typing import Any

from memory_service.services.evaluation import metrics
from memory_service.services.evaluation.judges import judges
from memory_service.services.evaluation.lab import Lab
from memory_service.services.evaluation.ladder import Climb, Made
from memory_service.services.evaluation.metrics import is_share, summary
from memory_service.services.evaluation.scoring import HEADLINE
from memory_service.services.evaluation.wording import distinct


def table(lab: Lab, climb: Climb) -> dict[str, Any]:
    output = climb.task.output
    unseen = lab.cases.unseen(climb.queries)
    sets = _Sets(lab, climb)
    pool = len(lab.cases.having(output))
    by_judge = {
        f"{judge.key}_recall_at_10": metrics.chance_at_k(10, pool) for judge in judges(output)
    }
    by_name = {f"recall_at_{k}": metrics.chance_at_k(k, climb.candidates) for k in (1, 10)}
    return {
        "task": climb.task.name,
        "queries": len(climb.queries),
        "unseen_queries": int(unseen.sum()),
        "candidates": climb.candidates,
        "seeds": list(lab.budget.seeds),
        "headline": HEADLINE[output],
        "real_items": len(climb.real),
        "prdc_needs": metrics.PRDC_FEWEST,
        "chance": by_name | by_judge,
        "rows": [
            {
                "what": made.name,
                **{
                    name: summary(values, unseen, share=is_share(name))
                    for name, values in made.measures.items()
                },
                **sets.of(made),
            }
            for made in climb.made.values()
        ],
    }


class _Sets:
    """Measures of all that a rung made, beside real things that were not asked about."""

    def __init__(self, lab: Lab, climb: Climb) -> None:
        self._output = climb.task.output
        self._real = lab.cases.vectors(self._output, climb.real)
        self._meant = {
            judge.key: (judge, judge.describe(lab.cases.media(self._output, climb.real)))
            for judge in judges(self._output)
            if judge.key == "meaning"
        }
        self._count = min(len(climb.queries), len(climb.real))

    def of(self, made: Made) -> dict[str, float]:
        if self._output == "text":
            texts = [str(each) for each in made.media]
            return {f"distinct_{order}": distinct(texts, order) for order in (1, 2)}
        found = {}
        if self._count >= 2:
            name, distance = (
                ("mmd", metrics.mmd) if self._output == "audio" else ("kid", metrics.kid)
            )
            found[name] = distance(made.vectors, self._real)
            for key, (judge, real) in self._meant.items():
                found[f"{key}_kid"] = metrics.kid(judge.describe(made.media), real)
        if self._count >= metrics.PRDC_FEWEST:
            found |= metrics.prdc(made.vectors, self._real)
        return found
