"""Indexes over metadata fields that are often filtered by.

Each covers the memories that have the field, so that others cost nothing. They are made and dropped
at the start, by comparison with the fields that the settings name.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection

from memory_service.errors import InvalidInput
from memory_service.storage.catalog import Catalog
from memory_service.storage.filters import FIELD, expression

log = logging.getLogger(__name__)

MOST = 16  # each is written to with every memory that has the field


def declared(text: str) -> tuple[str, ...]:
    """Field names with commas between; raises InvalidInput."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if len(names) > MOST or not all(map(FIELD.fullmatch, names)):
        raise InvalidInput(
            f"indexed_fields must be at most {MOST} names of metadata fields, with commas between",
            found=text[:200],
            accepted="1 to 64 characters each, no quote, backslash or control character, no $ in "
            "front",
        )
    return names


def bring_about(catalog: Catalog, fields: Collection[str]) -> None:
    """Make the indexes of these fields, and drop all others. A million memories take seconds."""
    wanted = {_name(field): field for field in fields}
    there = {
        row["name"]
        for row in catalog.select(
            "SELECT name FROM sqlite_master WHERE type = 'index' AND name GLOB 'field_*'"
        )
    }
    if there == wanted.keys():
        return
    with catalog.transaction("making indexes of metadata fields") as connection:
        for name in there - wanted.keys():
            connection.execute(f"DROP INDEX {name}")
        for name in wanted.keys() - there:
            log.info("memories are indexed by the metadata field %r", wanted[name])
            value = expression(wanted[name])
            connection.execute(
                f"CREATE INDEX {name} ON memories (namespace, modality, {value})"
                f" WHERE {value} IS NOT NULL"
            )


def _name(field: str) -> str:
    return f"field_{hashlib.sha256(field.encode()).hexdigest()[:16]}"
