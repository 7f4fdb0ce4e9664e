"""Contents that no row names any more. They are noted in the transaction that deletes the rows;
then go the bytes, the thumbnails, and what lies in quarantine of them. A crash leaves the notes.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Sequence

from memory_service.errors import StorageFailure
from memory_service.storage.catalog import Catalog
from memory_service.storage.contents import Contents
from memory_service.storage.quarantine import Quarantine
from memory_service.storage.tally import Tally
from memory_service.storage.thumbnails import Thumbnails

log = logging.getLogger(__name__)


class Leaving:
    """Used within the catalog's write lock."""

    def __init__(
        self, catalog: Catalog, blobs: Contents, thumbnails: Thumbnails, quarantine: Quarantine
    ) -> None:
        self._catalog = catalog
        self._blobs = blobs
        self._thumbnails = thumbnails
        self._quarantine = quarantine

    def note(
        self, connection: sqlite3.Connection, leaving: Sequence[str], settled: Sequence[str]
    ) -> None:
        """Within an open transaction: which contents its rows named, and which of those that were
        noted before are gone."""
        connection.execute(
            "DELETE FROM leaving WHERE blob IN (SELECT value FROM json_each(?))",
            (json.dumps(settled),),
        )
        connection.executemany(
            "INSERT OR IGNORE INTO leaving VALUES (?)", [(each,) for each in leaving]
        )

    def noted(self) -> list[str]:
        return [row["blob"] for row in self._catalog.select("SELECT blob FROM leaving")]

    def remove(self, tally: Tally, blobs: Sequence[str]) -> None:
        """Those that no row names. The rows are gone by now: a failure here is not the
        caller's, and what is left is worked off later."""
        unreferenced = set(self._blobs.unreferenced(blobs))
        for digest in dict.fromkeys(blobs):
            try:
                if digest in unreferenced and not self._remove_file(tally, digest):
                    continue
            except StorageFailure:
                log.exception("the file of a deleted memory could not be removed: %s", digest)
                continue
            tally.settled.append(digest)

    def _remove_file(self, tally: Tally, digest: str) -> bool:
        """Whether it is gone."""
        self._blobs.delete(digest)
        if digest in self._blobs:
            return False
        tally.blob_removed(digest)
        tally.removed["thumbnails"] += self._thumbnails.delete(digest)
        if tally.aside is None:
            tally.aside = self._quarantine.by_digest()
        tally.removed["quarantined"] += self._quarantine.delete(tally.aside.get(digest, ()))
        return True

    def sweep(self) -> None:
        """At a start: put aside files that no row names, of a store that was not finished, or of a
        catalog that is older than they are."""
        if found := self._blobs.sweep(self._quarantine.take):
            log.warning(
                "%d files that no memory names were cleared: whole ones are in %s",
                found,
                self._quarantine.folder,
            )
