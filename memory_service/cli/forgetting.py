"""`forget`, `receipt`, `namespaces`: what a running service is to forget, and what it forgot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal, cast

import typer

from memory_service.cli import options, tables
from memory_service.client import DEFAULT_URL, Client, Forgotten


def forget(
    memory: Annotated[str | None, typer.Option(metavar="ID", help="One memory.")] = None,
    episode: Annotated[str | None, typer.Option(metavar="ID", help="A whole episode.")] = None,
    generation: Annotated[str | None, typer.Option(metavar="ID", help="A generation.")] = None,
    filter_: options.Filter = None,
    all_: Annotated[bool, typer.Option("--all", help="All memories of the namespace.")] = False,
    drop_namespace: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="All of a namespace: generations and settings, too."),
    ] = None,
    namespace: options.Namespace = "default",
    modality: Annotated[
        str | None, typer.Option("--modality", "-m", help="With --filter or --all: only these.")
    ] = None,
    expected: Annotated[
        int | None, typer.Option(help="How many memories there are to be forgotten.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count them.")] = False,
    descendants: Annotated[
        str | None, typer.Option(help="What was generated from it: mark (default) or erase.")
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Until it is out of the write-ahead log, too.")
    ] = False,
    probe: Annotated[
        bool, typer.Option("--probe", help="Look for it before and after, and tell.")
    ] = False,
    no_receipt: Annotated[
        bool, typer.Option("--no-receipt", help="The service keeps no receipt.")
    ] = False,
    no_follow: Annotated[
        bool, typer.Option("--no-follow", help="Do not wait for the end of what takes long.")
    ] = False,
    as_json: options.AsJson = False,
    url: options.Url = DEFAULT_URL,
) -> None:
    """Delete for good, and print the receipt."""
    single = {"memory": memory, "episode": episode, "generation": generation}
    named = [name for name, each in single.items() if each is not None]
    by_filter = filter_ is not None or all_
    if len(named) + by_filter + (drop_namespace is not None) != 1:
        options.fail(
            "give one of --memory, --episode, --generation, --filter, --all and --drop-namespace"
        )
    how: dict[str, Any] = {"wait": wait, "probe": probe, "keep_receipt": not no_receipt}
    if descendants is not None:
        how["descendants"] = cast(Literal["mark", "erase"], descendants)
    with options.service(url) as client:
        if by_filter or drop_namespace is not None:
            count = _count(client, filter_, all_, namespace, modality, drop_namespace)
            if dry_run:
                _print_count(count, as_json)
                return
            if expected is None:
                options.fail(_how_to(count))
        if drop_namespace is not None:
            receipt = client.forget_namespace(
                drop_namespace, expected=expected, follow=not no_follow, **how
            )
        elif by_filter:
            assert expected is not None
            receipt = client.forget_matching(
                options.json_object("--filter", filter_),
                namespace=namespace,
                modality=modality,
                all=all_,
                expected=expected,
                follow=not no_follow,
                **how,
            )
        else:
            receipt = _forget_one(client, named[0], str(single[named[0]]), how)
    _print(receipt, as_json)


def _count(
    client: Client,
    filter_: str | None,
    all_: bool,
    namespace: str,
    modality: str | None,
    drop_namespace: str | None,
) -> int:
    if drop_namespace is not None:
        return int(client.namespace(drop_namespace)["memories"])
    filter = options.json_object("--filter", filter_)
    return client.count_matching(filter, namespace=namespace, modality=modality, all=all_)


def _how_to(count: int) -> str:
    if not count:
        return "no memory matches: there is nothing to forget"
    memories = "1 memory" if count == 1 else f"{count:,} memories"
    return f"nothing was forgotten: {memories} would be; to do it, add --expected {count}"


def _forget_one(client: Client, what: str, name: str, how: dict[str, Any]) -> Forgotten:
    calls = {
        "memory": client.forget,
        "episode": client.forget_episode,
        "generation": client.forget_generation,
    }
    return calls[what](name, **how)


def _print_count(count: int, as_json: bool) -> None:
    if as_json:
        options.print_json({"expected": count})
    else:
        options.output.print(tables.mapping_table({"memories": count}, "would be forgotten"))


def receipt(
    receipt_id: Annotated[str, typer.Argument(metavar="ID")],
    as_json: options.AsJson = False,
    url: options.Url = DEFAULT_URL,
) -> None:
    """Show the receipt of an earlier deletion."""
    with options.service(url) as client:
        found = client.receipt(receipt_id)
    _print(found, as_json)


def _print(found: Forgotten, as_json: bool) -> None:
    if as_json:
        options.print_json(asdict(found))
        return
    removed = {name.replace("_", " "): count for name, count in found.removed.items() if count}
    if found.generations_marked:
        removed["generations marked"] = len(found.generations_marked)
    options.output.print(tables.mapping_table(removed, f"forgotten: receipt {found.id}"))
    if not found.complete:
        job = "" if found.job is None else f"see GET /jobs/{found.job}, and "
        options.output.print(
            "not complete: it goes on in the service, or was interrupted; "
            f"{job}memory-service receipt {found.id}"
        )
    for each in found.damaged:
        options.output.print(f"damaged, and forgotten all the same: {each}")
    if found.probe is not None:
        options.output.print(tables.mapping_table(found.probe, "probe"))
        absent = found.probe["absent"]
        options.output.print("nothing of it is left" if absent else "something of it is left")


def namespaces(as_json: options.AsJson = False, url: options.Url = DEFAULT_URL) -> None:
    """Show which namespaces there are, and how much each holds."""
    with options.service(url) as client:
        found = client.namespaces()
    if as_json:
        options.print_json({"namespaces": list(found)})
    elif found:
        shown: list[Mapping[str, Any]] = [
            {k: v for k, v in each.items() if k != "by_modality"} for each in found
        ]
        options.output.print(tables.rows_table(shown, "namespaces"))
    else:
        options.output.print("nothing is held")
