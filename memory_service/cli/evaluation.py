"""`evaluate`: the package by real media, or a namespace of a running service."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.progress import BarColumn, Progress, TextColumn

from memory_service.cli import options, tables, waiting
from memory_service.cli.demonstration import SAMPLES
from memory_service.client import DEFAULT_URL
from memory_service.errors import MemoryServiceError
from memory_service.services.evaluation import blocks
from memory_service.settings import Settings

if TYPE_CHECKING:
    from memory_service.services.evaluation.reports import Report

SHOWN = (  # on the terminal
    "recall_at_1",
    "recall_at_10",
    "judge_recall_at_10",
    "meaning_recall_at_10",
    "cosine",
    "novelty",
    "novel",
)
PAGE, FIGURES = "report.html", "report.json"
SHEET, KEY = "blind-sheet.png", "blind-key.json"


def evaluate(
    suite: Annotated[
        Literal["shipped", "quick", "namespace"],
        typer.Option(help="Of the package, of it with little of everything, or of a service."),
    ] = "shipped",
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("evaluation"),
    max_items: Annotated[int | None, typer.Option(help="Episodes, at most.")] = None,
    queries: Annotated[
        int | None,
        typer.Option(help="Per task of the ladder, 3 to 1000. Default: by the episodes; from 24."),
    ] = None,
    seed: Annotated[int, typer.Option(help="What is drawn by lot follows from it.")] = 0,
    samples: Annotated[Path, typer.Option(help="Folder of the sample.")] = SAMPLES,
    collection: Annotated[
        Path | None,
        typer.Option(help="Training collection: its test split is asked about, not the sample."),
    ] = None,
    no_memory_weights: Annotated[
        Path | None,
        typer.Option(
            help="Folder of weights of generators trained without memory, to stand beside."
        ),
    ] = None,
    profile: Annotated[str | None, typer.Option(help="bundled, openclip or fake.")] = None,
    namespace: Annotated[str, typer.Option("--namespace", "-n")] = "default",
    field: Annotated[
        str, typer.Option(help="Suite namespace: metadata field for transfer and classifier.")
    ] = "folder",
    url: options.Url = DEFAULT_URL,
) -> None:
    """Measure recall and generation; writes report.html and report.json."""
    if suite == "namespace":
        body = {"namespace": namespace, "seed": seed, "field": field, "queries": queries}
        done = _over_http(url, body | ({} if max_items is None else {"max_items": max_items}))
        shown = None
    else:
        planned = {
            "samples": samples,
            "collection": collection,
            "max_items": max_items,
            "seed": seed,
        }
        report = _here(suite, profile, planned, queries, no_memory_weights)
        done, shown = (report.figures, report.page), report.blind
    figures, page = done
    out.mkdir(parents=True, exist_ok=True)
    (out / PAGE).write_text(page, encoding="utf-8")
    _write_json(out / FIGURES, figures)
    if shown is not None:
        (out / SHEET).write_bytes(shown.sheet)
        _write_json(out / KEY, shown.key)
    for table in figures["ladders"]:
        options.output.print(tables.rows_table(_rows(table), _title(table)))
    if figures["ladders"]:
        from memory_service.services.evaluation import ladder_sections  # numpy: as late as it can

        rows, asked = ladder_sections.terminal(figures), ladder_sections.asked_for(figures)
        options.output.print(tables.rows_table(rows, ladder_sections.tally(asked)))
    for name in (PAGE, FIGURES, *((SHEET, KEY) if shown is not None else ())):
        typer.echo(str(out / name))


def _write_json(path: Path, value: object) -> None:
    text = json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _rows(table: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What is told of a ladder on the terminal: of all queries, then of unseen concepts."""
    there = [name for name in SHOWN if any(name in row for row in table["rows"])]
    return [
        {"what": row["what"]} | {blocks.NAMES[name]: _figure(row.get(name)) for name in there}
        for row in table["rows"]
    ]


def _figure(value: Mapping[str, Any] | None) -> str:
    if value is None:
        return "-"
    unseen = blocks.unseen_of(value)
    return f"{value['mean']:.2f}" + ("" if unseen is None else f" ({unseen['mean']:.2f})")


def _title(table: Mapping[str, Any]) -> str:
    chance = table["chance"]["recall_at_10"]
    unseen = table["unseen_queries"]
    few = f" (of unseen concepts {unseen}: in brackets)" if 2 <= unseen < table["queries"] else ""
    return f"{table['task']}: {table['queries']} queries{few}, chance of R@10 {chance:.2f}"


def _over_http(url: str, body: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    with options.service(url) as client, _progress() as show:
        job = waiting.ended(client, client.evaluate(**body), lambda progress: show(progress))
        if job.state != "succeeded" or job.result is None:
            options.fail(str((job.error or {}).get("message", f"the job was {job.state}")))
        return job.result["figures"], client.evaluation_page(job.id)


def _here(
    name: str,
    profile: str | None,
    planned: Mapping[str, Any],
    queries: int | None,
    without_memory: Path | None,
) -> Report:
    given: dict[str, Any] = {} if profile is None else {"profile": profile}
    settings = Settings(**given)
    # Before numpy, torch and FAISS are imported: see `serve`.
    os.environ.setdefault("OMP_NUM_THREADS", str(settings.threads))
    from encoders.errors import ModelUnavailable, UnknownName
    from memory_service import suites

    try:
        suite = suites.suite(name, **planned)
        options.errors.print(f"evaluating {suite.source}")
        with _progress() as show:
            job, report = suites.evaluate(
                suite,
                settings,
                seed=planned["seed"],
                queries=queries,
                without_memory=without_memory,
                on_stored=lambda done, of: show({"phase": f"storing: {done} of {of}"}),
                on_change=lambda job: show(job.progress),
            )
    except (MemoryServiceError, ModelUnavailable, UnknownName, OSError, ValueError) as error:
        options.fail(str(error))
    if report is None:
        options.fail(str((job.error or {}).get("message", f"the job was {job.state}")))
    return report


@contextmanager
def _progress() -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Shows the phase of a job on stderr; how many there will be is not known before. Where there
    is no terminal, a line as each section begins, with the seconds since the start."""
    if not options.errors.is_terminal:
        yield _lines()
        return
    columns = (BarColumn(pulse_style="cyan"), TextColumn("{task.description}"))
    with Progress(*columns, console=options.errors, transient=True) as bars:
        task = bars.add_task("starting", total=None)
        yield lambda progress: bars.update(task, description=str(progress.get("phase", "")))


def _lines() -> Callable[[Mapping[str, Any]], None]:
    """A phase's section is what it says before its first colon."""
    began, last = time.monotonic(), ""

    def tell(progress: Mapping[str, Any]) -> None:
        nonlocal last
        section = str(progress.get("phase", "")).partition(":")[0]
        if section and section != last:
            typer.echo(f"{time.monotonic() - began:5.0f} s  {section}", err=True)
        last = section or last

    return tell
