"""Things to look at and to listen to: a few queries, each with what the rungs made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from encoders.base import Modality
from memory_service.services.evaluation.lab import Lab
from memory_service.services.evaluation.ladder import Climb, Rung

COLUMNS = (
    "real",
    "autoencoder",
    Rung("own").name,
    Rung("own", 1.0).name,
    "copy of the nearest",
    Rung("retrieved").name,
    Rung("retrieved", 1.0).name,
    Rung("none", 1.0, 0).name,
)


@dataclass(frozen=True)
class Sheet:
    """`rows`: what was asked, and one thing per column."""

    task: str
    modality: Modality
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Any, ...]], ...]
    memory_ids: frozenset[str]  # of the memories whose content, or a copy of it, is shown


def sheet(lab: Lab, climb: Climb) -> Sheet:
    """The first queries of the ladder; those never seen in training come first."""
    cases, output = lab.cases, climb.task.output
    columns = tuple(name for name in COLUMNS if name in climb.made)
    order = sorted(
        range(len(climb.queries)), key=lambda n: (cases.all[climb.queries[n]].unseen is not True, n)
    )[: lab.budget.shown]
    shown = {str(cases.all[climb.queries[n]].id) for n in order}
    for name in columns:
        for n in order:
            shown |= {cases.all[place].id for place in climb.made[name].memories[n]}
    ids = [m.id for case in cases.all if case.id in shown for m in case.memories.values()]
    rows = tuple(
        (
            asked(cases.all[climb.queries[n]].words, climb),
            tuple(climb.made[name].media[n] for name in columns),
        )
        for n in order
    )
    return Sheet(climb.task.name, output, columns, rows, frozenset(ids))


def asked(words: str, climb: Climb) -> str:
    return words if climb.task.query == "text" else f"a picture of: {words}"


def all_ids(sheets: Sequence[Sheet]) -> frozenset[str]:
    return frozenset(each for sheet in sheets for each in sheet.memory_ids)
