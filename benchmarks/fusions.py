"""What each fusion makes of the same queries and memories: `python -m benchmarks.fusions`.

The shipped suite (the test split of the collection, or the sample), by the ladder's own means: with
the target in memory (recall), and with others alone (imagination), at creativity 0 and .3. Of
pictures and sounds R@10 among all texts, of texts the cosine to the reference. One seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from generator.fusion import METHODS
from memory_service.app import Application
from memory_service.services.evaluation import ladder, metrics, scoring
from memory_service.services.evaluation.cases import read_cases
from memory_service.services.evaluation.lab import FULL, Lab
from memory_service.settings import Settings
from memory_service.suites import filled, suite

SAMPLES = Path(__file__).parents[1] / "samples/tuxpaint-stamps"
KINDS: tuple[tuple[ladder.Source, float], ...] = (
    ("own", 0.0),
    ("own", 0.3),
    ("retrieved", 0.0),
    ("retrieved", 0.3),
)
COPY = "copy of the nearest"


def laboratory(application: Application, namespace: str, queries: int, seed: int) -> Lab:
    models = application.active.models
    space = models.space_to_generate(list(models.generators))
    random = np.random.default_rng(seed)
    cases = read_cases(application.store, models, space, namespace, most=400, random=random)
    budget = FULL.asking(queries, len(cases))
    return Lab(models, space, cases, budget, seed, lambda _: nullcontext())


def table_of(climb: ladder.Climb, rungs: Sequence[ladder.Rung]) -> Table:
    """A row for each fusion, the mean of its headline measure with the 95 % interval."""
    headline = scoring.HEADLINE[climb.task.output]
    title = f"{climb.task.name}: {headline}, {len(climb.queries)} queries"
    table = Table("fusion", *(f"{source}, {creativity:g}" for source, creativity in KINDS))
    table.title = title
    made = {rung: climb.made[rung.name] for rung in rungs if rung.name in climb.made}
    for fusion in dict.fromkeys(rung.fusion for rung in made):
        own = [each.measures[headline] for rung, each in made.items() if rung.fusion == fusion]
        table.add_row(fusion, *map(_told, own))
    copied = climb.made[COPY].measures[headline]
    table.add_row(COPY, "", "", _told(copied), "")
    return table


def _told(values: metrics.Floats) -> str:
    low, high = metrics.interval(values)
    return f"{np.mean(values):.3f} ({low:.2f} to {high:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--collection", type=Path, default=Path("collection"))
    parser.add_argument("--queries", type=int, default=48, help="per task")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tasks", nargs="*", help='such as "image -> text"; default: all')
    args = parser.parse_args()
    planned = suite("shipped", samples=SAMPLES, collection=args.collection, seed=args.seed)
    # Nothing is looked up in what was trained on.
    planned = type(planned)(planned.name, planned.source, planned.field, planned.episodes)
    rungs = [
        ladder.Rung(source, creativity, fusion=fusion, every_seed=False)
        for fusion in METHODS
        for source, creativity in KINDS
    ]
    console = Console(width=140)
    console.print(planned.source)
    with filled(planned, Settings(profile="bundled"), lambda *_: None) as application:
        lab = laboratory(application, planned.name, args.queries, args.seed)
        for task in lab.tasks():
            if not args.tasks or task.name in args.tasks:
                scorer = scoring.Scorer(lab, task.output)
                console.print(table_of(ladder.climb(lab, task, scorer, rungs), rungs))


if __name__ == "__main__":
    main()
