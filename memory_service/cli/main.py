"""The typer application: which commands there are."""

from __future__ import annotations

from importlib import metadata
from typing import Annotated

import typer

from memory_service.cli import keys
from memory_service.cli.backups import backup, restore
from memory_service.cli.calls import generate, generations, models, retrieve, stats, store
from memory_service.cli.demonstration import demo
from memory_service.cli.dynamics import consolidate, sweep
from memory_service.cli.evaluation import evaluate
from memory_service.cli.folder import import_folder
from memory_service.cli.forgetting import forget, namespaces, receipt
from memory_service.cli.fsck import fsck
from memory_service.cli.inspection import inspect
from memory_service.cli.reembed import reembed
from memory_service.cli.serve import serve

app = typer.Typer(
    name="memory-service",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"memory-service {metadata.version('simmim')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Tell the version.")
    ] = False,
) -> None:
    """A memory for pictures, texts and sounds: store, recall, generate."""


app.command()(serve)
app.command()(store)
app.command()(retrieve)
app.command()(generate)
app.command()(generations)
app.command()(inspect)
app.command("import")(import_folder)
app.command()(forget)
app.command()(receipt)
app.command()(namespaces)
app.command()(fsck)
app.command()(backup)
app.command()(restore)
app.command()(stats)
app.command()(consolidate)
app.command()(sweep)
app.command()(reembed)
app.command()(models)
app.command()(evaluate)
app.command()(demo)
app.add_typer(keys.app, name="keys")
