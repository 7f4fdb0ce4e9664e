"""Many deletions amid stores and changes: what was waited for is in no file, wherever it was moved.

Prints how often the catalog had to be written anew (`-s`); docs/decisions.md has the figures.
"""

import random
from pathlib import Path

import pytest

from memory_service.bootstrap import build
from memory_service.records import Manner, Upload
from memory_service.settings import Settings
from memory_service.storage import database

STORED, FORGOTTEN = 900, 160


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_nothing_is_left_in_any_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(database, "SYNCHRONOUS", "OFF")
    rng = random.Random(seed)
    rewrites = 0
    with build(Settings(data_dir=tmp_path / "data", profile="fake", upkeep_s=3600)) as app:
        alive: dict[str, bytes] = {}
        rewrite = app.store.catalog.rewrite

        def counted() -> None:
            nonlocal rewrites
            rewrites += 1
            rewrite()

        monkeypatch.setattr(app.store.catalog, "rewrite", counted)

        def store() -> None:
            mark = f"mark{rng.randrange(10**12):012d}"
            words = f"{mark} " + "word " * rng.randrange(200)
            episode = app.memory.store([Upload("text", words.encode())], metadata={"of": mark})
            alive[episode.episode.memories[0].id] = mark.encode()
            if rng.random() < 0.5:  # rows that grow are moved
                grown = {"metadata": {"more": "x" * rng.randrange(400)}}
                app.memory.update(rng.choice(list(alive)), grown)

        for _ in range(STORED):
            store()
            if rng.random() < 0.45:
                gone = rng.choice(list(alive))
                app.memory.forget(gone)
                del alive[gone]
        for _ in range(FORGOTTEN):
            gone = rng.choice(list(alive))
            assert app.memory.forget(gone, Manner(wait=True)).clean
            mark = alive.pop(gone)
            files = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
            assert not [path for path in files if mark in path.read_bytes()]
            for _ in range(3):
                store()
    print(
        f"\nseed {seed}: {FORGOTTEN} forgotten and waited for, {rewrites} rewrites of the catalog"
    )
