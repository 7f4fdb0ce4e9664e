"""Files that nothing names, or that are not what their name says: put aside instead of deleted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from memory_service.ids import new_id
from memory_service.storage.blobs import sha256_of
from memory_service.storage.failures import storage_errors


class Quarantine:
    """A folder, made when it is first needed. Files in it are named by the digest that they bore.

    What is forgotten goes from here, too: an altered file may hold most of its content still.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def take(self, path: Path, name: str | None = None) -> Path:
        """Move a file here, under its name or another one; returns where it is now."""
        with storage_errors("putting a file aside"):
            self.folder.mkdir(exist_ok=True, mode=0o700)
            aside = self.folder / f"{name or path.name}.{new_id()}"
            path.replace(aside)
        return aside

    def intact(self, digest: str) -> Path | None:
        """A file that is the content of this digest; None when there is none."""
        for path in sorted(self.folder.glob(f"{digest}.*")):
            if sha256_of(path) == digest:
                return path
        return None

    def by_digest(self) -> dict[str, list[Path]]:
        """All files, by the digest that they bore."""
        found: dict[str, list[Path]] = defaultdict(list)
        with storage_errors("reading what was put aside"), suppress(FileNotFoundError):
            for path in self.folder.iterdir():
                found[path.name.partition(".")[0]].append(path)
        return dict(found)

    def delete(self, paths: Iterable[Path]) -> int:
        """Remove files of this folder; returns how many."""
        found = list(paths)
        with storage_errors("deleting what was put aside"):
            for path in found:
                path.unlink(missing_ok=True)
        return len(found)

    def __len__(self) -> int:
        return sum(1 for _ in self.folder.glob("*"))
