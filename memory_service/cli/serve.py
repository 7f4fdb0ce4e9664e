"""`serve`: the service itself, under uvicorn."""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from memory_service import logs
from memory_service.cli import options
from memory_service.errors import MemoryServiceError
from memory_service.settings import Settings, asks_for_keys, is_loopback

if TYPE_CHECKING:
    from memory_service.app import Application

log = logging.getLogger(__name__)

LOOPBACK = ("localhost", "127.0.0.1", "::1")
LEVELS = ("debug", "info", "warning", "error", "critical")


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to bind to; 127.0.0.1 by default.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port, 8000 by default; 0 takes a free one.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of the memory; data by default.")
    ] = None,
    profile: Annotated[
        str | None, typer.Option(help="bundled (default), openclip or fake.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Numeric threads.")] = None,
    allow_remote: Annotated[
        bool,
        typer.Option("--allow-remote", help="Ask for no keys on an address others can reach."),
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
    if allow_remote and settings.auth == "loopback-open":
        settings = settings.model_copy(update={"auth": "open"})
    if asks_for_keys(settings):
        _require_key(settings)
    # Before numpy, torch and FAISS are imported: their pools read it once, and two spinning pools
    # beside each other are many times slower than one thread each.
    os.environ.setdefault("OMP_NUM_THREADS", str(settings.threads))
    if log_level not in LEVELS:
        options.fail(f"--log-level must be one of {', '.join(LEVELS)}, not {log_level!r}")
    logs.configure(log_level, settings.log)
    from memory_service.api import create_app
    from memory_service.cli.server import run

    with _application(settings) as application:
        run(create_app(application, hosts=hosts_of(settings)), settings, application)


def _require_key(settings: Settings) -> None:
    """A service that asks for keys and has none could not be used, and tempts to open it to all."""
    from memory_service.bootstrap import open_keys

    try:
        with closing(open_keys(settings)) as keys:
            if keys.any_valid():
                return
    except MemoryServiceError as error:
        options.fail(str(error))
    where = f"--data-dir {shlex.quote(str(settings.data_dir))}"
    reached = "asks for API keys"
    otherwise = ""
    if settings.auth != "required":
        reached = f"would listen on {settings.host}, which others can reach"
        otherwise = (
            ". Where something else decides who comes in, start it with --allow-remote "
            "(MEMORY_SERVICE_AUTH=open): then it asks for no key"
        )
    options.fail(
        f"the service {reached}, and the memory in {settings.data_dir} has no valid key yet. "
        f"Make one: memory-service keys create --name first --scope admin {where}{otherwise}"
    )


@contextmanager
def _application(settings: Settings) -> Iterator[Application]:
    """The application; what keeps it from starting becomes one line and exit code 1."""
    from encoders.errors import ModelUnavailable, UnknownName
    from memory_service.bootstrap import build
    from memory_service.storage.folder import require_not_held

    # The profile openclip imports for seconds before it can say that it lacks weights.
    folder = settings.data_dir.resolve()
    try:
        require_not_held(folder)  # before seconds of loading
    except MemoryServiceError as error:
        options.fail(str(error))
    log.info("loading profile %s; the memory is in %s", settings.profile, folder)
    try:
        application = build(settings)
    except (MemoryServiceError, ModelUnavailable, UnknownName) as error:
        options.fail(str(error))
    if mismatch := application.mismatch():  # an operator should not wait for a request
        log.warning("%s", mismatch)
    try:
        yield application
    finally:
        application.close()


def _settings(given: dict[str, Any]) -> Settings:
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        options.fail(f"setting {where}: {first['msg']}")


def hosts_of(settings: Settings) -> list[str] | None:
    """The names that requests may bear; None for any."""
    named = [host.strip() for host in settings.allowed_hosts.split(",") if host.strip()]
    if named == ["auto"]:
        return [*LOOPBACK, settings.host] if is_loopback(settings.host) else None
    return None if "*" in named else named
