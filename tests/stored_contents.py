"""Looks at the original bytes of a store behind its back, and damages them."""

from pathlib import Path

from memory_service.storage.store import Store


def alter(store: Store, digest: str, content: bytes) -> bytes:
    """Put other bytes in the place of a content, wherever it lies; returns those before."""
    path = store.blobs.path(digest)
    if path.exists():
        before = path.read_bytes()
        path.write_bytes(content)
        return before
    with store.catalog.transaction("damaging") as connection:
        found = connection.execute(
            "SELECT content FROM small_contents WHERE digest = ?", (digest,)
        ).fetchone()
        connection.execute(
            "UPDATE small_contents SET content = ? WHERE digest = ?", (content, digest)
        )
    return bytes(found["content"])


def files(data_dir: Path) -> set[str]:
    """The files of large contents, unfinished ones among them."""
    return {path.name for path in (data_dir / "blobs").glob("*/*")}
