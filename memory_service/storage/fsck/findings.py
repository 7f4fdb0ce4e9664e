"""What a check looks at, and what it finds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from memory_service.storage.blobs import BlobStore, sha256_of
from memory_service.storage.catalog import Catalog
from memory_service.storage.quarantine import Quarantine
from memory_service.storage.thumbnails import Thumbnails


@dataclass(frozen=True)
class Folder:
    """A data folder that nobody else works on."""

    path: Path
    catalog: Catalog
    files: BlobStore
    thumbnails: Thumbnails
    quarantine: Quarantine
    quick: bool = False  # contents by their size only
    counted: dict[str, int] = field(default_factory=dict)  # what a check counted as it read

    def put_aside(self, name: str, content: bytes) -> Path:
        """Keep bytes that are about to be replaced; returns where."""
        path = self.path / f"{name}.part"
        path.write_bytes(content)
        return self.quarantine.take(path, name)

    # Contents: large ones are files, small ones lie in the catalog.

    def size(self, digest: str) -> int | None:
        """In bytes; None for one that is not there."""
        if (small := self._small(digest)) is not None:
            return len(small)
        path = self.files.path(digest)
        return path.stat().st_size if path.exists() else None

    def digest(self, digest: str) -> str:
        """The SHA-256 of what is there under this name."""
        if (small := self._small(digest)) is not None:
            return hashlib.sha256(small).hexdigest()
        return sha256_of(self.files.path(digest))

    def read(self, digest: str) -> bytes:
        small = self._small(digest)
        return self.files.path(digest).read_bytes() if small is None else small

    def replace(self, digest: str, content: bytes) -> None:
        """Write a content anew; what was there under its name is put aside."""
        if (small := self._small(digest)) is not None:
            self.put_aside(digest, small)
            with self.catalog.transaction("repairing a content") as connection:
                statement = "UPDATE small_contents SET content = ? WHERE digest = ?"
                connection.execute(statement, (content, digest))
            return
        path = self.files.path(digest)
        if path.exists():
            self.quarantine.take(path)
        self.files.put(content)

    def small_contents(self) -> set[str]:
        """The digests of those in the catalog."""
        return {row["digest"] for row in self.catalog.select("SELECT digest FROM small_contents")}

    def take_small(self, digest: str) -> Path:
        """Put aside what lies in the catalog; returns where it is now."""
        aside = self.put_aside(digest, self.read(digest))
        with self.catalog.transaction("putting a content aside") as connection:
            connection.execute("DELETE FROM small_contents WHERE digest = ?", (digest,))
        return aside

    def _small(self, digest: str) -> bytes | None:
        found = self.catalog.select(
            "SELECT content FROM small_contents WHERE digest = ?", (digest,)
        )
        return found[0]["content"] if found else None


@dataclass(frozen=True)
class Finding:
    """`repair` loses nothing, and says what it did; without one, `advice` says what helps."""

    kind: str  # stable, see KINDS
    subject: str  # id or digest of what it is about
    detail: str
    repair: Callable[[], str] | None = field(default=None, compare=False, repr=False)
    advice: str | None = None


RESTORE = "restore it from a backup"
EMBED = "embed it anew: memory-service reembed with the profile that the store is searched with"

KINDS = {
    "catalog_damaged": "SQLite finds its file damaged",
    "reference_broken": "a row refers to one that is not there",
    "json_broken": "a field that holds JSON does not",
    "content_missing": "a row names a content that is not there",
    "content_altered": "a content is not what its name says",
    "content_unnamed": "no row names a file",
    "content_unfinished": "a file was not written to its end",
    "deletion_unfinished": "a deleted content is still there",
    "size_wrong": "a row says another size than its content has",
    "text_wrong": "the text in the catalog is not that of the content",
    "thumbnail_unnamed": "a thumbnail of no memory",
    "episode_empty": "an episode without memories",
    "episode_contents_wrong": "the hash by which equal episodes are found is wrong",
    "namespace_wrong": "a memory is in another namespace than its episode",
    "prototype_broken": "a prototype does not stand for two memories or more of its kind",
    "recall_broken": "a strength that cannot be",
    "vector_broken": "a vector of the wrong length, or not of unit length",
    "vector_missing": "a memory lacks a vector of a space that is searched",
    "segments_broken": "the parts of a long sound are not numbered without a gap",
    "trace_wrong": "a trace is not the sum of its vectors",
    "snapshot_broken": "the snapshot of an index is damaged, or of no index",
    "index_unknown": "something among the indexes that is not of this service",
    "generation_broken": "a generation without an output, or with a query of the wrong length",
    "keys_damaged": "SQLite finds the file of keys damaged",
    "key_broken": "a key that cannot be read",
    "audit_broken": "lines of the audit log that cannot be read",
}
