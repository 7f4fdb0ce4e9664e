"""Options that several commands share, and the way a command ends with an error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import httpx
import typer
from rich.console import Console

from memory_service.client import DEFAULT_URL, Client, ServiceError
from memory_service.client.failures import told

output = Console()
errors = Console(stderr=True)

Url = Annotated[
    str, typer.Option("--url", envvar="MEMORY_SERVICE_URL", help="Address of the service.")
]
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="Memory to use.")]
Images = Annotated[
    list[Path] | None, typer.Option("--image", help="Picture file; may be given several times.")
]
Texts = Annotated[list[str] | None, typer.Option("--text", help="Text; @FILE reads a file.")]
Sounds = Annotated[
    list[Path] | None, typer.Option("--audio", help="Sound file; may be given several times.")
]
Series = Annotated[
    list[Path] | None,
    typer.Option("--sensor", help="Time series, CSV or JSON; may be given several times."),
]
OtherMedia = Annotated[
    list[str] | None,
    typer.Option("--media", metavar="NAME=FILE", help="File of another modality."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
K = Annotated[int | None, typer.Option("--k", "-k", help="Memories per modality.")]
Episodes = Annotated[int | None, typer.Option("--k", "-k", help="Episodes that it draws on.")]
Mode = Annotated[str | None, typer.Option("--mode", help="direct, associative or auto.")]
Filter = Annotated[
    str | None, typer.Option("--filter", help='Metadata to match: {"place": "farm"}.')
]


ContextWeight = Annotated[
    float | None, typer.Option("--context-weight", help="Share of the trace in the query.")
]
RecencyWeight = Annotated[
    float | None, typer.Option("--recency-weight", help="Share of recency in the score.")
]
StrengthWeight = Annotated[
    float | None, typer.Option("--strength-weight", help="Share of strength in the score.")
]
NoReinforce = Annotated[
    bool, typer.Option("--no-reinforce", help="Recalled memories do not grow stronger.")
]


def fail(message: str, code: int = 1) -> NoReturn:
    """One line on stderr, and the exit code."""
    errors.print(f"[bold red]error:[/] {_plain(message)}", highlight=False, soft_wrap=True)
    raise typer.Exit(code)


def _plain(message: str) -> str:
    from rich.markup import escape

    return escape(" ".join(message.split()))


@contextmanager
def service(url: str = DEFAULT_URL) -> Iterator[Client]:
    """A client; whatever goes wrong inside becomes one line and exit code 1."""
    try:
        with Client(url) as client:
            yield client
    except ServiceError as error:
        fail(told(error))
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except (TypeError, ValueError, httpx.InvalidURL) as error:
        fail(str(error))


def texts(given: list[str] | None) -> list[str | Path] | None:
    """`@notes.txt` is the file, everything else the text itself."""
    if given is None:
        return None
    return [Path(text[1:]) if text.startswith("@") else text for text in given]


def other_media(given: list[str] | None) -> dict[str, list[Path]]:
    """`depth=map.bin` is a file of modality depth."""
    media: dict[str, list[Path]] = {}
    for each in given or ():
        name, separator, file = each.partition("=")
        if not (name and separator and file):
            fail(f"--media takes NAME=FILE, not {each!r}")
        media.setdefault(name, []).append(Path(file))
    return media


def json_object(name: str, given: str | None) -> dict[str, Any] | None:
    if given is None:
        return None
    try:
        value = json.loads(given)
    except ValueError as error:
        fail(f"{name} is not JSON: {error}")
    if not isinstance(value, dict):
        fail(f"{name} must be a JSON object")
    return value


def names(given: list[str] | None) -> list[str] | None:
    """`a,b` and repeated options both make a list."""
    if not given:
        return None
    return [name.strip() for value in given for name in value.split(",") if name.strip()]


def print_json(value: Any) -> None:
    """Plain, unwrapped JSON on stdout."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))
