"""Keys under which a request is done once, and what came of it. Each is written in the transaction
of what it stands for: a crash leaves both or neither.
"""

from __future__ import annotations

import sqlite3

from memory_service.errors import KeyReused
from memory_service.records import Claim, Claimed
from memory_service.storage.catalog import Catalog


def find(catalog: Catalog, claim: Claim) -> Claimed | None:
    """What came of the same request before; None when there was none, or too long ago.

    Raises KeyReused when the key stands for another request.
    """
    found = catalog.select(
        "SELECT request, result, duplicate FROM idempotency_keys"
        " WHERE namespace = ? AND key = ? AND expires_at > now()",
        (claim.namespace, claim.key),
    )
    if not found:
        return None
    require_same(claim, found[0]["request"])
    return Claimed(found[0]["result"], bool(found[0]["duplicate"]))


def require_same(claim: Claim, request: str) -> None:
    """Raises KeyReused unless the key was given with this very request."""
    if request != claim.request:
        raise KeyReused(
            f"the idempotency key {claim.key[:80]!r} was given with another request before",
            found=claim.key,
        )


def insert(connection: sqlite3.Connection, claim: Claim, result: str, duplicate: bool) -> None:
    """Write the key within an open transaction; those that have expired go."""
    connection.execute("DELETE FROM idempotency_keys WHERE expires_at <= ?", (claim.made_at,))
    connection.execute(
        "INSERT OR REPLACE INTO idempotency_keys"
        " (namespace, key, request, result, duplicate, expires_at) VALUES (?, ?, ?, ?, ?, ?)",
        (claim.namespace, claim.key, claim.request, result, duplicate, claim.expires_at),
    )
