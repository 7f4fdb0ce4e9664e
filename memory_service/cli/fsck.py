"""`fsck`: checks the folder of a stopped service, and repairs what loses nothing."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from memory_service.cli import options, tables
from memory_service.errors import MemoryServiceError
from memory_service.settings import Settings

if TYPE_CHECKING:
    from memory_service.storage.fsck.run import Report

SHOWN = 50  # findings; --json has all
FOUND, NOT_RUN = 1, 2  # exit codes


def fsck(
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of the memory; its service must be stopped.")
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend what can be mended without losing anything.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Check contents by their size, not by their hash.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Compare catalog, contents, vectors and traces. Exit code 0: all is well, or was repaired; 1:
    something is left; 2: could not run."""
    from memory_service.storage.fsck.run import check

    folder = Settings().data_dir if data_dir is None else data_dir
    try:
        report = check(folder, repair=repair, quick=quick)
    except MemoryServiceError as error:
        options.fail(str(error), NOT_RUN)
    if as_json:
        options.print_json({**asdict(report), "counts": report.counts, "left": report.left})
    else:
        _print(report)
    if report.left:
        raise typer.Exit(FOUND)


def _print(report: Report) -> None:
    options.output.print(tables.mapping_table(report.checked, "checked"))
    # Lines, not a table: its columns would break words where there is little room.
    for each in report.findings[:SHOWN]:
        options.output.print(escape(f"{each.kind} {each.subject}: {each.detail}"))
        options.output.print(escape(f"  {'repaired: ' if each.repaired else ''}{each.note}"))
    if len(report.findings) > SHOWN:
        options.output.print(f"{len(report.findings) - SHOWN:,} more: see --json")
    if report.quarantined:
        options.output.print(f"{_counted(report.quarantined, 'file')} in quarantine")
    left = _counted(report.left, "finding")
    options.output.print(f"{left} left" if report.left else "nothing is amiss")


def _counted(count: int, what: str) -> str:
    return f"1 {what} is" if count == 1 else f"{count:,} {what}s are"
