"""`inspect`: what a generated file says of itself. Needs no service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from memory_service import manifest
from memory_service.cli import options, tables

BEARERS = (b"\x89PNG", b"RIFF")  # PNG and WAV


def inspect(
    file: Annotated[Path, typer.Argument(help="PNG or WAV.", metavar="FILE")],
    as_json: options.AsJson = False,
) -> None:
    """Show the manifest in a generated picture or sound: memories, seed, models."""
    try:
        content = file.read_bytes()
    except OSError as error:
        options.fail(str(error))
    found = manifest.read(content)
    if found is None:
        if not content.startswith(BEARERS):
            options.fail(
                f"{file} is no PNG or WAV, and only these carry a manifest: generated texts bear "
                "none, the record of the generation says what they were made from "
                "(memory-service generations)"
            )
        options.fail(
            f"{file} carries no manifest: it was not made by this service, or a programme that "
            "wrote it anew has dropped it"
        )
    if as_json:
        options.print_json(found)
        return
    facts = {name: _told(value) for name, value in found.items() if name != "memories"}
    options.output.print(tables.mapping_table(facts, str(file)))
    options.output.print(_memories(found.get("memories")))


def _told(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {each}" for name, each in value.items())
    return str(value)


def _memories(listed: Any) -> Table:
    """Whoever wrote the file wrote this: what is no table of memories is left out."""
    table = Table("modality", "weight", title="made from")
    table.add_column("memory", no_wrap=True, min_width=36)
    for each in listed if isinstance(listed, list) else []:
        if isinstance(each, dict):
            cells = (str(each.get(name, "")) for name in ("modality", "weight", "memory_id"))
            table.add_row(*map(escape, cells))
    return table
