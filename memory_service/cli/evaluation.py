"""`evaluate`: the package by real media, or a namespace of a running service."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.progress import BarColumn, Progress, TextColumn

from memory_service.cli import options, tables, waiting
from memory_service.cli.demonstration import SAMPLES
from memory_service.client import DEFAULT_URL
from memory_service.errors import MemoryServiceError
from memory_service.settings import Settings

COLLECTION = Path("collection")
SHOWN = ("recall_at_1", "recall_at_10", "cosine", "judge_cosine", "to_memory")  # on the terminal
PAGE, FIGURES = "report.html", "report.json"


def evaluate(
    suite: Annotated[
        Literal["shipped", "quick", "namespace"],
        typer.Option(help="Of the package, of it within a minute, or of a running service."),
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
        Path, typer.Option(help="Training collection; its test split is used if it is there.")
    ] = COLLECTION,
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
    else:
        done = _here(suite, samples, collection, profile, max_items, seed, queries)
    figures, page = done
    out.mkdir(parents=True, exist_ok=True)
    (out / PAGE).write_text(page, encoding="utf-8")
    text = json.dumps(figures, ensure_ascii=False, indent=1, allow_nan=False)
    (out / FIGURES).write_text(text + "\n", encoding="utf-8")
    for table in figures["ladders"]:
        options.output.print(tables.rows_table(_rows(table), _title(table)))
    typer.echo(str(out / PAGE))
    typer.echo(str(out / FIGURES))


def _rows(table: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What is told of a ladder on the terminal."""
    found: list[Mapping[str, Any]] = []
    for row in table["rows"]:
        shown = {"what": row["what"]}
        for name in SHOWN:
            value = row.get(name)
            shown[name.replace("_at_", "@").replace("_", " ")] = (
                f"{value['mean']:.3f}" if value else "-"
            )
        found.append(shown)
    return found


def _title(table: Mapping[str, Any]) -> str:
    chance = table["chance"]["recall_at_10"]
    return f"{table['task']}: {table['queries']} queries, chance of recall@10 {chance:.3f}"


def _over_http(url: str, body: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    with options.service(url) as client, _progress() as show:
        job = waiting.ended(client, client.evaluate(**body), lambda progress: show(progress))
        if job.state != "succeeded" or job.result is None:
            options.fail(str((job.error or {}).get("message", f"the job was {job.state}")))
        return job.result["figures"], client.evaluation_page(job.id)


def _here(
    name: str,
    samples: Path,
    collection: Path,
    profile: str | None,
    max_items: int | None,
    seed: int,
    queries: int | None,
) -> tuple[Mapping[str, Any], str]:
    given: dict[str, Any] = {} if profile is None else {"profile": profile}
    settings = Settings(**given)
    # Before numpy, torch and FAISS are imported: see `serve`.
    os.environ.setdefault("OMP_NUM_THREADS", str(settings.threads))
    from encoders.errors import ModelUnavailable, UnknownName
    from memory_service import suites

    try:
        planned = suites.suite(
            name, samples=samples, collection=collection, max_items=max_items, seed=seed
        )
        options.errors.print(f"evaluating {planned.source}")
        with _progress() as show:
            job, report = suites.evaluate(
                planned,
                settings,
                seed=seed,
                queries=queries,
                on_stored=lambda done, of: show({"phase": f"storing {done} of {of}"}),
                on_change=lambda job: show(job.progress),
            )
    except (MemoryServiceError, ModelUnavailable, UnknownName, OSError, ValueError) as error:
        options.fail(str(error))
    if report is None:
        options.fail(str((job.error or {}).get("message", f"the job was {job.state}")))
    return report.figures, report.page


@contextmanager
def _progress() -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Shows the phase of a job on stderr; how many there will be is not known before."""
    columns = (BarColumn(pulse_style="cyan"), TextColumn("{task.description}"))
    with Progress(*columns, console=options.errors, transient=True) as bars:
        task = bars.add_task("starting", total=None)
        yield lambda progress: bars.update(task, description=str(progress.get("phase", "")))
