"""Memories whose time has passed: which they are, damaged ones among them."""

from __future__ import annotations

from memory_service.records import Memory
from memory_service.storage import rows
from memory_service.storage.catalog import Catalog


def due(catalog: Catalog, now: float, limit: int) -> list[Memory]:
    """At most `limit` memories that expired, the longest ago first."""
    found = catalog.select(
        "SELECT * FROM memories WHERE expires_at <= ? ORDER BY expires_at, sequence LIMIT ?",
        (now, limit),
    )
    return [rows.remnant(row) for row in found]


def in_episode(catalog: Catalog, episode_id: str) -> list[Memory]:
    """All rows of an episode, expired ones and prototypes among them."""
    found = catalog.select(
        "SELECT * FROM memories WHERE episode_id = ? ORDER BY sequence", (episode_id,)
    )
    return [rows.remnant(row) for row in found]
