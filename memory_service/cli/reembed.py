"""`reembed`: a store's memories into another profile's space; on its folder, or over HTTP."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from memory_service.cli import options, reembed_tables, waiting
from memory_service.errors import MemoryServiceError
from memory_service.settings import Settings


def reembed(
    profile: Annotated[
        str | None, typer.Option(help="Profile to re-embed into: bundled, openclip or fake.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of the memory; its service must be stopped.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="Address of a running service, to do it there instead.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only predict time and disk.")] = False,
    no_switch: Annotated[
        bool, typer.Option("--no-switch", help="Stop before the switch; run again to switch.")
    ] = False,
    accept_failures: Annotated[
        bool,
        typer.Option("--accept-failures", help="Switch though some memories have no new vector."),
    ] = False,
    rollback: Annotated[
        bool,
        typer.Option("--rollback", help="Take back the last switch, or drop what is unfinished."),
    ] = False,
    drop_old: Annotated[
        bool, typer.Option("--drop-old", help="Delete the vectors kept from before the switch.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Re-embed all memories into another profile's space, then switch to it."""
    if sum((profile is not None, rollback, drop_old)) != 1:
        options.fail("give one of --profile, --rollback and --drop-old")
    if profile is None and (dry_run or no_switch or accept_failures):
        options.fail("--dry-run, --no-switch and --accept-failures go with --profile only")
    if url is not None and data_dir is not None:
        options.fail("give --data-dir or --url: a folder, or the service that runs on one")
    body = {
        "profile": profile,
        "dry_run": dry_run,
        "switch": not no_switch,
        "accept_failures": accept_failures,
    }
    if url is not None:
        done = _over_http(url, body, rollback=rollback, drop_old=drop_old)
    else:
        done = _in_folder(data_dir, body, rollback=rollback, drop_old=drop_old)
    if as_json:
        options.print_json(done)
    else:
        for table in reembed_tables.tables(done):
            options.output.print(table)
    if done.get("state", "succeeded") != "succeeded":
        error = done.get("error") or {"message": f"the job was {done['state']}"}
        options.fail(str(error["message"]))


def _over_http(
    url: str, body: Mapping[str, Any], *, rollback: bool, drop_old: bool
) -> Mapping[str, Any]:
    with options.service(url) as client:
        if drop_old:
            return client.drop_vectors("old")
        job = client.rollback() if rollback else client.reembed(**body)
        with _progress() as show:
            return waiting.ended(client, job, show).raw


def _in_folder(
    data_dir: Path | None, body: Mapping[str, Any], *, rollback: bool, drop_old: bool
) -> Mapping[str, Any]:
    given: dict[str, Any] = {} if data_dir is None else {"data_dir": data_dir}
    if body["profile"] is not None:
        given["profile"] = body["profile"]
    settings = Settings(**given)
    if not (settings.data_dir / "catalog.sqlite3").exists():
        options.fail(f"{settings.data_dir} holds no memory: name its folder with --data-dir")
    # Before numpy, torch and FAISS are imported: see `serve`.
    os.environ.setdefault("OMP_NUM_THREADS", str(settings.threads))
    from encoders.errors import ModelUnavailable, UnknownName
    from memory_service import bootstrap
    from memory_service.services import reembedding

    try:
        if rollback or drop_old:
            with bootstrap.open_store(settings) as store:
                if rollback:
                    return reembedding.rollback(store)
                return {"dropped": store.standby.drop("old")}
        with bootstrap.build(settings) as application, _progress() as show:
            request = reembedding.Request(**body)
            job = application.reembedding.run(request, lambda job: show(job.progress))
            return reembed_tables.as_mapping(job)
    except (MemoryServiceError, ModelUnavailable, UnknownName) as error:
        options.fail(str(error))


@contextmanager
def _progress() -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A function that shows a job's progress as a bar per modality, on stderr."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rest]}"),
    )
    with Progress(*columns, console=options.errors) as bars:
        tasks: dict[str, TaskID] = {}

        def show(progress: Mapping[str, Any]) -> None:
            eta_s = progress.get("eta_s")
            rest = "" if eta_s is None else f"about {eta_s:.0f} s left in all"
            for modality, counts in progress.get("modalities", {}).items():
                if modality not in tasks:
                    tasks[modality] = bars.add_task(modality, total=None, rest="")
                bars.update(
                    tasks[modality],
                    total=counts["memories"],
                    completed=counts["embedded"] + counts["failed"],
                    rest=rest,
                )

        yield show
