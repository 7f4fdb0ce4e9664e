import errno
import hashlib
import os
from pathlib import Path

import pytest

from memory_service.errors import NotFound, StorageFailure, StorageFull
from memory_service.storage import blobs as blobs_module
from memory_service.storage.blobs import BlobStore


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


def files(blobs: BlobStore) -> list[Path]:
    return list(blobs.path("00").parents[1].glob("*/*"))


@pytest.mark.parametrize("content", [b"", b"x", os.urandom(300_000)])
def test_gives_back_what_was_put(blobs: BlobStore, content: bytes) -> None:
    digest = blobs.put(content)
    assert digest == hashlib.sha256(content).hexdigest()
    assert blobs.read(digest) == content
    assert blobs.put(content) == digest
    assert len(files(blobs)) == 1


def test_deleted_means_gone(blobs: BlobStore) -> None:
    digest = blobs.put(b"x")
    assert blobs.delete(digest)
    assert not blobs.delete(digest)
    with pytest.raises(NotFound):
        blobs.read(digest)


def test_altered_bytes_are_not_served(blobs: BlobStore) -> None:
    digest = blobs.put(b"right")
    blobs.path(digest).write_bytes(b"wrong")
    with pytest.raises(StorageFailure, match="altered"):
        blobs.read(digest)


def test_a_file_cut_short_is_written_anew(blobs: BlobStore) -> None:
    digest = blobs.put(b"whole")
    blobs.path(digest).write_bytes(b"who")
    blobs.put(b"whole")
    assert blobs.read(digest) == b"whole"


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_full_disk_leaves_nothing_behind(
    blobs: BlobStore, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(blobs_module.os, call, full)
        with pytest.raises(StorageFull):
            blobs.put(b"too much")
    assert not files(blobs)
    assert blobs.read(blobs.put(b"too much")) == b"too much"


def test_a_short_write_goes_on(blobs: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(blobs_module.os, "write", lambda fd, view: real(fd, view[:3]))
    assert blobs.read(blobs.put(b"0123456789")) == b"0123456789"


def test_sweep_removes_only_what_nobody_names(blobs: BlobStore) -> None:
    kept, orphan = blobs.put(b"kept"), blobs.put(b"orphan")
    blobs.path(orphan).with_suffix(".part").write_bytes(b"unfinished")
    assert blobs.sweep({kept}) == 2
    assert files(blobs) == [blobs.path(kept)]


def test_damaged_bytes_are_written_anew(blobs: BlobStore) -> None:
    digest = blobs.put(b"right")
    blobs.path(digest).write_bytes(b"wrong")
    blobs.put(b"right")
    assert blobs.read(digest) == b"right"
