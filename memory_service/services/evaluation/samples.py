"""Things to look at and to listen to: a few queries, each with what the rungs made of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from encoders.base import Modality
from memory_service.prints import PRINTS
from memory_service.services.evaluation.lab import Lab
from memory_service.services.evaluation.ladder import (
    COPY,
    NAMES,
    REAL,
    RECODED,
    Climb,
    Made,
    Rung,
)
from memory_service.services.evaluation.swap import CREATIVITIES, TASK, Swapped

OWN = tuple(Rung("own", creativity).name for creativity in (0.0, 0.5))
COLUMNS = (
    REAL,
    RECODED,
    *OWN,
    COPY,
    *(Rung("retrieved", creativity).name for creativity in (0.3, 0.5, 1.0)),
    Rung("none", 1.0, 0).name,
    NAMES["untaught"],
)


@dataclass(frozen=True)
class Thing:
    """`note`: whether it is a copy, or how new it is; `copied`: it is to be marked as a copy."""

    media: Any
    note: str = ""
    copied: bool = False


@dataclass(frozen=True)
class Sheet:
    """`rows`: what was asked, and one thing per column."""

    task: str
    modality: Modality
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Thing, ...]], ...]
    memory_ids: frozenset[str]  # of the memories whose content, or a copy of it, is shown


def sheet(lab: Lab, climb: Climb) -> Sheet:
    """The first queries of the ladder; those never seen in training come first."""
    cases, output = lab.cases, climb.task.output
    columns = tuple(name for name in COLUMNS if name in climb.made)
    order = sorted(
        range(len(climb.queries)), key=lambda n: (cases.all[climb.queries[n]].unseen is not True, n)
    )[: lab.budget.shown]
    shown = [int(climb.queries[n]) for n in order]
    for name in columns:
        for n in order:
            shown += climb.made[name].memories[n].tolist()
    rows = tuple(
        (
            asked(lab, int(climb.queries[n]), climb),
            tuple(thing(climb.made[name], n) for name in columns),
        )
        for n in order
    )
    return Sheet(climb.task.name, output, columns, rows, memory_ids(lab, shown))


def thing(made: Made, row: int) -> Thing:
    """What recalls its own target is no copy that it should not be."""
    if made.name == COPY:
        return Thing(made.media[row], "a copy", copied=True)
    if made.name in OWN or "novelty" not in made.measures:
        return Thing(made.media[row])
    by_cosine, as_media = (float(made.measures[n][row]) for n in ("novelty", "media_novelty"))
    told = f"novelty {by_cosine:.2f}, as media {as_media:.2f}"
    if not made.measures["novel"][row]:
        return Thing(made.media[row], f"as good as a copy: {told}", copied=True)
    return Thing(made.media[row], told)


def swap_sheet(lab: Lab, swapped: Sequence[Swapped]) -> Sheet | None:
    """What is remembered in each print, and what was made from it."""
    few = swapped[: lab.budget.shown]
    if not few:
        return None
    columns = tuple(
        name
        for print_ in PRINTS
        for name in (f"{print_}: remembered", *(f"made, creativity {c:g}" for c in CREATIVITIES))
    )
    rows = []
    for each in few:
        things = [
            thing
            for remembered, made in zip(each.remembered, each.made, strict=True)
            for thing in (Thing(remembered), *(Thing(media) for media in made))
        ]
        rows.append((lab.cases.all[each.place].words, tuple(things)))
    both = lab.cases.having(TASK.output, TASK.query)  # the memories are drawn from all of them
    return Sheet("memory swap", "image", columns, tuple(rows), memory_ids(lab, both.tolist()))


def asked(lab: Lab, place: int, climb: Climb) -> str:
    case = lab.cases.all[place]
    words = case.words if climb.task.query == "text" else f"a picture of: {case.words}"
    return f"{words} (unseen)" if case.unseen else words


def memory_ids(lab: Lab, places: Iterable[int]) -> frozenset[str]:
    return frozenset(
        memory.id for place in set(places) for memory in lab.cases.all[place].memories.values()
    )


def all_ids(sheets: Sequence[Sheet]) -> frozenset[str]:
    return frozenset(each for sheet in sheets for each in sheet.memory_ids)
