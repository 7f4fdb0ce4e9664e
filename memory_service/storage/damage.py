"""What of memories that are about to be forgotten is not as it was stored, as fsck names it.

A receipt says so: what was damaged is gone like all else, but it cannot be told by its hash.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence

from memory_service.records import Memory
from memory_service.storage import rows
from memory_service.storage.catalog import Catalog
from memory_service.storage.contents import Contents

_METADATA = (
    "SELECT m.id, 'json_broken' FROM json_each(?) JOIN memories m ON m.sequence = value"
    " WHERE CASE WHEN json_valid(metadata) THEN json_type(metadata) != 'object' ELSE TRUE END"
)
_VECTORS = (
    "SELECT m.id, dimension, vector FROM json_each(?) JOIN memories m ON m.sequence = value"
    " JOIN vectors v USING (sequence) JOIN spaces ON number = space"
)
_SMALL = "SELECT digest, content FROM json_each(?) JOIN small_contents ON digest = value"


def found(
    catalog: Catalog, blobs: Contents, memories: Sequence[Memory], *, hashed: bool
) -> list[str]:
    """`ID KIND` of each fault. Contents that are files are compared by their hash, or, not
    `hashed`, by their size."""
    sequences = json.dumps([memory.sequence for memory in memories])
    faults = [f"{memory_id} {kind}" for memory_id, kind in catalog.select(_METADATA, (sequences,))]
    faults += [
        f"{memory_id} vector_broken"
        for memory_id, dimension, vector in catalog.select(_VECTORS, (sequences,))
        if rows.whole_vector(vector, dimension) is None
    ]
    faults += _contents(catalog, blobs, memories, hashed)
    return list(dict.fromkeys(faults))


def _contents(
    catalog: Catalog, blobs: Contents, memories: Iterable[Memory], hashed: bool
) -> Iterator[str]:
    digests = json.dumps([memory.blob for memory in memories])
    small = {row["digest"]: row["content"] for row in catalog.select(_SMALL, (digests,))}
    for memory in memories:
        if memory.blob in small:
            content = small[memory.blob]
            intact = isinstance(content, bytes) and (
                hashlib.sha256(content).hexdigest() == memory.blob
            )
            kind = None if intact else "content_altered"
        else:
            kind = blobs.fault(memory.blob, memory.size_bytes, hashed=hashed)
        if kind is not None:
            yield f"{memory.id} {kind}"
