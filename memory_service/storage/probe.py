"""Looks for memories in every place that could hold them: before they are forgotten, and after."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memory_service.records import Memory, Vector
from memory_service.storage import rows
from memory_service.storage.catalog import Catalog
from memory_service.storage.contents import Contents
from memory_service.storage.vectors import SubMemory, VectorIndexes

MOST = 256  # memories that are searched for, each by a search per space
DEPTH = 10  # nearest neighbours among which a memory finds itself

# Tables that a memory leaves, and the column that names it.
_BY_SEQUENCE = {
    "memories": "sequence",
    "vectors": "sequence",
    "recalls": "sequence",
    "embedding_failures": "sequence",
    "lineage": "member",
}


@dataclass(frozen=True)
class _Search:
    sequence: int
    sub_memory: SubMemory
    vector: Vector


class Probe:
    """Of the first `MOST` memories: made before they are deleted, asked again afterwards."""

    def __init__(
        self,
        catalog: Catalog,
        indexes: VectorIndexes,
        blobs: Contents,
        memories: Sequence[Memory],
    ) -> None:
        self._catalog = catalog
        self._indexes = indexes
        self._blobs = blobs
        self._memories = memories[:MOST]
        self._sub_memories: set[SubMemory] = set()
        self._searches = [search for memory in self._memories for search in self._of(memory)]
        self._found_before = self._found()

    @property
    def size(self) -> int:
        """How many memories it looks for."""
        return len(self._memories)

    def _of(self, memory: Memory) -> list[_Search]:
        """By its own vectors, those that are whole, in the spaces that are searched."""
        searches = []
        for row in self._catalog.select(
            "SELECT id, fingerprint, dimension, vector FROM vectors JOIN spaces ON space = number"
            " WHERE sequence = ? AND segment = 0",
            (memory.sequence,),
        ):
            key = SubMemory(memory.namespace, memory.modality, row["id"], row["fingerprint"])
            self._sub_memories.add(key)
            vector = rows.whole_vector(row["vector"], row["dimension"])
            if vector is not None and self._indexes.get(key) is not None:
                searches.append(_Search(memory.sequence, key, vector))
        return searches

    def _found(self) -> int:
        found = 0
        for search in self._searches:
            index = self._indexes.get(search.sub_memory)
            if index is not None:
                found += search.sequence in index.nearest(search.vector, DEPTH).sequences.tolist()
        return found

    def after(self) -> Mapping[str, Any]:
        """What is found now. `absent`: nothing, anywhere. A content that another memory has, too,
        is not counted as found."""
        held = self._held_by_indexes()
        left_in = self._rows()
        contents = sum(
            digest in self._blobs
            for digest in self._blobs.unreferenced(memory.blob for memory in self._memories)
        )
        found = self._found()
        return {
            "memories": len(self._memories),
            "searches": len(self._searches),
            "found_before": self._found_before,
            "found_after": found,
            "index_entries": held,
            "rows": left_in,
            "contents": contents,
            "absent": not (found or held or contents or any(left_in.values())),
        }

    def _held_by_indexes(self) -> int:
        gone = {memory.sequence for memory in self._memories}
        found = [self._indexes.get(key) for key in self._sub_memories]
        indexes = [index for index in found if index is not None]
        return sum(len(gone.intersection(index.sequences().tolist())) for index in indexes)

    def _rows(self) -> dict[str, int]:
        sequences = json.dumps([memory.sequence for memory in self._memories])
        return {
            table: self._catalog.select(
                f"SELECT COUNT(*) FROM {table} WHERE {column} IN (SELECT value FROM json_each(?))",
                (sequences,),
            )[0][0]
            for table, column in _BY_SEQUENCE.items()
        }


def summed(probes: Sequence[Probe]) -> dict[str, Any]:
    """Of all batches; `absent` when that holds for each."""
    found = [probe.after() for probe in probes]
    total: dict[str, Any] = {
        name: sum(each[name] for each in found)
        for name in ("memories", "searches", "found_before", "found_after", "index_entries")
    }
    tables = {table for each in found for table in each["rows"]}
    total["rows"] = {table: sum(each["rows"][table] for each in found) for table in sorted(tables)}
    total["contents"] = sum(each["contents"] for each in found)
    return {**total, "absent": all(each["absent"] for each in found)}
