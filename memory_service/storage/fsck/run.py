"""Runs the checks on a data folder, and the repairs between them."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from memory_service.errors import MemoryServiceError, StorageFailure
from memory_service.storage.blobs import BlobStore
from memory_service.storage.catalog import Catalog
from memory_service.storage.failures import storage_errors
from memory_service.storage.folder import CATALOG, hold
from memory_service.storage.fsck import access, contents, indexes, rows, vectors
from memory_service.storage.fsck.findings import Finding, Folder
from memory_service.storage.quarantine import Quarantine
from memory_service.storage.schema import FORMAT
from memory_service.storage.thumbnails import Thumbnails

# In this order: the traces are of the vectors that are left, and rows that are repaired name
# contents.
CHECKS: tuple[Callable[[Folder], Iterator[Finding]], ...] = (
    rows.check,
    contents.check,
    vectors.check,
    vectors.check_complete,
    vectors.check_traces,
    indexes.check,
    access.check,
)
_COUNTED = {
    "memories": "SELECT COUNT(*) FROM memories",
    "episodes": "SELECT COUNT(*) FROM episodes",
    "vectors": "SELECT COUNT(*) FROM vectors",
    "traces": "SELECT COUNT(*) FROM traces",
    "contents": "SELECT COUNT(*) FROM (SELECT blob FROM memories"
    " UNION SELECT blob FROM generation_outputs)",
    "generations": "SELECT COUNT(*) FROM generations",
    "prototypes": "SELECT COUNT(*) FROM memories WHERE consolidated_by IS NOT NULL",
}


@dataclass(frozen=True)
class Told:
    """A finding, and what became of it."""

    kind: str
    subject: str
    detail: str
    repaired: bool
    note: str  # what was done, would be done, or helps


@dataclass
class Report:
    format: int
    checked: dict[str, int]  # how much of what
    findings: list[Told] = field(default_factory=list)
    quarantined: int = 0  # files in quarantine, which are the operator's to look at and delete

    @property
    def left(self) -> int:
        """Findings that were not repaired."""
        return sum(not each.repaired for each in self.findings)

    @property
    def counts(self) -> dict[str, int]:
        """Findings by kind."""
        return dict(Counter(each.kind for each in self.findings))


def check(path: Path, *, repair: bool = False, quick: bool = False) -> Report:
    """Check the folder of a stopped service. `quick`: contents by their size, not their hash.

    `repair` does what loses nothing: what is derived is derived anew, what is in the way is put
    aside. Raises StorageFailure where the folder is in use, holds no store, one of another format,
    or one that cannot be read.
    """
    with _opened(path, quick) as folder:
        damaged = list(rows.integrity(folder))
        report = Report(FORMAT, {} if damaged else _counted(folder))
        if damaged:
            report.findings += [_told(each, repair=False) for each in damaged]
            return report
        for each in CHECKS:
            report.findings += [_told(found, repair) for found in list(each(folder))]
        report.checked.update(folder.counted)
        report.quarantined = len(folder.quarantine)
        return report


def _told(found: Finding, repair: bool) -> Told:
    if found.repair is None:
        return Told(found.kind, found.subject, found.detail, False, found.advice or "")
    if not repair:
        return Told(found.kind, found.subject, found.detail, False, "--repair mends it")
    try:
        done = found.repair()
    except (MemoryServiceError, OSError, sqlite3.Error) as error:
        return Told(found.kind, found.subject, found.detail, False, f"not repaired: {error}")
    return Told(found.kind, found.subject, found.detail, True, done)


def _counted(folder: Folder) -> dict[str, int]:
    return {name: folder.catalog.select(each)[0][0] for name, each in _COUNTED.items()}


@contextmanager
def _opened(path: Path, quick: bool) -> Iterator[Folder]:
    if not (path / CATALOG).is_file():
        raise StorageFailure(f"{path} holds no store: there is no {CATALOG}", data_dir=str(path))
    with storage_errors(f"opening the data folder {path}"):
        lock = hold(path)
    try:
        _require_format(path / CATALOG)
        catalog = Catalog(path / CATALOG)
        try:
            yield Folder(
                path=path,
                catalog=catalog,
                files=BlobStore(path / "blobs"),
                thumbnails=Thumbnails(path / "thumbnails"),
                quarantine=Quarantine(path / "quarantine"),
                quick=quick,
            )
        finally:
            catalog.close()
    finally:
        os.close(lock)


def _require_format(catalog: Path) -> None:
    """A check must not migrate what it looks at."""
    with storage_errors("reading the catalog"):
        connection = sqlite3.connect(catalog)
        try:
            (found,) = connection.execute("PRAGMA user_version").fetchone()
        finally:
            connection.close()
    if found != FORMAT:
        raise StorageFailure(
            f"the store has format {found}, and this version checks format {FORMAT}: "
            + ("start the service once, which migrates it" if found < FORMAT else "use a newer one")
        )
