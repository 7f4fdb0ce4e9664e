"""`backup` and `restore`: a data folder into a folder of backups, and back into a new one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from memory_service.cli import options, tables, waiting
from memory_service.errors import MemoryServiceError
from memory_service.settings import Settings

if TYPE_CHECKING:
    from memory_service.storage.backup import Manifest
    from memory_service.storage.copying import Progress as Done

RESTORED = (
    "the API keys are as they were when the backup was made, those that were revoked since "
    "included: see memory-service keys list"
)
LACKING = (
    "API keys and the audit log are not in this backup: memory-service keys create makes new ones, "
    "backup --with-access copies them"
)


def backup(
    target: Annotated[
        str, typer.Argument(help="Folder of the backup, new or made before; with --url its name.")
    ],
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of the memory; its service may run.")
    ] = None,
    hard_links: Annotated[
        bool,
        typer.Option("--hard-links", help="Link contents rather than copy them, where possible."),
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read again what an earlier backup has.")
    ] = False,
    with_access: Annotated[
        bool, typer.Option("--with-access", help="The API keys and the audit log, too.")
    ] = False,
    url: Annotated[
        str | None, typer.Option(help="Address of a service, to have it make the backup.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Make a consistent copy of the memory; made again into the same folder, of what is new."""
    if url is not None and (data_dir is not None or hard_links or verify):
        options.fail("--url goes with none of --data-dir, --hard-links and --verify")
    if url is not None:
        with options.service(url) as client:
            job = waiting.ended(client, client.backup(target, with_access=with_access))
        if job.state != "succeeded":
            options.fail(str((job.error or {}).get("message", f"the job was {job.state}")))
        _print(job.result or {}, as_json, "backup")
        return
    from memory_service.storage.backup import backup as make

    folder = Settings().data_dir if data_dir is None else data_dir
    with _failing(), _shown() as show:
        manifest, done = make(
            folder,
            Path(target),
            time.time(),
            hard_links=hard_links,
            verify=verify,
            with_access=with_access,
            on_progress=show,
        )
    _print(_told(manifest, done), as_json, "backup")


def restore(
    source: Annotated[Path, typer.Argument(help="Folder of a backup.")],
    data_dir: Annotated[Path, typer.Option(help="Folder to be made, new or empty.")],
    as_json: options.AsJson = False,
) -> None:
    """Make a memory of a backup, every content verified."""
    from memory_service.storage.backup import restore as make

    with _failing(), _shown() as show:
        manifest, done = make(source, data_dir, on_progress=show)
    _print(_told(manifest, done), as_json, "restore")
    if not as_json:
        access = RESTORED if manifest.access_sha256 else LACKING
        options.errors.print(access, highlight=False, markup=False, soft_wrap=True)


def _told(manifest: Manifest, done: Done) -> dict[str, Any]:
    named = sorted(manifest.access_sha256)
    return {**asdict(done), "memories": manifest.memories, "access": named}


def _print(told: Mapping[str, Any], as_json: bool, title: str) -> None:
    """Damaged contents are told, and are exit code 1: the rest is whole."""
    if as_json:
        options.print_json(told)
    else:
        shown = {name.replace("_", " "): each for name, each in told.items() if name != "damaged"}
        shown["access"] = ", ".join(told.get("access", ())) or "not in it"
        options.output.print(tables.mapping_table(shown, title))
    if damaged := told.get("damaged"):
        options.fail(
            f"{len(damaged)} contents of the memory are missing or altered, and not in the backup: "
            "memory-service fsck tells which"
        )


@contextmanager
def _failing() -> Iterator[None]:
    try:
        yield
    except MemoryServiceError as error:
        options.fail(str(error))


@contextmanager
def _shown() -> Iterator[Callable[[Done], None]]:
    """A function that shows how far it is as a bar, on stderr."""
    columns = (TextColumn("contents"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=options.errors) as bars:
        task = bars.add_task("", total=None)

        def show(done: Done) -> None:
            bars.update(task, total=done.contents, completed=done.done)

        yield show
