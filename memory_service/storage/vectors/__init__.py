"""The sub-memories' vectors in FAISS. Derived from the catalog, never the only copy."""

from memory_service.storage.vectors.index import Sizes, VectorIndex
from memory_service.storage.vectors.indexes import VectorIndexes
from memory_service.storage.vectors.nearest import (
    NO_COSINES,
    NO_SEQUENCES,
    NOTHING,
    Allowed,
    Nearest,
    Sequences,
    SubMemory,
    Vectors,
    stacked,
)

__all__ = [
    "NOTHING",
    "NO_COSINES",
    "NO_SEQUENCES",
    "Allowed",
    "Nearest",
    "Sequences",
    "Sizes",
    "SubMemory",
    "VectorIndex",
    "VectorIndexes",
    "Vectors",
    "stacked",
]
