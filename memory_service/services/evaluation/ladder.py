"""The ladder: what is made, from which memory, beside what nothing passes and what must be beaten.

Own: the target itself is remembered. Retrieved: it is held back, and all that means the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from encoders.base import Vectors
from generator.fusion import METHODS, methods_in
from memory_service.services.evaluation.cases import Rows
from memory_service.services.evaluation.lab import CREATIVITY, K, Lab, Task
from memory_service.services.evaluation.metrics import Floats
from memory_service.services.evaluation.novelty import Novelty, shrunk
from memory_service.services.evaluation.scoring import Scorer

Source = Literal["own", "retrieved", "random", "none", "untaught"]
NAMES = {"none": "no memory (k = 0)", "untaught": "no memory, a model trained without"}


@dataclass(frozen=True)
class Rung:
    """One way of making it; at creativity 0 nothing is drawn by lot, and one seed is enough.

    Untaught: by another model, which was trained without any memory.
    """

    memory: Source
    creativity: float = CREATIVITY
    k: int = K
    fusion: str = "attention"
    every_seed: bool = True  # or the first one alone
    candidates: int | None = None  # None: as many as a request gets

    @property
    def name(self) -> str:
        if self.memory in NAMES:
            return NAMES[self.memory]
        parts = [f"{self.memory} memory", f"creativity {self.creativity:g}"]
        if self.k != K:
            parts.append(f"k = {self.k}")
        if self.fusion != "attention":
            parts.append(self.fusion)
        if self.candidates is not None:
            parts.append("1 candidate" if self.candidates == 1 else f"{self.candidates} candidates")
        return ", ".join(parts)


RUNGS = (
    Rung("own", 0.0),
    Rung("own"),
    Rung("own", 0.5, every_seed=False),
    Rung("own", 1.0),
    Rung("retrieved", 0.0),
    Rung("retrieved"),
    Rung("retrieved", 0.5, every_seed=False),
    Rung("retrieved", 1.0),
    *(Rung("retrieved", creativity, candidates=1) for creativity in (CREATIVITY, 1.0)),
    Rung("random"),
    Rung("none", 1.0, 0),
    Rung("untaught", 1.0, 0),
    *(Rung("retrieved", k=k, every_seed=False) for k in (1, 2, 8)),
    *(
        Rung("retrieved", fusion=fusion, every_seed=False)
        for fusion in METHODS
        if fusion != "attention"
    ),
)
# What the order that was asked for needs, and the ends of creativity.
SHORT = tuple(
    rung
    for rung in RUNGS
    if rung.k in (0, K)
    and rung.fusion == "attention"
    and rung.candidates is None
    and rung.creativity != 0.5
)
REAL, RECODED, COPY, BLEND = (
    "real",
    "autoencoder",
    "copy of the nearest",
    "latent mean of the nearest",
)
# The order that was asked for: each is to be at least as good as the next one.
ORDER = (
    REAL,
    RECODED,
    Rung("own").name,
    Rung("retrieved").name,
    COPY,
    Rung("random").name,
    Rung("none", 1.0, 0).name,
)


@dataclass(frozen=True)
class Made:
    """What a rung gave: media of the first seed by query, and measures (N,) averaged over seeds."""

    name: str
    media: Sequence[Any]
    measures: Mapping[str, Floats]
    vectors: Vectors  # (N, D), of the first seed
    memories: Sequence[Rows]  # by query, places of the cases that it was made from


@dataclass(frozen=True)
class Climb:
    """One task's ladder."""

    task: Task
    queries: Rows
    made: Mapping[str, Made]
    candidates: int
    real: Rows  # the cases that were no query: what made ones are to be like


def climb(lab: Lab, task: Task, scorer: Scorer) -> Climb:
    rungs = SHORT if lab.budget.short else RUNGS
    both = lab.cases.having(task.output, task.query)
    queries = lab.cases.draw(both, lab.budget.queries, lab.random())
    there = [each for each in rungs if each.fusion in methods_in(lab.space.id)]
    runner = _Runner(lab, task, both, queries, scorer, max(rung.k for rung in there))
    made: dict[str, Made] = {}
    for each in runner.references():
        made[each.name] = each
    for rung in there:
        if rung.memory == "untaught" and task.output not in lab.without_memory:
            continue
        with lab.step(f"{task.name}: {rung.name}"):
            made[rung.name] = runner.run(rung)
    rest = np.setdiff1d(scorer.pool, queries)
    real = rest if len(rest) >= 2 else scorer.pool
    return Climb(task, queries, made, scorer.candidates, real)


