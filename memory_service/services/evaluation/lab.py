"""What the parts of an evaluation share: models, cases, and how one thing is made from memory.

A query recalls the episodes of which one item, of any modality, matches it best. Of each come that
item, the one of its own modality and the one to be made: what `services.neighbours` does, which
looks among the best `k` of each ranking alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from encoders.base import Modality, Space, Vectors
from generator.base import Condition, Generator, Neighbour
from memory_service.services import choosing, neighbours
from memory_service.services.evaluation.cases import MODALITIES, Case, Cases, Rows
from memory_service.services.models import Models, key_of

K = 4  # episodes that a generation draws on
CREATIVITY = 0.3
BATCH = 32  # items encoded at once: requests go between
FEWEST = 8  # cases that a task, a curve or a fold needs


@dataclass(frozen=True)
class Budget:
    """How much is measured."""

    queries: int  # per task of the ladder
    seeds: tuple[int, ...]
    noised: int  # queries per level of noise
    repeated: int  # inputs that are repeated
    repeats: int
    timed: int  # queries whose time is taken
    folds: int = 5
    shown: int = 6  # rows of the sample sheets
    trained: int = 64  # items of the epochs of training
    items_per_query: int = 0  # 0: there are never more queries
    short: bool = False  # the rungs that were asked for alone: no other k, fusion or candidates

    def within(self, items: int) -> Budget:
        """That of a number of items to ask about: more of them are more queries."""
        more = items // self.items_per_query if self.items_per_query else 0
        queries = min(max(self.queries, more), max(3, items // 4))
        return replace(self, queries=queries, noised=min(self.noised, items))

    def asking(self, queries: int, items: int) -> Budget:
        """With so many queries a task; half of the items at most, since what is made is compared
        with those that were not asked about."""
        return replace(self, queries=max(3, min(queries, items // 2)))


QUICK = Budget(
    queries=3,
    seeds=(0,),
    noised=4,
    repeated=1,
    repeats=2,
    timed=2,
    folds=3,
    shown=3,
    trained=16,
    short=True,
)
FULL = Budget(
    queries=24,
    seeds=(0, 1, 2),
    noised=60,
    repeated=4,
    repeats=4,
    timed=12,
    trained=32,
    items_per_query=9,
)


@dataclass(frozen=True)
class Task:
    """Make `output`, asked by an item of the modality `query`."""

    output: Modality
    query: Modality

    @property
    def name(self) -> str:
        return f"{self.query} -> {self.output}"


TASKS = (Task("image", "text"), Task("audio", "text"), Task("text", "text"), Task("text", "image"))


@dataclass(frozen=True)
class Lab:
    """`step` is entered around each piece of work: it tells of it, and ends early when asked to.

    `without_memory`: by modality, generators that were trained without any memory, to stand beside.
    """

    models: Models
    space: Space
    cases: Cases
    budget: Budget
    seed: int
    enter: Callable[[str], Any]
    without_memory: Mapping[Modality, Generator] = field(default_factory=dict)

    @contextmanager
    def step(self, label: str) -> Iterator[None]:
        with self.enter(label):
            yield

    def random(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    def generator(self, modality: Modality) -> Generator | None:
        """None where the profile has none, or none for this space."""
        if self.models.generator_space != self.space or modality not in self.models.generators:
            return None
        return self.models.generator(modality)

    def tasks(self) -> list[Task]:
        """Those that the profile and the cases allow."""
        return [
            task
            for task in TASKS
            if self.generator(task.output) is not None
            and len(self.cases.having(task.output, task.query)) >= FEWEST
        ]

    def encode(self, modality: Modality, media: Sequence[Any]) -> Vectors:
        """(N, D), by the active encoder of that modality that maps into the space."""
        for encoder in self.models.encoders_of(modality):
            if encoder.space == self.space:
                parts = [media[n : n + BATCH] for n in range(0, len(media), BATCH)]
                return np.concatenate([encoder.encode(part) for part in parts])
        raise ValueError(f"no encoder of {modality} maps into {self.space.id}")

    def nearest(self, task: Task, query: Vectors, among: Rows, count: int) -> Rows:
        """Places of the `count` cases that match best, by the best of their items."""
        best = np.zeros(len(among))
        for modality in MODALITIES:
            there = np.isin(among, self.cases.having(modality))
            if there.any():
                vectors = self.cases.vectors(modality, among[there])
                best[there] = np.maximum(best[there], self._scores(task, query, modality, vectors))
        order = np.argsort(-best, kind="stable")[:count]
        return np.asarray(among[order], np.int64)

    def others(self, place: int, among: Rows) -> Rows:
        """Those that do not mean the same as the case at `place`."""
        return np.asarray(among[self.cases.groups[among] != self.cases.groups[place]], np.int64)

    def sources(self, task: Task, query: Vectors, memory: Rows) -> list[neighbours.Source]:
        """Of each case the item that matches best, and those of both modalities of the task."""
        return [
            neighbours.Source(
                case.memories[modality],
                Neighbour(
                    case.memories[modality].id,
                    modality,
                    case.vectors[modality],
                    case.media[modality],
                ),
            )
            for case in (self.cases.all[place] for place in memory)
            for modality in case.vectors
            if modality in (task.query, task.output, self._matched(task, query, case))
        ]

    def _matched(self, task: Task, query: Vectors, case: Case) -> Modality:
        vectors = case.vectors
        return max(vectors, key=lambda each: self._scores(task, query, each, vectors[each]))

    def _scores(self, task: Task, query: Vectors, modality: Modality, vectors: Vectors) -> Any:
        """(N,) of vectors (N, D), or one of a vector (D,)."""
        return self.models.calibration.score(vectors @ query, task.query, modality)

    def condition(
        self,
        task: Task,
        query: Vectors,
        sources: Sequence[neighbours.Source],
        fusion: str = "attention",
    ) -> Condition:
        return neighbours.condition(
            query,
            sources,
            fusion,
            self.space.id,
            asked=task.query,
            calibration=self.models.calibration,
        )

    def make(
        self,
        task: Task,
        query: Vectors,
        memory: Rows,
        *,
        seed: int,
        creativity: float = CREATIVITY,
        fusion: str = "attention",
        candidates: int | None = None,
    ) -> Any:
        condition = self.condition(task, query, self.sources(task, query, memory), fusion)
        return self.best(task.output, condition, seed, creativity, candidates)

    def best(
        self,
        output: Modality,
        condition: Condition,
        seed: int,
        creativity: float = CREATIVITY,
        candidates: int | None = None,
    ) -> Any:
        """The media that a request would keep."""
        generator = self.generator(output)
        assert generator is not None  # `tasks` has asked
        return self._kept(generator, condition, seed, creativity, candidates)

    def _kept(
        self,
        generator: Generator,
        condition: Condition,
        seed: int,
        creativity: float,
        candidates: int | None,
    ) -> Any:
        # What is measured is what is made: a text that is quoted would be right without doing.
        condition = replace(condition, quotes=False)
        encode = choosing.encoding(self.models, generator.modality, key_of(self.space))
        count = choosing.count_of(generator, candidates, creativity, encode)
        seeds = choosing.seeds_of(seed, count)
        return choosing.ranked(generator, condition, seeds, creativity, encode)[0].made.media

    def make_without_memory(self, task: Task, query: Vectors, *, seed: int) -> Any:
        """By the model that was trained so, and chosen among as many candidates as others are;
        KeyError where there is none."""
        condition = self.condition(task, query, ())
        generator = self.without_memory[task.output]
        return self._kept(generator, condition, seed, 1.0, None)
