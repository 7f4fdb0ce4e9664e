"""Clears what deleted rows leave in files: the write-ahead log, the catalog's pages, the indexes.

Rows are overwritten where they lay (secure_delete); copies of them stay in the log until it is
folded in, and rarely in unused parts of pages: see `storage.residue`. Knows nothing about what is
deleted, and why.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from memory_service.errors import StorageFailure, StorageFull
from memory_service.records import Memory
from memory_service.storage import residue
from memory_service.storage.catalog import Catalog
from memory_service.storage.contents import Contents
from memory_service.storage.vectors import VectorIndexes

log = logging.getLogger(__name__)

PATIENCE = 3  # attempts to fold in the log, each up to the busy timeout


class Clearing:
    """Of one store. Safe for use from several threads."""

    def __init__(self, catalog: Catalog, blobs: Contents, indexes: VectorIndexes) -> None:
        self._catalog = catalog
        self._blobs = blobs
        self._indexes = indexes
        self._log_dirty = True  # an earlier process may have left anything in it

    def deleted(self) -> None:
        """To be told of each deletion: the log has something of it now."""
        self._log_dirty = True

    def tidy(self) -> None:
        """Fold in the log where it says anything of deleted rows, if nobody reads it just now."""
        if self._log_dirty:
            self._forget_the_log(1)

    def all(self, namespace: str, marks: Collection[bytes] | None) -> bool:
        """Take what was deleted out of every file now; whether that was done wholly. `marks`: what
        to look for, from before it was deleted; None: so much that it is not worth looking."""
        compact = self._compact(namespace)
        return self._clean(marks) and compact

    def _forget_the_log(self, attempts: int) -> bool:
        for _ in range(attempts):
            self._log_dirty = False  # before: what is deleted meanwhile sets it again
            try:
                self._catalog.forget_the_log()
                return True
            except StorageFailure:  # a reader is slow, most likely
                self._log_dirty = True
                log.warning("what was deleted is still in the write-ahead log: it is being read")
        return False

    def marks(self, memories: Sequence[Memory]) -> Iterator[bytes]:
        """What memories that are about to be deleted can be known by in files."""
        vectors: dict[int, list[Any]] = defaultdict(list)
        for row in self._catalog.select(
            "SELECT sequence, vector FROM json_each(?) JOIN vectors ON sequence = value",
            (json.dumps([memory.sequence for memory in memories]),),
        ):
            vectors[row["sequence"]].append(row["vector"])
        for memory in memories:
            yield from residue.marks(memory, vectors[memory.sequence])
        for digest, content in self._blobs.small(memory.blob for memory in memories).items():
            yield from residue.content_marks(digest, content)

    def _compact(self, namespace: str) -> bool:
        """Take what was deleted out of the indexes' segments and files."""
        try:
            self._indexes.compact(namespace)
        except (OSError, RuntimeError):  # no room, most likely
            log.exception("what was deleted could not be taken out of the indexes' files")
            return False
        return True

    def _clean(self, marks: Collection[bytes] | None) -> bool:
        """Fold in the log, and rewrite the catalog when its pages have anything of it still."""
        if not self._forget_the_log(PATIENCE):
            return False
        try:
            if marks is not None and not residue.left(self._catalog.path, marks):
                return True
            self._catalog.rewrite()
        except (OSError, StorageFailure, StorageFull):  # no room, most likely
            log.exception("what was deleted could not be cleared from the catalog's pages")
            return False
        if not self._forget_the_log(PATIENCE):
            return False
        return marks is None or not residue.left(self._catalog.path, marks)
