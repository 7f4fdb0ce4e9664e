"""Stores of every earlier format, made by the code of their time (formats/make.py), as they are
opened today: migrated, complete, recalled, sound."""

import hashlib
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path

import pytest

from memory_service.bootstrap import build
from memory_service.errors import NotFound
from memory_service.records import QueryPart
from memory_service.settings import Settings
from memory_service.storage.fsck.run import check
from memory_service.storage.schema import FORMAT

PACKED = sorted((Path(__file__).parent / "formats").glob("*.zip"), key=lambda path: int(path.stem))


def version(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "catalog.sqlite3")) as connection:
        (found,) = connection.execute("PRAGMA user_version").fetchone()
    return int(found)


def test_there_is_one_of_each() -> None:
    missing = set(range(1, FORMAT)) - {int(path.stem) for path in PACKED}
    assert not missing, (
        f"there is no store of format {missing}: name a commit that writes it in formats/make.py, "
        f"and run that with {missing}"
    )


@pytest.mark.parametrize("packed", PACKED, ids=lambda path: f"format {path.stem}")
def test_it_is_migrated_and_works(packed: Path, tmp_path: Path) -> None:
    format = int(packed.stem)
    zipfile.ZipFile(packed).extractall(tmp_path)
    assert version(tmp_path) == format
    with build(Settings(data_dir=tmp_path, profile="fake")) as app:
        assert app.mismatch() is None
        memories = [each for each in app.memory.list()[0] if each.namespace == "default"]
        assert [each.text for each in memories if each.text] == [
            "a red fox",
            "a blue whale",
            "a green frog",
        ]
        for memory in memories:
            assert len(app.memory.content(memory.id)[1]) == memory.size_bytes
        hits = app.retriever.retrieve([QueryPart("text", b"a blue whale")]).hits
        assert hits["text"][0].memory.metadata == {"name": "whale", "number": 1}
        assert hits["text"][0].cosine == pytest.approx(1.0, abs=2e-3)
        assert hits["image"][0].memory.metadata["name"] == "whale"
        (row,) = app.store.catalog.select("SELECT id FROM generations")
        made = app.generations.get(row["id"])
        assert made.memories[0].memory_id == memories[1].id
        assert app.generations.content(made.id)[1]
        if format >= 5:
            (prototype,) = app.store.catalog.select(
                "SELECT id FROM memories WHERE consolidated_by IS NOT NULL"
            )
            lineage = app.memory.explain(prototype["id"]).lineage
            assert lineage is not None
            assert len(lineage.members) == 2
            assert app.namespaces.get("notes").life.half_life_s == 60.0
        if format >= 8:
            (row,) = app.store.catalog.select("SELECT id FROM receipts")
            forgotten = app.forgetting.receipt(row["id"])
            assert forgotten.complete
            assert len(forgotten.memory_ids) == len(forgotten.episode_ids) == 1
            assert forgotten.contents == (hashlib.sha256(b"soon forgotten").hexdigest(),)
            assert forgotten.removed["memories"] == 1
        receipt = app.memory.forget(memories[1].id)
        with pytest.raises(NotFound):
            app.memory.get(memories[1].id)
        assert receipt.generations_marked == (made.id,)
    assert version(tmp_path) == FORMAT
    report = check(tmp_path)
    assert report.findings == []
    assert report.checked["memories"] >= 6
