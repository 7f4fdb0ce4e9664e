"""Small pictures of contents, kept as files beside them. Derived: any may be missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from memory_service.storage.failures import storage_errors


class Thumbnails:
    """Files named by the digest of the content that they show."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, digest: str) -> Path:
        return self._folder / digest[:2] / f"{digest}.jpg"

    def read(self, digest: str) -> bytes | None:
        """None when there is none, or it cannot be read."""
        try:
            return self.path(digest).read_bytes()
        except OSError:
            return None

    def write(self, digest: str, picture: bytes) -> None:
        """Keep it; a disk that has no room for it keeps none."""
        path = self.path(digest)
        temporary = path.with_suffix(".part")
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            temporary.write_bytes(picture)
            temporary.replace(path)

    def delete(self, digest: str) -> bool:
        """False when there was none."""
        with storage_errors("deleting a thumbnail"):
            try:
                self.path(digest).unlink()
            except FileNotFoundError:
                return False
        return True

    def digests(self) -> Iterator[str]:
        for path in self._folder.glob("??/*.jpg"):
            yield path.stem
