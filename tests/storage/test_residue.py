"""What deleted rows left in pages is found, however much is looked for."""

import random
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.episodes import episode
from memory_service.records import Manner
from memory_service.storage import residue
from memory_service.storage.store import Store


@pytest.mark.parametrize("seed", range(20))
def test_it_finds_what_a_plain_search_finds(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Marks of several lengths that begin alike, at the edges of parts and across none."""
    drawn = random.Random(seed)
    monkeypatch.setattr(residue, "_LOOKED_AT_ONCE", drawn.choice((1, 100, 2**20)))
    parts = [bytes(drawn.choices(b"ab", k=drawn.randrange(1, 60))) for _ in range(30)]
    monkeypatch.setattr(residue, "_unallocated", lambda catalog: iter(parts))
    outcomes = set()
    for _ in range(60):
        count = drawn.randrange(1, 4)
        marks = [bytes(drawn.choices(b"ab", k=drawn.randrange(8, 14))) for _ in range(count)]
        expected = any(mark in part for mark in marks for part in parts)
        assert residue.left(Path("any"), marks) is expected
        outcomes.add(expected)
    assert outcomes == {True, False}


def test_nothing_is_looked_for_where_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residue, "_unallocated", lambda catalog: pytest.fail("read"))
    assert not residue.left(Path("any"), [])


def test_after_thousands_the_catalog_is_not_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless something was found: stores would wait for as long as it takes to copy it."""
    count = 2500
    vectors = np.random.default_rng(0).standard_normal((count, 24), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with Store(tmp_path / "data") as store:
        store.add_episodes(
            [
                episode(f"note {n}", v, ("s", "0"), namespace="n", number=n, created_at=time.time())
                for n, v in enumerate(vectors)
            ]
        )
        monkeypatch.setattr(residue, "left", lambda catalog, marks: looked.append(len(marks)))
        monkeypatch.setattr(store.catalog, "rewrite", lambda: pytest.fail("written anew"))
        looked: list[int] = []
        receipt = store.removal.namespace("n", Manner(wait=True))
        assert receipt.clean
        assert len(looked) == 1
        assert looked[0] > 8192
