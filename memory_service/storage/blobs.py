"""Original bytes as content-addressed files. Knows nothing about who refers to them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from memory_service.errors import NotFound, StorageFailure
from memory_service.storage.failures import storage_errors


class BlobStore:
    """Files named by the SHA-256 of their content, in 256 folders.

    A blob is complete and synced to disk before `put` returns, so that a row may name it.
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
        path = self.path(digest)
        temporary = path.with_suffix(".part")
        with storage_errors("writing the content"):
            try:
                # A file that was damaged behind our back is written anew.
                if path.exists() and path.read_bytes() == content:
                    return digest
                _write_synced(temporary, content)
                temporary.replace(path)
                sync_folder(path.parent)
            except OSError:
                temporary.unlink(missing_ok=True)
                path.unlink(missing_ok=True)
                raise
        return digest

    def read(self, digest: str) -> bytes:
        """Raises NotFound when there is no such blob, StorageFailure when it was altered."""
        with _reading(digest):
            content = self.path(digest).read_bytes()
        if hashlib.sha256(content).hexdigest() != digest:
            raise _altered(digest)
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
                raise _altered(digest)
            on_failure.pop_all()
        return file

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

    def __len__(self) -> int:
        """Number of complete blobs."""
        return sum(not path.suffix for path in self._folder.glob("??/*"))

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


def _write_synced(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """A new name survives a power cut only when its folder was synced, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _reading(digest: str) -> Iterator[None]:
    """Raise NotFound or StorageFailure in place of OSError."""
    try:
        yield
    except FileNotFoundError:
        raise NotFound(f"content {digest} is not in the store", kind="blob") from None
    except OSError as error:
        raise StorageFailure(f"content {digest} cannot be read: {error.strerror}") from error


def _altered(digest: str) -> StorageFailure:
    return StorageFailure(f"content {digest} was altered on disk")