class _Runner:
    def __init__(
        self, lab: Lab, task: Task, both: Rows, queries: Rows, scorer: Scorer, most: int
    ) -> None:
        self._lab, self._task, self._both, self._queries = lab, task, both, queries
        self._scorer = scorer
        vectors = lab.cases.vectors(task.query, queries)
        self._asked = dict(zip(queries.tolist(), vectors, strict=True))
        self._near = {
            place: lab.nearest(task, self._asked[place], lab.others(place, both), most)
            for place in queries.tolist()
        }
        random = lab.random()
        self._strangers = {
            place: random.permutation(lab.others(place, both))[:most] for place in queries.tolist()
        }
        self._novelty = Novelty(lab, task.output)

    def memory(self, place: int, rung: Rung) -> Rows:
        match rung.memory:
            case "own":
                return np.concatenate([[place], self._near[place][: rung.k - 1]]).astype(np.int64)
            case "retrieved":
                return self._near[place][: rung.k]
            case "random":
                return self._strangers[place][: rung.k]
            case _:
                return np.empty(0, np.int64)

    def run(self, rung: Rung) -> Made:
        memories = [self.memory(place, rung) for place in self._queries.tolist()]
        drawn = rung.creativity > 0 and rung.every_seed
        seeds = self._lab.budget.seeds if drawn else self._lab.budget.seeds[:1]
        by_seed = [self._generate(rung, memories, seed) for seed in seeds]
        scored = [self._scorer(media, self._queries) for media in by_seed]
        measures = {
            name: np.mean([found[name] for found, _ in scored], axis=0) for name in scored[0][0]
        }
        made = Made(rung.name, by_seed[0], measures, scored[0][1], memories)
        return self._with_novelty(made)

    def _generate(self, rung: Rung, memories: Sequence[Rows], seed: int) -> list[Any]:
        if rung.memory == "untaught":
            return [
                self._lab.make_without_memory(self._task, self._asked[place], seed=seed)
                for place in self._queries.tolist()
            ]
        return [
            self._lab.make(
                self._task,
                self._asked[place],
                memory,
                seed=seed,
                creativity=rung.creativity,
                fusion=rung.fusion,
                candidates=rung.candidates,
            )
            for place, memory in zip(self._queries.tolist(), memories, strict=True)
        ]

    def _with_novelty(self, made: Made) -> Made:
        found = self._novelty.measures(made.media, made.vectors, made.memories)
        return replace(made, measures={**made.measures, **found})

    def references(self) -> list[Made]:
        """What no generator passes, what one must beat, and what the latents alone give."""
        output = self._task.output
        generator = self._lab.generator(output)
        assert generator is not None
        originals = self._lab.cases.media(output, self._queries)
        nothing = [np.empty(0, np.int64)] * len(self._queries)
        near = [self._near[place][:K] for place in self._queries.tolist()]
        first = [rows[:1] for rows in near]
        copies = [self._lab.cases.media(output, rows)[0] for rows in first]
        found = []
        with self._lab.step(f"{self._task.name}: real, autoencoder, copies"):
            recoded = [generator.recode([each]) for each in originals]
            shown = [shrunk(output, each, recoded[0]) for each in originals]
            found.append(self._reference(REAL, shown, nothing))
            if recoded[0] is not None:
                found.append(self._reference(RECODED, recoded, nothing))
            copied = [shrunk(output, each, recoded[0]) for each in copies]
            found.append(self._reference(COPY, copied, first))
            if recoded[0] is not None:
                blends = [generator.recode(self._lab.cases.media(output, rows)) for rows in near]
                found.append(self._reference(BLEND, blends, near))
        return found

    def _reference(self, name: str, media: Sequence[Any], memories: Sequence[Rows]) -> Made:
        measures, vectors = self._scorer(media, self._queries)
        return self._with_novelty(Made(name, media, measures, vectors, memories))
