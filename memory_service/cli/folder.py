"""`import`: a folder into memory, with a progress bar; run again, it goes on where it was."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from memory_service.cli import options, tables
from memory_service.client import DEFAULT_URL, Client, ServiceError
from memory_service.client.failures import told
from memory_service.importer import Outcome, Scan, Tally, scan, store_bundles


def import_folder(
    folder: Annotated[Path, typer.Argument(help="cat.png, cat.txt, cat.ogg make one episode.")],
    workers: Annotated[int, typer.Option(min=1, max=16, help="Requests at a time.")] = 2,
    namespace: options.Namespace = "default",
    as_json: options.AsJson = False,
    url: options.Url = DEFAULT_URL,
) -> None:
    """Import a folder: files that share a stem become one episode. May be run again."""
    with options.service(url) as client:
        found = scan(folder)
        if not found.bundles:
            options.fail(f"{folder} has no picture, text, sound or series")
        try:
            tally = import_with_progress(client, found, options.errors, namespace, workers)
        except ServiceError as error:
            again = "What was stored stays: run the same command again to go on"
            options.fail(f"{told(error)} {again}")
    if as_json:
        ignored = [str(path) for path in found.ignored]
        options.print_json({**asdict(tally), "ignored": ignored})
    else:
        options.output.print(tables.import_table(found, tally))
        for path, reason in tally.rejected:
            options.output.print(f"[red]rejected[/] {escape(path)}: {escape(reason)}")
    if tally.rejected:
        raise typer.Exit(1)


def import_with_progress(
    client: Client,
    found: Scan,
    console: Console,
    namespace: str = "default",
    workers: int = 2,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
) -> Tally:
    """Store the bundles of `found`. Raises `ServiceError` when the service fails."""
    tally = Tally()
    columns = (
        TextColumn("importing"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    progress = Progress(*columns, console=console, transient=False)
    task = progress.add_task("", total=len(found.bundles))
    with ExitStack() as shown:

        def record(outcome: Outcome) -> None:
            if not tally.counts:  # not before: a service that refuses everything leaves no bar
                shown.enter_context(progress)
            tally.add(outcome)
            on_outcome(outcome)
            counts = ", ".join(f"{count} {status}" for status, count in tally.counts.items())
            progress.update(task, advance=1, description=counts)

        store_bundles(
            client, found.bundles, namespace=namespace, workers=workers, on_outcome=record
        )
    return tally
