"""Receipts of forgettings in the catalog: what was deleted, by ids and hashes, without content.

A receipt has one row, with counts and digest, which each transaction of its forgetting replaces;
the lists are in parts, one of each transaction, so that none is written twice.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection
from typing import Any

from memory_service.errors import NotFound
from memory_service.records import Forgotten
from memory_service.storage.catalog import Catalog
from memory_service.storage.tally import LISTS, MOST_LISTED, Part, Tally


def write(connection: sqlite3.Connection, tally: Tally, part: Part, *, complete: bool) -> None:
    """Within the transaction that deletes what the part says."""
    # Not REPLACE, which would delete the row first, and with it those that refer to it.
    connection.execute(
        "INSERT INTO receipts VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
        " ON CONFLICT (id) DO UPDATE SET complete = ?5, facts = ?6",
        (
            tally.id,
            tally.time,
            tally.what,
            tally.namespace,
            complete,
            json.dumps(tally.facts(part)),
        ),
    )
    if part.lists:
        connection.execute(
            "INSERT INTO receipt_parts (receipt_id, lists) VALUES (?, ?)",
            (tally.id, json.dumps(part.lists)),
        )


def get(catalog: Catalog, receipt_id: str) -> Forgotten:
    """Raises NotFound."""
    found = catalog.select("SELECT * FROM receipts WHERE id = ?", (receipt_id,))
    if not found:
        raise NotFound(f"there is no receipt {receipt_id!r}", kind="receipt", id=receipt_id)
    lists: dict[str, dict[str, None]] = {name: {} for name in LISTS}
    for row in catalog.select(
        "SELECT lists FROM receipt_parts WHERE receipt_id = ? ORDER BY number", (receipt_id,)
    ):
        for name, entries in json.loads(row["lists"]).items():
            lists[name].update(dict.fromkeys(entries))
    for erased in lists["generations_erased"]:
        lists["generations_marked"].pop(erased, None)
    return _receipt(found[0], lists)


def latest(
    catalog: Catalog,
    limit: int,
    before: str | None = None,
    namespaces: Collection[str] | None = None,
) -> list[Forgotten]:
    """The newest first, those older than `before` (a receipt's id), of `namespaces` (None: all);
    their lists are left empty."""
    condition, values = "id < ?", [before or "~"]  # behind all ids
    if namespaces is not None:
        condition += f" AND namespace IN ({', '.join('?' * len(namespaces))})"
        values += namespaces
    found = catalog.select(
        f"SELECT * FROM receipts WHERE {condition} ORDER BY id DESC LIMIT {limit:d}", values
    )
    return [_receipt(row, {name: {} for name in LISTS}) for row in found]


def _receipt(row: sqlite3.Row, lists: dict[str, dict[str, None]]) -> Forgotten:
    facts: dict[str, Any] = json.loads(row["facts"])
    return Forgotten(
        id=row["id"],
        time=row["created_at"],
        what=row["what"],
        namespace=row["namespace"],
        kept=True,
        complete=bool(row["complete"]),
        removed=facts.get("removed", {}),
        digest=facts.get("digest"),
        clean=facts.get("clean", False),
        probe=facts.get("probe"),
        job=facts.get("job"),
        **{name: tuple(each)[:MOST_LISTED] for name, each in lists.items()},
    )
