"""`fsck`: checks the folder of a stopped service, and repairs what loses nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memory_service.cli import options, tables
from memory_service.errors import MemoryServiceError
from memory_service.settings import Settings

if TYPE_CHECKING:
    from memory_service.storage.fsck.run import Report

SHOWN = 50  # findings in the table; --json has all
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
    if report.findings:
        shown: list[Mapping[str, Any]] = [asdict(each) for each in report.findings[:SHOWN]]
        options.output.print(tables.rows_table(shown, f"{len(report.findings)} findings"))
    if report.quarantined:
        options.output.print(f"{report.quarantined} files are in quarantine")
    options.output.print(f"{report.left} findings are left" if report.left else "nothing is amiss")
