"""Brings indexes and catalog together at the start: what snapshots lack is read from the catalog,
and what the catalog has no more is removed from them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from memory_service.storage import rows
from memory_service.storage.catalog import Catalog
from memory_service.storage.spaces import Role
from memory_service.storage.vectors import SubMemory, VectorIndex, VectorIndexes, Vectors
from memory_service.storage.vectors.nearest import Ids, segments_of, sequences_of

log = logging.getLogger(__name__)

CHUNK = 8192  # vectors read at a time


@dataclass(frozen=True)
class Group:
    """The vectors of one sub-memory in the catalog."""

    sub_memory: SubMemory
    space: int  # its number
    dimension: int


def groups(catalog: Catalog, role: Role | None = None) -> list[Group]:
    """Those of the spaces that are searched, or of those of a role beside them."""
    found = catalog.select(
        "SELECT t.namespace, t.modality, s.id, s.fingerprint, s.number, s.dimension"
        " FROM traces_by_role t JOIN spaces s ON t.space = s.number WHERE t.role IS ?",
        (role,),
    )
    return [
        Group(
            SubMemory(row["namespace"], row["modality"], row["id"], row["fingerprint"]),
            row["number"],
            row["dimension"],
        )
        for row in found
    ]


def ids(catalog: Catalog, group: Group) -> Ids:
    """The ids of all vectors of a group, in rising order. Reads no vector."""
    found = catalog.select(
        "SELECT m.sequence << 20 | v.segment FROM memories m JOIN vectors v USING (sequence)"
        " WHERE m.namespace = ? AND m.modality = ? AND v.space = ?",
        (group.sub_memory.namespace, group.sub_memory.modality, group.space),
    )
    return np.sort(np.fromiter((row[0] for row in found), np.int64, len(found)))


def vectors(catalog: Catalog, group: Group, wanted: Ids) -> Iterator[tuple[Ids, Vectors]]:
    """The vectors of these ids that are in the catalog, and not damaged: those are not searched."""
    for start in range(0, len(wanted), CHUNK):
        pairs = wanted[start : start + CHUNK]
        found = catalog.select(
            "SELECT v.sequence << 20 | v.segment AS id, v.vector FROM json_each(?) w"
            " JOIN vectors v ON v.sequence = w.value ->> 0 AND v.segment = w.value ->> 1"
            " WHERE v.space = ?",
            (
                json.dumps(np.stack([sequences_of(pairs), segments_of(pairs)], axis=1).tolist()),
                group.space,
            ),
        )
        read = {row["id"]: rows.whole_vector(row["vector"], group.dimension) for row in found}
        whole = {each: vector for each, vector in read.items() if vector is not None}
        if len(whole) < len(read):
            log.error(
                "%d vectors of %s are damaged, and not searched: memory-service fsck names them",
                len(read) - len(whole),
                group.sub_memory,
            )
        if whole:
            yield np.array(list(whole), np.int64), np.stack(list(whole.values()))


def fill(catalog: Catalog, indexes: VectorIndexes, role: Role | None = None) -> None:
    """Make the indexes of all groups hold what the catalog holds."""
    for group in groups(catalog, role):
        index = indexes.restored(group.sub_memory, group.dimension)
        _bring_up_to_date(catalog, group, index)


def _bring_up_to_date(catalog: Catalog, group: Group, index: VectorIndex) -> None:
    expected, held = ids(catalog, group), index.ids()
    gone = np.setdiff1d(held, expected, assume_unique=True)
    # A memory is removed as a whole, and what is left of it is read again.
    if len(gone):
        index.remove(sequences_of(gone))
        held = index.ids()
    lacking = np.setdiff1d(expected, held, assume_unique=True)
    if len(held) and (len(gone) or len(lacking)):
        log.info(
            "since its snapshot, the index of %s lost %d vectors and gained %d",
            group.sub_memory,
            len(gone),
            len(lacking),
        )
    for read, found in vectors(catalog, group, lacking):
        index.add(sequences_of(read), found, segments_of(read))
