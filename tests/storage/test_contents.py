"""Small and large contents behind one face."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from memory_service.errors import NotFound, StorageFailure
from memory_service.storage import contents as contents_module
from memory_service.storage.blobs import BlobStore, Staged
from memory_service.storage.catalog import Catalog
from memory_service.storage.contents import SMALL_BYTES, Contents

SMALL, LARGE = b"small", os.urandom(SMALL_BYTES + 1)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    catalog = Catalog(tmp_path / "catalog.sqlite3")
    yield catalog
    catalog.close()


@pytest.fixture
def contents(tmp_path: Path, catalog: Catalog) -> Contents:
    return Contents(BlobStore(tmp_path / "blobs"), catalog)


def put(contents: Contents, catalog: Catalog, *given: bytes) -> list[str]:
    with contents.stage(given) as incoming:
        contents.publish(incoming)
        with catalog.transaction("storing") as connection:
            contents.insert(connection, incoming)
    return [each.digest for each in incoming]


def files(tmp_path: Path) -> list[str]:
    return [path.name for path in (tmp_path / "blobs").glob("*/*")]


def test_both_come_back(contents: Contents, catalog: Catalog, tmp_path: Path) -> None:
    for _ in range(2):
        small, large = put(contents, catalog, SMALL, LARGE)
        assert [contents.read(small), contents.read(large)] == [SMALL, LARGE]
        for digest, content in ((small, SMALL), (large, LARGE)):
            with contents.open(digest, len(content)) as file:
                assert file.read() == content
    assert files(tmp_path) == [large]
    assert contents.digests() == {small, large}


def test_the_bound_is_among_the_small(contents: Contents, catalog: Catalog, tmp_path: Path) -> None:
    put(contents, catalog, LARGE[:SMALL_BYTES])
    assert not files(tmp_path)


def test_what_is_named_is_looked_up_and_not_listed(
    contents: Contents, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start asks for its files alone, however many memories there are: it took seconds."""
    monkeypatch.setattr(contents_module, "LOOKED_UP_AT_ONCE", 2)
    with catalog.transaction("storing") as connection:
        connection.execute("INSERT INTO episodes VALUES ('e', 'n', 0.0, '')")
        connection.executemany(
            "INSERT INTO memories (id, namespace, episode_id, modality, media_type, blob,"
            " size_bytes, metadata, created_at) VALUES (?, 'n', 'e', 'text', '', ?, 0, '{}', 0.0)",
            [(str(number), f"named-{number}") for number in range(5)],
        )
    asked = ["named-4", "left", "named-0", "not \udcff UTF-8", "named-2"]
    assert contents.unreferenced([*asked, "left"]) == ["left", "not \udcff UTF-8"]


def test_what_is_not_stored_is_gone(contents: Contents, tmp_path: Path) -> None:
    with contents.stage([SMALL, LARGE]):
        assert len(files(tmp_path)) == 1
    assert not files(tmp_path)
    assert contents.digests() == set()


def test_one_of_the_large_ones_may_be_deleted_meanwhile(
    contents: Contents, catalog: Catalog
) -> None:
    (digest,) = put(contents, catalog, LARGE)
    with contents.stage([LARGE]) as incoming:
        contents.delete(digest)
        contents.publish(incoming)
    assert contents.read(digest) == LARGE


def test_deleted_means_gone(contents: Contents, catalog: Catalog) -> None:
    for digest in put(contents, catalog, SMALL, LARGE):
        assert contents.delete(digest)
        assert not contents.delete(digest)
        with pytest.raises(NotFound):
            contents.read(digest)
        with pytest.raises(NotFound):
            contents.open(digest, 5)


def test_an_open_one_stays_readable(contents: Contents, catalog: Catalog) -> None:
    for digest, content in zip(put(contents, catalog, SMALL, LARGE), (SMALL, LARGE), strict=True):
        with contents.open(digest, len(content)) as file:
            contents.delete(digest)
            assert file.read() == content


def test_altered_ones_are_not_served_and_written_anew(contents: Contents, catalog: Catalog) -> None:
    (digest,) = put(contents, catalog, SMALL)
    with catalog.transaction("damaging") as connection:
        connection.execute("UPDATE small_contents SET content = ?", (b"smell",))
    with pytest.raises(StorageFailure, match="altered"):
        contents.read(digest)
    with pytest.raises(StorageFailure, match="altered"):
        contents.open(digest, 5)
    contents.open(digest, 5, checked=False).close()
    put(contents, catalog, SMALL)
    assert contents.read(digest) == SMALL


def test_small_ones_of_an_earlier_version_are_files(
    contents: Contents, catalog: Catalog, tmp_path: Path
) -> None:
    digest = BlobStore(tmp_path / "blobs").put(SMALL)
    assert contents.read(digest) == SMALL
    with contents.open(digest, len(SMALL)) as file:
        assert file.read() == SMALL
    put(contents, catalog, SMALL)
    assert contents.digests() == {digest}
    assert contents.delete(digest)
    assert contents.digests() == set()


def test_what_was_taken_before_a_failure_is_gone(
    contents: Contents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = BlobStore.stage

    def second_fails(files: BlobStore, digest: str, content: bytes) -> Staged:
        if content != LARGE:
            raise StorageFailure("writing failed")
        return stage(files, digest, content)

    monkeypatch.setattr(BlobStore, "stage", second_fails)
    with pytest.raises(StorageFailure):
        contents.take([LARGE, LARGE + b"more"])
    assert not [each for each in tmp_path.rglob("*.part") if each.is_file()]
    (taken,) = contents.take([LARGE])
    assert len(list(tmp_path.rglob("*.part"))) == 1
    contents.drop([taken])
    assert not list(tmp_path.rglob("*.part"))
