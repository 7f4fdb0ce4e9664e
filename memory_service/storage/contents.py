"""The original bytes: large ones as files, small ones in the catalog. Who reads need not know.

A file of its own costs a store two syncs besides that of the commit, its own and its folder's; a
small content goes along with the row that names it instead, and leaves with it (a trigger of the
schema), in one transaction each.
"""

from __future__ import annotations

import hashlib
import io
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from memory_service.errors import NotFound, StorageFailure, StorageFull
from memory_service.storage.blobs import BlobStore, Staged, altered
from memory_service.storage.catalog import Catalog

SMALL_BYTES = 16 * 1024  # up to this size in the catalog
LOOKED_UP_AT_ONCE = 10_000  # digests


class Small:
    """A content for the catalog, which is on the disk when its transaction is."""

    __slots__ = ("content", "digest")

    def __init__(self, digest: str, content: bytes) -> None:
        self.digest = digest
        self.content = content


Incoming = Small | Staged


class Contents:
    """Bytes by their SHA-256, wherever they lie. Safe for use from several threads."""

    def __init__(self, files: BlobStore, catalog: Catalog) -> None:
        self._files = files
        self._catalog = catalog

    @contextmanager
    def stage(self, contents: Sequence[bytes]) -> Iterator[list[Incoming]]:
        """The contents made ready to be stored, large ones on the disk already.

        What is not stored until the end is gone then. Raises StorageFull or StorageFailure.
        """
        incoming = self.take(contents)
        try:
            yield incoming
        finally:
            self.drop(incoming)

    def take(self, contents: Iterable[bytes]) -> list[Incoming]:
        """`stage`, until they are dropped. What it took before it raises is gone."""
        taken: list[Incoming] = []
        try:
            for content in contents:
                taken.append(self._take(content))
        except BaseException:
            self.drop(taken)
            raise
        return taken

    def _take(self, content: bytes) -> Incoming:
        digest = hashlib.sha256(content).hexdigest()
        if len(content) <= SMALL_BYTES:
            return Small(digest, content)
        try:
            return self._files.stage(digest, content)
        except StorageFull:
            self._catalog.full = True
            raise

    def drop(self, incoming: Iterable[Incoming]) -> None:
        """Give up what was taken and not published."""
        for each in incoming:
            if isinstance(each, Staged):
                each.drop()

    def publish(self, incoming: Iterable[Incoming]) -> None:
        """The large ones, before the transaction that names them. Within the write lock."""
        if large := [each for each in incoming if isinstance(each, Staged)]:
            self._files.publish(large)

    def insert(self, connection: sqlite3.Connection, incoming: Iterable[Incoming]) -> None:
        """The small ones, in the transaction that names them. One that was damaged behind our back
        is written anew."""
        connection.executemany(
            "INSERT INTO small_contents (digest, content) VALUES (?, ?)"
            " ON CONFLICT (digest) DO UPDATE SET content = excluded.content"
            " WHERE content IS NOT excluded.content",
            [(each.digest, each.content) for each in incoming if isinstance(each, Small)],
        )

    def take_back(self, incoming: Iterable[Incoming]) -> None:
        """Remove those that were published and that no row names, when the rest of a store failed.

        What fails now is swept at the next start: the first error tells more.
        """
        large = (each.digest for each in incoming if isinstance(each, Staged))
        with suppress(StorageFull, StorageFailure):
            for digest in self.unreferenced(large):
                self._files.delete(digest)

    def read(self, digest: str) -> bytes:
        """Raises NotFound when there is no such content, StorageFailure when it was altered."""
        content = self._small(digest)
        if content is None:
            return self._files.read(digest)
        if hashlib.sha256(content).hexdigest() != digest:
            raise altered(digest)
        return content

    def open(self, digest: str, size_bytes: int, *, checked: bool = True) -> BinaryIO:
        """The content as an open file, at its beginning; it stays readable when it is deleted.

        Raises NotFound when there is no such content, StorageFailure when it was altered: by its
        digest when `checked`, else by its size.
        """
        if size_bytes > SMALL_BYTES:  # most likely
            try:
                return self._files.open(digest, size_bytes, checked=checked)
            except NotFound:
                pass
        content = self._small(digest)
        if content is None:
            return self._files.open(digest, size_bytes, checked=checked)
        if len(content) != size_bytes or (
            checked and hashlib.sha256(content).hexdigest() != digest
        ):
            raise altered(digest)
        return io.BytesIO(content)

    def _small(self, digest: str) -> bytes | None:
        found = self._catalog.select(
            "SELECT content FROM small_contents WHERE digest = ?", (digest,)
        )
        return found[0]["content"] if found else None

    def path(self, digest: str) -> Path:
        """Where the file of a large content is."""
        return self._files.path(digest)

    def fault(self, digest: str, size_bytes: int, *, hashed: bool) -> str | None:
        """Of a large content, as `BlobStore.fault`."""
        return self._files.fault(digest, size_bytes, hashed=hashed)

    def delete(self, digest: str) -> bool:
        """Remove a content that no row names any more; False when there was none."""
        there = self._small(digest) is not None
        if there:
            with self._catalog.transaction("deleting the content") as connection:
                connection.execute("DELETE FROM small_contents WHERE digest = ?", (digest,))
        return self._files.delete(digest) or there

    def __contains__(self, digest: str) -> bool:
        return digest in self._files or self._small(digest) is not None

    def digests(self) -> set[str]:
        """Of all contents."""
        small = self._catalog.select("SELECT digest FROM small_contents")
        return self._files.digests() | {row["digest"] for row in small}

    def sweep(self, put_aside: Callable[[Path], object]) -> int:
        """Clear what a crash left: unfinished files are removed, those that no row names are
        `put_aside`. Returns how many of both."""
        return self._files.sweep(self._referenced(self._files.digests()), put_aside)

    def unreferenced(self, digests: Iterable[str]) -> list[str]:
        """Those of `digests` that no committed row names."""
        every = dict.fromkeys(digests)
        referenced = self._referenced(every)
        return [each for each in every if each not in referenced]

    def _referenced(self, digests: Iterable[str]) -> set[str]:
        """Those of `digests` that a committed row names. Takes as long as they are many, however
        many memories there are."""
        every = list(digests)
        found: set[str] = set()
        for start in range(0, len(every), LOOKED_UP_AT_ONCE):
            named = self._catalog.select(
                "SELECT value FROM json_each(?)"
                " WHERE EXISTS (SELECT 1 FROM memories WHERE blob = value)"
                " OR EXISTS (SELECT 1 FROM generation_outputs WHERE blob = value)",
                (json.dumps(every[start : start + LOOKED_UP_AT_ONCE]),),
            )
            found.update(row["value"] for row in named)
        return found

    def small(self, digests: Iterable[str]) -> dict[str, bytes]:
        """Those that lie in the catalog."""
        found = self._catalog.select(
            "SELECT digest, content FROM json_each(?) JOIN small_contents ON digest = value",
            (json.dumps(list(digests)),),
        )
        return {row["digest"]: row["content"] for row in found}
