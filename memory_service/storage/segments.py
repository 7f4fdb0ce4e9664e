"""The segments of long memories in the catalog: which part each is, and its vector."""

from __future__ import annotations

import json
from collections.abc import Iterable

from memory_service.records import Segment
from memory_service.storage import rows
from memory_service.storage.catalog import Catalog
from memory_service.storage.spaces import Embedding, SpaceKey


def times(
    catalog: Catalog, wanted: Iterable[tuple[int, int]], space: SpaceKey
) -> dict[tuple[int, int], Segment]:
    """Where each (sequence, segment) lies in its memory; those of the whole are left out."""
    pairs = [pair for pair in wanted if pair[1] > 0]
    if not pairs:
        return {}
    found = catalog.select(
        "SELECT v.sequence, v.segment, v.start_s, v.end_s FROM json_each(?) wanted"
        " JOIN vectors v ON v.sequence = wanted.value ->> 0 AND v.segment = wanted.value ->> 1"
        " JOIN spaces s ON v.space = s.number WHERE s.id = ? AND s.fingerprint = ?",
        (json.dumps(pairs), *space),
    )
    return {
        (row["sequence"], row["segment"]): Segment(row["start_s"], row["end_s"]) for row in found
    }


def of(catalog: Catalog, sequence: int, space: SpaceKey) -> list[Embedding]:
    """The segments of a memory in their order, damaged ones left out; none where it has but the
    vector of the whole."""
    found = catalog.select(
        "SELECT segment, start_s, end_s, vector, dimension"
        " FROM vectors JOIN spaces ON space = number"
        " WHERE sequence = ? AND id = ? AND fingerprint = ? AND segment > 0 ORDER BY segment",
        (sequence, *space),
    )
    return [
        Embedding(space, vector, row["segment"], row["start_s"], row["end_s"])
        for row in found
        if (vector := rows.whole_vector(row["vector"], row["dimension"])) is not None
    ]
