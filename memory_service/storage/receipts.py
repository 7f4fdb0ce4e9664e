"""Receipts of forgettings in the catalog: what was deleted, by ids and hashes, without content."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from memory_service.errors import NotFound
from memory_service.records import Forgotten, Memory
from memory_service.storage.catalog import Catalog

_LISTS = ("episode_ids", "contents", "blobs_removed", "generations_marked", "generations_erased")
_FACTS = (*_LISTS, "removed", "clean", "probe")


def begin(connection: sqlite3.Connection, receipt: Forgotten, memories: Iterable[Memory]) -> None:
    """Within the transaction that deletes `memories`; again for each further one."""
    _write(connection, receipt)
    connection.executemany(
        "INSERT OR IGNORE INTO receipt_memories VALUES (?, ?, ?)",
        [(receipt.id, memory.id, memory.blob) for memory in memories],
    )


def finish(connection: sqlite3.Connection, receipt: Forgotten) -> None:
    _write(connection, receipt)


def _write(connection: sqlite3.Connection, receipt: Forgotten) -> None:
    facts = {name: value for name, value in asdict(receipt).items() if name in _FACTS}
    # Not REPLACE, which would delete the row first, and with it those that refer to it.
    connection.execute(
        "INSERT INTO receipts VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
        " ON CONFLICT (id) DO UPDATE SET complete = ?5, facts = ?6",
        (
            receipt.id,
            receipt.time,
            receipt.what,
            receipt.namespace,
            receipt.complete,
            json.dumps(facts),
        ),
    )


def get(catalog: Catalog, receipt_id: str) -> Forgotten:
    """Raises NotFound."""
    found = catalog.select("SELECT * FROM receipts WHERE id = ?", (receipt_id,))
    if not found:
        raise NotFound(f"there is no receipt {receipt_id!r}", kind="receipt", id=receipt_id)
    row = found[0]
    facts: dict[str, Any] = json.loads(row["facts"])
    memories = catalog.select(
        "SELECT memory_id, blob FROM receipt_memories WHERE receipt_id = ? ORDER BY memory_id",
        (receipt_id,),
    )
    if not row["complete"]:  # the facts of its last batch were not written any more
        facts["contents"] = list(dict.fromkeys(each["blob"] for each in memories))
    return Forgotten(
        id=row["id"],
        time=row["created_at"],
        what=row["what"],
        namespace=row["namespace"],
        memory_ids=tuple(each["memory_id"] for each in memories),
        kept=True,
        complete=bool(row["complete"]),
        **{**facts, **{name: tuple(facts[name]) for name in _LISTS}},
    )
