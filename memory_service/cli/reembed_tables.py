"""What a re-embedding predicts, proves and compares, as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from rich.markup import escape
from rich.table import Table

from memory_service.cli.tables import mapping_table
from memory_service.records import Job

MOST_SHOWN = 20  # failures; --json has more


def as_mapping(job: Job) -> Mapping[str, Any]:
    return asdict(job)


def tables(done: Mapping[str, Any]) -> Iterator[Table]:
    """Of a job, or of what a rollback or a drop did."""
    if "state" not in done:
        names = {"dropped": "vectors deleted", "switched": "switched back"}
        shown = {names.get(name, name): str(value) for name, value in done.items()}
        yield mapping_table(shown, "reembed")
        return
    result = {**(done.get("error") or {}), **(done.get("result") or {})}
    if "forecast" in result:
        yield _forecast(result["forecast"])
    if "proof" in result:
        yield _proof(result["proof"])
        if result["proof"]["failures"]:
            yield _failures(result["proof"])
    if "recall" in result:
        yield _recall(result["recall"])
    if "dropped" in result:
        yield mapping_table({"vectors deleted": f"{result['dropped']:,}"}, "reembed")
    elif "switched" in result:
        switched = "yes" if result["switched"] else "no: run it again without --no-switch"
        yield mapping_table({"switched": switched, "job": done["id"]}, "reembed")


def _forecast(forecast: Mapping[str, Any]) -> Table:
    free = forecast["disk_free_bytes"] / 2**20
    table = Table(
        *("modality", "to embed", "s each", "s", "MiB on disk", "MiB of memory"),
        title=f"forecast ({free:,.0f} MiB are free on the disk)",
    )
    for modality, each in forecast["modalities"].items():
        if each.get("no_encoder"):
            table.add_row(modality, f"{each['no_encoder']:,} have no encoder")
        else:
            pace = each.get("seconds_per_memory", 0.0)
            table.add_row(modality, f"{each['to_embed']:,}", f"{pace:.4f}", *_amounts(each))
    table.add_row("all", f"{forecast['to_embed']:,}", "", *_amounts(forecast))
    return table


def _amounts(each: Mapping[str, Any]) -> tuple[str, str, str]:
    disk, memory = each["disk_bytes"] / 2**20, each["memory_bytes"] / 2**20
    return f"{each['seconds']:,.1f}", f"{disk:,.1f}", f"{memory:,.1f}"


def _proof(proof: Mapping[str, Any]) -> Table:
    title = "complete" if proof["complete"] else "not complete"
    table = Table("modality", "memories", "embedded", "failed", "missing", title=title)
    for modality, each in proof["modalities"].items():
        names = ("memories", "embedded", "failed", "missing")
        table.add_row(modality, *(f"{each[name]:,}" for name in names))
    return table


def _failures(proof: Mapping[str, Any]) -> Table:
    table = Table("memory", "modality", "reason", title=f"{proof['failed']:,} failed")
    for each in proof["failures"][:MOST_SHOWN]:
        table.add_row(each["memory_id"], each["modality"], escape(each["reason"]))
    return table


def _recall(recall: Mapping[str, Any]) -> Table:
    title = f"recall@{recall['k']} of the own episode, {recall['episodes']} episodes"
    table = Table("query -> finds", "queries", "before", "after", title=title)
    for pair, each in recall["recall"].items():
        table.add_row(
            pair, str(each["queries"]), *(_share(each[name]) for name in ("before", "after"))
        )
    for modality, share in recall["neighbours_kept"].items():
        table.add_row(f"{modality}: neighbours that stay", "", "", _share(share))
    return table


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
