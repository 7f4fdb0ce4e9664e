"""The history of a store by its openings: tells whether something else is of the same history."""

from __future__ import annotations

import secrets
from itertools import pairwise

from memory_service.storage.catalog import Catalog
from memory_service.storage.vectors.snapshots import Opening

KEPT = 64  # a snapshot that is older than so many openings is made anew


def begin(catalog: Catalog) -> Opening:
    """Note that the store is opened."""
    token = secrets.token_hex(16)
    with catalog.transaction("opening the store") as connection:
        given = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'memories'")
        last = given.fetchone()
        connection.execute(
            "INSERT INTO openings (token, last_sequence) VALUES (?, ?)",
            (token, last["seq"] if last else 0),
        )
        connection.execute(
            "DELETE FROM openings WHERE number <= (SELECT MAX(number) FROM openings) - ?", (KEPT,)
        )
    found = catalog.select("SELECT token, last_sequence FROM openings ORDER BY number")
    return Opening(token, {one["token"]: then["last_sequence"] for one, then in pairwise(found)})
