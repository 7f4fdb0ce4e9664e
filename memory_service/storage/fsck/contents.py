"""Original bytes: what rows name is there and intact, and what is there is named."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from memory_service.storage.fsck.findings import RESTORE, Finding, Folder

_NAMED = (
    "SELECT blob, MIN(id) AS id, MIN(size_bytes) AS least, MAX(size_bytes) AS most FROM"
    " (SELECT blob, id, size_bytes FROM memories"
    " UNION ALL SELECT blob, id, size_bytes FROM generation_outputs) GROUP BY blob ORDER BY 2"
)
_TEXTS = (
    "SELECT text FROM memories WHERE blob = ?1 AND text IS NOT NULL"
    " UNION SELECT text FROM generation_outputs WHERE blob = ?1 AND text IS NOT NULL"
)


def check(folder: Folder) -> Iterator[Finding]:
    named = folder.catalog.select(_NAMED)
    for row in named:
        yield from _content(folder, row["blob"], row["id"], (row["least"], row["most"]))
    yield from _unnamed(folder, {row["blob"] for row in named})


def _content(
    folder: Folder, digest: str, subject: str, sizes: tuple[int, int]
) -> Iterator[Finding]:
    size = folder.size(digest)
    if size is None:
        repair, advice = _recovered(folder, digest)
        yield Finding("content_missing", subject, f"content {digest}", repair, advice)
        return
    intact = size in sizes if folder.quick else folder.digest(digest) == digest
    if not intact:
        repair, advice = _recovered(folder, digest)
        yield Finding("content_altered", subject, f"content {digest}", repair, advice)
        return
    if sizes != (size, size):
        detail = f"{size} bytes, and {' to '.join(map(str, sorted(set(sizes))))} in the catalog"
        yield Finding("size_wrong", subject, detail, lambda: _sized(folder, digest, size))
    yield from _texts(folder, digest)


def _texts(folder: Folder, digest: str) -> Iterator[Finding]:
    for row in folder.catalog.select(
        "SELECT id, text FROM memories WHERE blob = ? AND modality = 'text'", (digest,)
    ):
        text = row["text"]
        if text is not None and hashlib.sha256(text.encode()).hexdigest() == digest:
            continue
        detail = "the content is intact"
        yield Finding("text_wrong", row["id"], detail, lambda: _retold(folder, digest))


def _recovered(folder: Folder, digest: str) -> tuple[Callable[[], str] | None, str | None]:
    """How a content can be had again, and else what to do."""
    texts = [row["text"].encode() for row in folder.catalog.select(_TEXTS, (digest,))]
    right = [each for each in texts if hashlib.sha256(each).hexdigest() == digest]
    if right:
        return _putting(folder, digest, lambda: right[0], "written anew from the catalog"), None
    if (aside := folder.quarantine.intact(digest)) is not None:
        return _putting(folder, digest, aside.read_bytes, "put back from quarantine"), None
    return None, RESTORE


def _putting(
    folder: Folder, digest: str, content: Callable[[], bytes], done: str
) -> Callable[[], str]:
    def repair() -> str:
        folder.replace(digest, content())
        return done

    return repair


def _sized(folder: Folder, digest: str, size: int) -> str:
    with folder.catalog.transaction("repairing a size") as connection:
        for table in ("memories", "generation_outputs"):
            statement = f"UPDATE {table} SET size_bytes = ? WHERE blob = ?"
            connection.execute(statement, (size, digest))
    return "the size of the content was written into the row"


def _retold(folder: Folder, digest: str) -> str:
    content = folder.read(digest)
    with folder.catalog.transaction("repairing a text") as connection:
        connection.execute(
            "UPDATE memories SET text = ? WHERE blob = ? AND modality = 'text'",
            (content.decode(), digest),
        )
    return "the text of the content was written into the row"


def _unnamed(folder: Folder, named: set[str]) -> Iterator[Finding]:
    leaving = {row["blob"] for row in folder.catalog.select("SELECT blob FROM leaving")}
    for path in sorted(folder.files.files()):
        if path.suffix:
            yield Finding("content_unfinished", path.name, str(path), _taking(folder, path))
        elif path.name in leaving and path.name not in named:
            gone = "deleted, as it was to be"
            yield Finding("deletion_unfinished", path.name, str(path), _deleting(path, gone))
        elif path.name not in named:
            yield Finding("content_unnamed", path.name, str(path), _taking(folder, path))
    for digest in sorted(folder.small_contents() - named):
        detail = "in the catalog"
        yield Finding("content_unnamed", digest, detail, _taking_small(folder, digest))
    for digest in folder.thumbnails.digests():
        if digest not in named:
            path = folder.thumbnails.path(digest)
            done = "deleted: it is made anew where it is asked for"
            yield Finding("thumbnail_unnamed", digest, str(path), _deleting(path, done))


def _taking(folder: Folder, path: Path) -> Callable[[], str]:
    return lambda: f"put aside as {folder.quarantine.take(path)}"


def _taking_small(folder: Folder, digest: str) -> Callable[[], str]:
    return lambda: f"put aside as {folder.take_small(digest)}"


def _deleting(path: Path, done: str) -> Callable[[], str]:
    def repair() -> str:
        path.unlink(missing_ok=True)
        return done

    return repair
