"""`keys`: who may use a service. On its data folder, whether it runs or not, or by its `--url`."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from memory_service.cli import options, tables
from memory_service.client import Client
from memory_service.errors import MemoryServiceError

if TYPE_CHECKING:
    from memory_service.services.keys import Keys

app = typer.Typer(no_args_is_help=True, help="Make, list and revoke API keys.")

UNITS_S = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}

DataDir = Annotated[
    Path | None, typer.Option(help="Folder of the memory; default: MEMORY_SERVICE_DATA_DIR.")
]
ServiceUrl = Annotated[
    str | None, typer.Option("--url", help="Ask this service instead, with a key of scope admin.")
]


@app.command()
def create(
    name: Annotated[str, typer.Option(help="What it is for, for people.")],
    scope: Annotated[str, typer.Option(help="read, write (and read) or admin (everything).")],
    namespace: Annotated[
        list[str] | None,
        typer.Option("--namespace", "-n", help="Bind it to this one; may be given several times."),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="12h, 30d, 2w, or a date: 2030-01-31. Default: never.")
    ] = None,
    requests_per_s: Annotated[
        float | None,
        typer.Option(help="Its own limit, 0 for none. Default: that of the service's settings."),
    ] = None,
    bytes_per_min: Annotated[
        int | None, typer.Option(help="Likewise, of request bodies: no body may be larger, either.")
    ] = None,
    data_dir: DataDir = None,
    as_json: options.AsJson = False,
    url: ServiceUrl = None,
) -> None:
    """Make a key and print it: it is told this once, and only a hash of it is kept."""
    with _keeper(data_dir, url) as keeper:
        named = cast(Literal["read", "write", "admin"], scope)  # the keeper knows the valid ones
        made = keeper.create_key(
            name,
            named,
            namespaces=namespace or None,
            expires_at=_moment(expires),
            requests_per_s=requests_per_s,
            bytes_per_min=bytes_per_min,
        )
    if as_json:
        options.print_json(dict(made))
        return
    bound = ", ".join(made["namespaces"] or ["all namespaces"])
    note = f"key {made['id']} ({made['scope']}, {bound}); keep it, it is not told again:"
    options.errors.print(note, highlight=False, markup=False, soft_wrap=True)
    typer.echo(made["key"])


@app.command("list")
def list_(
    data_dir: DataDir = None, as_json: options.AsJson = False, url: ServiceUrl = None
) -> None:
    """List the keys, those that are revoked or expired among them."""
    with _keeper(data_dir, url) as keeper:
        found = list(keeper.api_keys())
    if as_json:
        options.print_json({"keys": [dict(each) for each in found]})
    elif found:
        options.output.print(tables.rows_table([_row(each) for each in found], "keys"))
    else:
        options.output.print("no keys")


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="The id, as `keys list` tells it.")],
    data_dir: DataDir = None,
    as_json: options.AsJson = False,
    url: ServiceUrl = None,
) -> None:
    """Revoke a key: from now on it opens nothing."""
    with _keeper(data_dir, url) as keeper:
        gone = keeper.revoke_key(key_id)
    if as_json:
        options.print_json(dict(gone))
    else:
        options.output.print(f"revoked {gone['id']} ({gone['name']})", markup=False)


def _row(key: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": key["id"],
        "name": key["name"],
        "scope": key["scope"],
        "namespaces": key["namespaces"] or "all",
        "limits": _limits(key),
        "state": _state(key),
    }


def _limits(key: Mapping[str, Any]) -> str:
    """Its own ones: where it has none, those of the settings hold."""
    own = {"/s": key["requests_per_s"], " B/min": key["bytes_per_min"]}
    given = {unit: each for unit, each in own.items() if each is not None}
    return ", ".join(f"{each:,}{unit}" if each else f"any{unit}" for unit, each in given.items())


def _state(key: Mapping[str, Any]) -> str:
    if key["revoked_at"] is not None:
        return f"revoked {_date(key['revoked_at'])}"
    if key["expires_at"] is None:
        return "valid"
    ended = key["expires_at"] <= time.time()
    return f"{'expired' if ended else 'valid until'} {_date(key['expires_at'])}"


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _moment(given: str | None) -> float | None:
    if given is None:
        return None
    if found := re.fullmatch(r"(\d{1,6})([mhdw])", given):
        return time.time() + int(found[1]) * UNITS_S[found[2]]
    try:
        moment = datetime.fromisoformat(given)
    except ValueError:
        options.fail(f"--expires takes 12h, 30d, 2w or a date like 2030-01-31, not {given!r}")
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


@contextmanager
def _keeper(data_dir: Path | None, url: str | None) -> Iterator[Client | _Folder]:
    if url is not None:
        if data_dir is not None:
            options.fail("give either --data-dir or --url")
        with options.service(url) as client:
            yield client
        return
    from memory_service.bootstrap import open_keys
    from memory_service.settings import Settings

    settings = Settings() if data_dir is None else Settings(data_dir=data_dir)
    try:
        with closing(open_keys(settings)) as keys:
            yield _Folder(keys)
    except MemoryServiceError as error:
        options.fail(str(error))


class _Folder:
    """The keys of a data folder, by the names and with the answers of the client."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def create_key(
        self,
        name: str,
        scope: str,
        *,
        namespaces: Sequence[str] | None = None,
        **more: Any,
    ) -> Mapping[str, Any]:
        key, text = self._keys.create(name, scope, namespaces=namespaces, **more)
        return {**key.as_json(), "key": text}

    def api_keys(self) -> Sequence[Mapping[str, Any]]:
        return [key.as_json() for key in self._keys.list()]

    def revoke_key(self, key_id: str) -> Mapping[str, Any]:
        return self._keys.revoke(key_id).as_json()
