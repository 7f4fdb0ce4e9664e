"""`serve`: the service itself, under uvicorn."""

from __future__ import annotations

import os
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from memory_service.cli import options
from memory_service.settings import Settings


def serve(
    host: Annotated[str | None, typer.Option(help="Address to bind to.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the memory.")] = None,
    profile: Annotated[str | None, typer.Option(help="bundled, openclip or fake.")] = None,
    threads: Annotated[int | None, typer.Option(help="Numeric threads.")] = None,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Bind to an address others can reach.")
    ] = False,
    log_level: Annotated[str, typer.Option(help="Level of the log.")] = "info",
) -> None:
    """Start the service. Options override the environment variables MEMORY_SERVICE_*."""
    given = {
        "host": host,
        "port": port,
        "data_dir": data_dir,
        "profile": profile,
        "threads": threads,
    }
    settings = _settings({name: value for name, value in given.items() if value is not None})
    if not allow_remote and not is_loopback(settings.host):
        options.fail(
            f"{settings.host} can be reached by others, and there is no authentication yet: "
            "add --allow-remote if that is what you want"
        )
    # Before numpy, torch and FAISS are imported: their pools read it once, and two spinning pools
    # beside each other are many times slower than one thread each.
    os.environ.setdefault("OMP_NUM_THREADS", str(settings.threads))
    import uvicorn

    from memory_service.api import create_app

    uvicorn.run(
        create_app(settings=settings),
        host=settings.host,
        port=settings.port,
        log_level=log_level,
        timeout_graceful_shutdown=10,
    )


def _settings(given: dict[str, Any]) -> Settings:
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        options.fail(f"setting {where}: {first['msg']}")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`; a name other than localhost counts as remote."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
