"""`sweep` and `consolidate`: upkeep of a running service."""

from __future__ import annotations

from typing import Annotated

import typer

from memory_service.cli import options, tables, waiting
from memory_service.client import DEFAULT_URL

SHOWN = 20  # groups in the table; --json has more


def sweep(as_json: options.AsJson = False, url: options.Url = DEFAULT_URL) -> None:
    """Delete for good now what has expired."""
    with options.service(url) as client:
        deleted = client.sweep()
    if as_json:
        options.print_json({"deleted": deleted})
    else:
        options.output.print(tables.mapping_table({"expired and deleted": deleted}, "sweep"))


def consolidate(
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Default: all namespaces.")
    ] = None,
    modality: Annotated[
        list[str] | None, typer.Option("--modality", "-m", help="image,text,audio; default all.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Cosine from which two are near-duplicates.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell the groups.")] = False,
    undo: Annotated[
        str | None, typer.Option(metavar="ID", help="Take apart a prototype, or all of a job.")
    ] = None,
    as_json: options.AsJson = False,
    url: options.Url = DEFAULT_URL,
) -> None:
    """Let one prototype stand for each group of near-duplicates."""
    if undo is not None and (namespace or modality or threshold is not None or dry_run):
        options.fail("--undo goes with no other option than --url and --json")
    with options.service(url) as client:
        if undo is not None:
            gone = client.undo_consolidation(undo)
            _print_undone(gone, as_json)
            return
        job = client.consolidate(
            namespace=namespace,
            modalities=options.names(modality),
            threshold=threshold,
            dry_run=dry_run,
        )
        job = waiting.ended(client, job)
    if as_json:
        options.print_json(job.raw)
    elif job.result is not None:
        counts = {name: job.result[name] for name in ("seen", "groups", "members")}
        options.output.print(tables.mapping_table(counts, f"consolidation {job.id}"))
        if job.result["listed"]:
            options.output.print(tables.rows_table(job.result["listed"][:SHOWN], "groups"))
    if job.state != "succeeded":
        options.fail(str((job.error or {}).get("message", f"the job was {job.state}")))


def _print_undone(gone: tuple[str, ...], as_json: bool) -> None:
    if as_json:
        options.print_json({"prototype_ids": list(gone)})
    else:
        options.output.print(tables.mapping_table({"prototypes taken apart": len(gone)}, "undo"))
