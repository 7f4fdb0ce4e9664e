"""The figures of a report as tables of a document, between marks that say which.

A document holds lines like `<!-- evaluation: targets -->`, each with `<!-- end -->` some lines
below it; what stands between is written anew from the figures of that name, and nothing else is
touched. Marks of figures that are not given stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from memory_service.services.evaluation.blocks import NAMES, Json, interval, number, unseen_of
from memory_service.services.evaluation.ladder_sections import (
    SIGNS,
    asked,
    asked_for,
    reached,
    tally,
)

MARK = re.compile(r"<!-- (?P<figures>[\w-]+): (?P<table>\w+) -->\n.*?<!-- end -->", re.DOTALL)
SHOWN = {
    "image": ("recall_at_1", "recall_at_10", "judge_recall_at_10", "meaning_recall_at_10",
              "novelty", "media_novelty", "novel", "ssim", "psnr_db", "kid"),
    "audio": ("recall_at_1", "recall_at_10", "judge_recall_at_10", "novelty", "media_novelty",
              "novel", "log_mel", "mse", "snr_db", "mmd"),
    "text": ("cosine", "recall_at_10", "judge_cosine", "cider", "novelty", "media_novelty", "novel",
             "quoted", "distinct_2"),
}  # fmt: skip


class UnknownTable(ValueError):
    """A document asks for a table that there is none of."""


def filled(document: str, figures: Mapping[str, Json]) -> str:
    """The document with all its tables written from `figures`, by name. Raises UnknownTable."""

    def written(mark: re.Match[str]) -> str:
        name, table = mark["figures"], mark["table"]
        if table not in TABLES:
            raise UnknownTable(f"there is no table {table!r}; there are: {', '.join(TABLES)}")
        if name not in figures:
            return mark[0]
        return f"<!-- {name}: {table} -->\n{TABLES[table](figures[name])}\n<!-- end -->"

    return MARK.sub(written, document)


def _lines(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return "\n".join([*head, *(f"| {' | '.join(row)} |" for row in rows)])


def _about(figures: Json) -> str:
    about = figures["about"]
    unseen = "not known how many" if about["unseen"] is None else about["unseen"]
    meaning = about["judges"]["meaning"] or "not installed"
    return (
        f"{about['source']}: {about['episodes']} episodes, {unseen} of concepts that no training "
        "saw; "
        f"{about['budget']['queries']} queries a task, seeds {_listed(about['budget']['seeds'])}. "
        f"Judge of meaning: {meaning}. It took {figures['efficiency']['evaluation_s'] / 60:.0f} "
        "minutes."
    )


def _listed(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))


def _targets(figures: Json) -> str:
    rows = asked_for(figures)
    unseen = any("unseen" in row for row in rows)
    columns = ["rung", "made how", "asked", "reached", "95 % interval", "n", "verdict"]
    lines = []
    for row in rows:
        few = row.get("unseen")
        lines.append(
            [
                row["title"],
                row["row"],
                asked(row),
                reached(row),
                interval(row["estimate"]),
                str(row["estimate"]["n"]),
                f"**{row['verdict']}**" + (f" ({row['why']})" if row.get("why") else ""),
                *([_of_unseen(row, few)] if unseen else []),
            ]
        )
    table = _lines([*columns, *(["unseen concepts alone"] if unseen else [])], lines)
    return f"{tally(rows)}.\n\n{table}"


def _of_unseen(row: Json, few: Json | None) -> str:
    if few is None:
        return "-"
    estimate = few["estimate"]
    told = f"{reached({**row, **few})} ({interval(estimate)}; {estimate['n']})"
    return f"{few['verdict']}: {told}"


def _order(figures: Json) -> str:
    """One line per step: the verdict by each measure, with the difference."""
    steps: dict[tuple[str, str], dict[str, str]] = {}
    measures: dict[str, None] = {}
    for row in figures["order"]:
        step = f"{row['row']} {SIGNS[row['sense']]} {row['beside']}"
        measure = "the encoder" if row["measure"] in ("recall_at_10", "cosine") else (
            "form" if row["measure"].startswith("judge") else "meaning"
        )  # fmt: skip
        measures[measure] = None
        told = f"{row['verdict']} ({number(row['estimate']['mean'])})"
        steps.setdefault((row["task"], step), {})[measure] = told
    lines = [
        [task, step, *(by.get(measure, "-") for measure in measures)]
        for (task, step), by in steps.items()
    ]
    return f"{tally(figures['order'])}.\n\n" + _lines(["task", "step", *measures], lines)


def _ladders(figures: Json) -> str:
    return "\n\n".join(_ladder(table) for table in figures["ladders"])


def _ladder(table: Json) -> str:
    shown = SHOWN[table["task"].split(" -> ")[1]]
    there = [name for name in shown if any(name in row for row in table["rows"])]
    unseen = table["unseen_queries"]
    few = f", {unseen} of them unseen (after the stroke)" if 0 < unseen < table["queries"] else ""
    chance = ", ".join(f"{NAMES[name]} {number(value)}" for name, value in table["chance"].items())
    rows = [[row["what"], *(_figure(row.get(name)) for name in there)] for row in table["rows"]]
    return (
        f"**{table['task']}**, {table['queries']} queries{few}; by chance: {chance}.\n\n"
        + _lines(["row", *(NAMES[name] for name in there)], rows)
    )


def _figure(value: object) -> str:
    if isinstance(value, Mapping):
        few = unseen_of(value)
        return number(value["mean"]) + ("" if few is None else f" / {number(few['mean'])}")
    return number(value) if isinstance(value, float) else "-"


def _swap(figures: Json) -> str:
    return _lines(
        ["creativity", "share of the memories' difference in tint", "95 % interval", "n"],
        [
            [
                f"{row['creativity']:g}",
                number(row["share"]["mean"]),
                interval(row["share"]),
                str(row["share"]["n"]),
            ]
            for row in figures["swap"]
        ],
    )


TABLES: Mapping[str, Callable[[Json], str]] = {
    "about": _about,
    "targets": _targets,
    "order": _order,
    "ladders": _ladders,
    "swap": _swap,
}
