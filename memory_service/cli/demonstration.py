"""`demo`: a service of its own, the sample stored, recall, generation; results as files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from memory_service.cli import options
from memory_service.cli.folder import import_with_progress
from memory_service.client import Client, ServiceError
from memory_service.importer import Outcome, Scan

SAMPLES = Path("samples/tuxpaint-stamps")


def demo(
    samples: Annotated[Path, typer.Option(help="Folder of pictures, texts, sounds.")] = SAMPLES,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("out"),
    profile: Annotated[str | None, typer.Option(help="bundled, openclip or fake.")] = None,
) -> None:
    """Show it: store the sample, recall across modalities, generate; see out/report.html."""
    # Not before it is asked for: the demo brings numpy and sound decoding with it.
    from memory_service.demo.run import SERVICE_LOG, run
    from memory_service.demo.service import DemoError

    try:
        written = run(
            samples,
            out,
            profile=profile,
            import_all=_import_all,
            say=lambda line: options.output.print(f"[dim]{escape(line)}[/]"),
        )
    except (DemoError, ServiceError, OSError, ValueError) as error:
        options.errors.print(f"[bold red]the demo failed:[/] {escape(str(error))}", soft_wrap=True)
        if (out / SERVICE_LOG).is_file():
            options.errors.print(f"log of the service: {escape(str(out / SERVICE_LOG))}")
        raise typer.Exit(1) from None
    from memory_service.cli.demonstration_tables import creation_table, recall_table

    options.output.print(recall_table(written.findings))
    options.output.print(creation_table(written.findings))
    seconds = Table("step", "seconds", title="time")
    for step, value in written.findings.seconds.items():
        seconds.add_row(step, f"{value:.1f}")
    options.output.print(seconds)
    for path in (written.report, written.contact_sheet, written.retrieval, written.generation):
        typer.echo(str(path))
    for path in written.generated:
        typer.echo(str(path))


def _import_all(client: Client, found: Scan, on_outcome: Callable[[Outcome], None]) -> None:
    import_with_progress(client, found, options.output, on_outcome=on_outcome)
