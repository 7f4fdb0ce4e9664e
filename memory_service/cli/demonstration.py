"""`demo`: a service of its own, the sample stored, recall, generation; results as files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

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
    from memory_service.demo.telling import time_line

    try:
        written = run(
            samples,
            out,
            profile=profile,
            import_all=_import_all,
            say=lambda line: options.output.print(escape(line), highlight=False, soft_wrap=True),
        )
    except (DemoError, ServiceError, OSError, ValueError) as error:
        options.errors.print(f"[bold red]the demo failed:[/] {escape(str(error))}", soft_wrap=True)
        if (out / SERVICE_LOG).is_file():
            options.errors.print(f"log of the service: {escape(str(out / SERVICE_LOG))}")
        raise typer.Exit(1) from None
    typer.echo(time_line(written.findings.seconds))
    typer.echo(f"\nWhat was asked, found and made, to see and to hear:  {written.report}")
    typer.echo(f"The same as one picture:  {written.contact_sheet}")
    typer.echo(f"The service's own answers, what was generated, its log:  {out}/")
    typer.echo('Next: make serve, and the README\'s "Use it" in another terminal')


def _import_all(client: Client, found: Scan, on_outcome: Callable[[Outcome], None]) -> None:
    import_with_progress(client, found, options.output, on_outcome=on_outcome)
