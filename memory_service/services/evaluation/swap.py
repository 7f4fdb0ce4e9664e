"""Memory swap: the same query and seed with another memory, and nothing trained between.

The memories are prints of the same pictures in two pairs of colours. What is told is an effect
size: the share of the memories' difference in tint that is between the pictures made from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from memory_service.prints import PRINTS, printed, share_taken, tint
from memory_service.services import neighbours
from memory_service.services.evaluation.lab import CREATIVITY, K, Lab, Task
from memory_service.services.evaluation.metrics import summary

TASK = Task("image", "text")
CREATIVITIES = (CREATIVITY, 0.5)
MOST = 12  # queries


@dataclass(frozen=True)
class Swapped:
    """Of one query, by print: the heaviest remembered picture, and what was made at each of
    CREATIVITIES."""

    place: int
    remembered: tuple[Any, ...]
    made: tuple[tuple[Any, ...], ...]

    def shares(self) -> list[float]:
        """One per creativity."""
        sources = tint(self.remembered[0]), tint(self.remembered[1])
        return [
            share_taken((tint(one), tint(other)), sources)
            for one, other in zip(*self.made, strict=True)
        ]


def swap(lab: Lab) -> list[Swapped]:
    """Empty where there are no pictures to be made, or too few."""
    if TASK not in lab.tasks():
        return []
    queries = lab.cases.draw(
        lab.cases.having(TASK.output, TASK.query), min(MOST, lab.budget.queries), lab.random()
    )
    with lab.step("memory swap"):
        return [_swapped(lab, int(place)) for place in queries]


def _swapped(lab: Lab, place: int) -> Swapped:
    both = lab.cases.having(TASK.output, TASK.query)
    query = lab.cases.vectors(TASK.query, [place])[0]
    sources = lab.sources(TASK, query, lab.nearest(TASK, query, lab.others(place, both), K))
    remembered, made = [], []
    for colours in PRINTS.values():
        prints = _printed(lab, sources, colours)
        condition = lab.condition(TASK, query, prints)
        remembered.append(condition.ranked("image")[0].media)
        made.append(tuple(lab.best("image", condition, lab.seed, each) for each in CREATIVITIES))
    return Swapped(place, tuple(remembered), tuple(made))


def _printed(
    lab: Lab, sources: Sequence[neighbours.Source], colours: tuple[str, str]
) -> list[neighbours.Source]:
    """The same memory with its pictures printed, and encoded as prints."""
    found = []
    for source in sources:
        if source.neighbour.modality == "image":
            media = printed(source.neighbour.media, *colours)
            (vector,) = lab.encode("image", [media])
            source = replace(
                source, neighbour=replace(source.neighbour, media=media, vector=vector)
            )
        found.append(source)
    return found


def table(lab: Lab, swapped: Sequence[Swapped]) -> list[dict[str, Any]]:
    """By creativity: the mean share, its interval, and that of unseen concepts."""
    if not swapped:
        return []
    unseen = lab.cases.unseen(np.array([each.place for each in swapped], np.int64))
    shares = np.array([each.shares() for each in swapped])
    return [
        {"creativity": creativity, "share": summary(shares[:, number], unseen)}
        for number, creativity in enumerate(CREATIVITIES)
    ]
