import gc
import sqlite3
import threading
from pathlib import Path

import pytest

from memory_service.errors import StorageFailure
from memory_service.storage import insertion
from memory_service.storage.catalog import Catalog
from memory_service.storage.schema import MIGRATIONS


def test_is_durable_and_careful(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "catalog")
    wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1}
    with catalog.transaction("looking") as connection:
        for name, value in wanted.items():
            assert connection.execute(f"PRAGMA {name}").fetchone()[0] == value
        assert connection.execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS)
    catalog.close()


def test_refuses_a_newer_format(tmp_path: Path) -> None:
    Catalog(tmp_path / "catalog").close()
    database = sqlite3.connect(tmp_path / "catalog")
    database.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    database.close()
    with pytest.raises(StorageFailure, match="newer version"):
        Catalog(tmp_path / "catalog")


def test_refuses_what_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "catalog").write_bytes(b"a letter to my grandmother" * 100)
    with pytest.raises(StorageFailure):
        Catalog(tmp_path / "catalog")


def test_a_failed_transaction_changes_nothing(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "catalog")

    def fail_halfway() -> None:
        with catalog.transaction("trying") as connection:
            insertion.space_number(connection, ("s", "f"), 3)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert not catalog.select("SELECT * FROM spaces")
    catalog.close()


def test_threads_read_beside_an_open_transaction(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "catalog")
    seen: list[int] = []

    def read() -> None:
        seen.append(len(catalog.select("SELECT * FROM spaces")))

    def in_a_thread() -> None:
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()

    with catalog.transaction("writing") as connection:
        insertion.space_number(connection, ("s", "f"), 3)
        in_a_thread()
    in_a_thread()
    assert seen == [0, 1]
    gc.collect()
    assert not catalog._readers  # their threads are gone, so are their connections
    catalog.close()


def test_a_surrogate_is_found_nowhere(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "catalog")
    assert catalog.select("SELECT * FROM memories WHERE id = ?", ("\ud800",)) == []
    catalog.close()
