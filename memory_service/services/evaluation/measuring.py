"""All that an evaluation measures, but times: figures, and what is to be looked at."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from memory_service.services.evaluation import (
    blind,
    consistency,
    generalisation,
    judges,
    ladder,
    ladder_table,
    memorisation,
    recall,
    robustness,
    samples,
    scoring,
    swap,
    targets,
)
from memory_service.services.evaluation.blind import Blind
from memory_service.services.evaluation.cases import MODALITIES, Cases
from memory_service.services.evaluation.lab import Lab
from memory_service.services.evaluation.request import Request


@dataclass(frozen=True)
class Seen:
    """What is to be looked at."""

    sheets: list[samples.Sheet]
    blind: Blind | None

    @property
    def memory_ids(self) -> frozenset[str]:
        return samples.all_ids(self.sheets) | (self.blind.memory_ids if self.blind else frozenset())


def measure(lab: Lab, request: Request, training: Cases | None) -> tuple[dict[str, Any], Seen]:
    """All but times: the same store, request and machine give the same figures."""
    with lab.step("describing"):
        scorers = scoring.scorers(lab)
    climbs = [ladder.climb(lab, task, scorers[task.output]) for task in lab.tasks()]
    known = training or Cases([case for case in lab.cases.all if case.unseen is False])
    swapped = swap.swap(lab)
    swaps = swap.table(lab, swapped)
    figures = {
        "about": about(lab, request),
        "targets": targets.judged(lab, climbs)
        + [targets.swapped(row["share"]) for row in swaps[:1]],
        "order": targets.order(lab, climbs),
        "recall": recall.recall(lab),
        "ladders": [ladder_table.table(lab, climb) for climb in climbs],
        "swap": swaps,
        "memorisation": memorisation.memorisation(lab, climbs, known if len(known) else None),
        "robustness": robustness.curves(lab),
        "dropped": robustness.dropped(lab, scorers),
        "consistency": consistency.consistency(lab, scorers),
        "cross_validation": generalisation.cross_validation(lab),
        "transfer": generalisation.transfer(lab, request.field),
        "classification": generalisation.classification(lab, request.field),
        "field": request.field,
    }
    sheets = [samples.sheet(lab, climb) for climb in climbs]
    exchanged = samples.swap_sheet(lab, swapped)
    return rounded(figures), Seen(
        [*sheets, *([] if exchanged is None else [exchanged])], blind.blind(lab, climbs)
    )


def rounded(value: Any) -> Any:
    """All numbers to five decimals: less than any interval, and the same on every reading."""
    if isinstance(value, float):
        return round(value, 5)
    if isinstance(value, Mapping):
        return {name: rounded(each) for name, each in value.items()}
    return [rounded(each) for each in value] if isinstance(value, list | tuple) else value


def about(lab: Lab, request: Request) -> dict[str, Any]:
    """What was evaluated, and how much of it."""
    cases, models = lab.cases, lab.models
    unseen = [case.unseen for case in cases.all]
    return {
        **asdict(request),
        "episodes": len(cases),
        "items": {m: len(cases.having(m)) for m in MODALITIES},
        "meanings": len(np.unique(cases.groups)),
        "unseen": None if all(each is None for each in unseen) else unseen.count(True),
        "profile": models.profile,
        "space": {"id": lab.space.id, "fingerprint": lab.space.fingerprint},
        "generators": {
            m: {"name": g.name, "fingerprint": g.fingerprint}
            for m in MODALITIES
            if (g := lab.generator(m)) is not None
        },
        "without_memory": {m: g.fingerprint for m, g in lab.without_memory.items()} or None,
        "budget": asdict(lab.budget),
        "judges": {
            "form": dict(judges.FORM),
            "meaning": judges.MEANING if judges.sees_meaning() else None,
        },
    }


def machine() -> dict[str, Any]:
    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }
