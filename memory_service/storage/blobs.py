"""Original bytes as content-addressed files. Knows nothing about who refers to them."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from memory_service.errors import NotFound, StorageFailure
from memory_service.storage.failures import storage_errors

WRITING = "writing the content"
_NUMBERS = itertools.count(1)  # so that two callers of one content do not share a file


@dataclass(eq=False)
class Staged:
    """A content that is on the disk, but has no name yet."""

    digest: str
    content: bytes
    path: Path  # where it belongs
    part: Path | None = None  # where it is; None: it was there already, or has been published

    def write(self) -> None:
        self.part = self.path.with_suffix(f".{next(_NUMBERS)}.part")
        try:
            _write_synced(self.part, self.content)
        except OSError:
            self.drop()
            raise

    def drop(self) -> None:
        """Remove it unless it was published; what cannot be removed is swept at the next start."""
        if self.part is not None:
            with suppress(OSError):
                self.part.unlink()
            self.part = None


class BlobStore:
    """Files named by the SHA-256 of their content, in 256 folders.

    A blob is complete and synced to disk before `put` or `publish` returns, so that a row may name
    it. Writing takes two steps, of which only the second has to wait for other writers.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with storage_errors("opening the blob folder"):
            # All folders at once, so that a new content has no more than its own to sync.
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for number in range(256):
                (folder / f"{number:02x}").mkdir(exist_ok=True, mode=0o700)
            sync_folder(folder)

    def path(self, digest: str) -> Path:
        return self._folder / digest[:2] / digest

    def put(self, content: bytes) -> str:
        """Store `content`; returns its digest. One caller at a time.

        Raises StorageFull or StorageFailure, with nothing left behind.
        """
        digest = hashlib.sha256(content).hexdigest()
        staged = self.stage(digest, content)
        try:
            self.publish([staged])
        finally:
            staged.drop()
        return digest

    def stage(self, digest: str, content: bytes) -> Staged:
        """Write and sync `content` beside its place, to be published or dropped.

        Any number of callers at a time. Raises StorageFull or StorageFailure, with nothing left.
        """
        staged = Staged(digest, content, self.path(digest))
        with storage_errors(WRITING):
            # A file that was damaged behind our back is written anew.
            if not _holds(staged.path, content):
                staged.write()
        return staged

    def publish(self, group: Sequence[Staged]) -> None:
        """Give staged contents their names; each folder is synced once. One caller at a time.

        Raises StorageFull or StorageFailure; what has its name by then may stay: see `delete`.
        """
        touched: set[Path] = set()
        with storage_errors(WRITING):
            for each in group:
                if each.part is None and not each.path.exists():
                    each.write()  # it was there when it was staged, and has been deleted since
                if each.part is not None:
                    each.part.replace(each.path)
                    each.part = None
                    touched.add(each.path.parent)
            for folder in sorted(touched):
                sync_folder(folder)

    def read(self, digest: str) -> bytes:
        """Raises NotFound when there is no such blob, StorageFailure when it was altered."""
        with _reading(digest):
            content = self.path(digest).read_bytes()
        if hashlib.sha256(content).hexdigest() != digest:
            raise altered(digest)
        return content

    def open(self, digest: str, size_bytes: int, *, checked: bool = True) -> BinaryIO:
        """The blob as an open file, at its beginning; it stays readable when the blob is deleted.

        Raises NotFound when there is no such blob, StorageFailure when it was altered: by its
        digest when `checked`, else by its size.
        """
        with _reading(digest), ExitStack() as on_failure:
            file = on_failure.enter_context(self.path(digest).open("rb"))
            intact = os.fstat(file.fileno()).st_size == size_bytes
            if intact and checked:
                intact = hashlib.file_digest(file, "sha256").hexdigest() == digest
                file.seek(0)
            if not intact:
                raise altered(digest)
            on_failure.pop_all()
        return file

    def fault(self, digest: str, size_bytes: int, *, hashed: bool) -> str | None:
        """What fsck calls it where the file is missing, or not what it was, by its hash or only by
        its size; None where it is intact."""
        path = self.path(digest)
        try:
            if path.stat().st_size != size_bytes or (hashed and sha256_of(path) != digest):
                return "content_altered"
        except FileNotFoundError:
            return "content_missing"
        except OSError:
            return "content_altered"
        return None

    def delete(self, digest: str) -> bool:
        """Remove the file; False when there was none."""
        path = self.path(digest)
        with storage_errors("deleting the content"):
            try:
                path.unlink()
            except FileNotFoundError:
                return False
            sync_folder(path.parent)
        return True

    def __contains__(self, digest: str) -> bool:
        return self.path(digest).exists()

    def files(self) -> Iterator[Path]:
        """All files, unfinished ones among them."""
        return self._folder.glob("??/*")

    def digests(self) -> set[str]:
        """Of all complete blobs."""
        return {path.name for path in self._folder.glob("??/*") if not path.suffix}

    def sweep(
        self, referenced: Collection[str], put_aside: Callable[[Path], object] = Path.unlink
    ) -> int:
        """Clear what a crash left: unfinished files are removed, blobs that no row names are
        `put_aside`. Returns how many of both."""
        cleared = 0
        for path in self._folder.glob("??/*"):
            if path.suffix:
                path.unlink()
            elif path.name not in referenced:
                put_aside(path)
            else:
                continue
            cleared += 1
        return cleared


def _holds(path: Path, content: bytes) -> bool:
    try:
        return path.stat().st_size == len(content) and path.read_bytes() == content
    except FileNotFoundError:
        return False


def _write_synced(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """Of a file, read piece by piece. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_file(path: Path) -> None:
    """What was written to it survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """A new name survives a power cut only when its folder was synced, too."""
    sync_file(folder)


@contextmanager
def _reading(digest: str) -> Iterator[None]:
    """Raise NotFound or StorageFailure in place of OSError."""
    try:
        yield
    except FileNotFoundError:
        raise NotFound(f"content {digest} is not in the store", kind="blob") from None
    except OSError as error:
        raise StorageFailure(f"content {digest} cannot be read: {error.strerror}") from error


def altered(digest: str) -> StorageFailure:
    return StorageFailure(f"content {digest} was altered on disk")
