import mmap
import threading
from pathlib import Path

import numpy as np
import pytest

from memory_service.storage.vectors import Allowed, Sizes, SubMemory, VectorIndex, VectorIndexes
from memory_service.storage.vectors.nearest import SEGMENT_BITS
from memory_service.storage.vectors.parts import Best, Block

DIMENSION = 32


def unit(count: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def index() -> VectorIndex:
    index = VectorIndex(DIMENSION)
    index.add(np.arange(10, 210), unit(200))
    return index


def test_finds_the_nearest_with_their_cosines(index: VectorIndex) -> None:
    vectors, query = unit(200), unit(1, seed=5)[0]
    cosines = vectors @ query
    sequences, found = index.search(query, 7)
    assert sequences.tolist() == (np.argsort(-cosines)[:7] + 10).tolist()
    np.testing.assert_allclose(found, np.sort(cosines)[::-1][:7], atol=2e-3)  # fp16


@pytest.mark.parametrize("count", [1, 3, 60])
def test_a_filter_is_exact_however_few_rows_it_leaves(index: VectorIndex, count: int) -> None:
    query = unit(1, seed=6)[0]
    allowed = np.random.default_rng(count).choice(200, count, replace=False).astype(np.int64)
    best = allowed[np.argsort(-(unit(200)[allowed] @ query))][:10] + 10
    assert index.search(query, 10, allowed + 10)[0].tolist() == best.tolist()


def test_allowing_nothing_or_what_is_not_there_finds_nothing(index: VectorIndex) -> None:
    query = unit(1)[0]
    assert not len(index.search(query, 5, np.empty(0, np.int64))[0])
    assert not len(index.search(query, 5, np.array([9999]))[0])


def test_gives_all_there_is_when_asked_for_more(index: VectorIndex) -> None:
    assert len(index.search(unit(1)[0], 1000)[0]) == 200
    assert not len(VectorIndex(DIMENSION).search(unit(1)[0], 3)[0])


def test_removed_rows_are_not_found_and_the_others_keep_their_numbers(index: VectorIndex) -> None:
    vectors = unit(200)
    assert index.remove(np.array([10, 50, 9999])) == 2
    assert len(index) == 198
    for place in (0, 40, 41, 199):
        sequences, cosines = index.search(vectors[place], 1)
        gone = place in (0, 40)
        assert (sequences[0] == place + 10) is not gone
        assert (cosines[0] > 0.99) is not gone


def test_a_memory_of_many_vectors_is_found_counted_and_removed_as_one() -> None:
    index, vectors = VectorIndex(DIMENSION), unit(60)
    query = vectors[:50].mean(axis=0)
    query /= np.linalg.norm(query)
    index.add(np.full(50, 7), vectors[:50], np.arange(50))
    index.add(np.arange(8, 18), -vectors[:10])  # all farther away than any of them
    assert len(index) == 11
    assert index.sequences().tolist() == list(range(7, 18))
    found = index.nearest(query, 3)
    assert found.sequences[0] == 7
    assert found.segments[0] == np.argmax(vectors[:50] @ query)
    assert len(set(found.sequences.tolist())) == 3
    assert found.segments[1:].tolist() == [0, 0]
    assert index.nearest(query, 5, np.array([7, 9])).sequences.tolist() == [7, 9]
    assert index.nearest(query, 5, np.array([9])).sequences.tolist() == [9]
    assert index.remove(np.array([7, 99])) == 1
    assert len(index) == 10
    assert 7 not in index.search(query, 11)[0]


def test_searches_beside_additions_and_removals() -> None:
    index, vectors = VectorIndex(DIMENSION), unit(400)
    index.add(np.arange(100), vectors[:100])
    done, wrong = threading.Event(), []

    def search() -> None:
        while not done.is_set():
            sequences, cosines = index.search(vectors[3], 5)
            if sequences[0] != 3 or cosines[0] < 0.99:
                wrong.append(sequences)

    readers = [threading.Thread(target=search) for _ in range(3)]
    for reader in readers:
        reader.start()
    for place in range(100, 400):
        index.add(np.array([place]), vectors[place][None])
        if place % 2:
            index.remove(np.array([place]))
    done.set()
    for reader in readers:
        reader.join()
    assert not wrong
    assert index.sequences().tolist() == [*range(100), *range(100, 400, 2)]


def test_a_block_that_fills_up_meanwhile_is_not_remembered_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rows come between any two steps of a search; here just when it asks whether more may come."""
    index, vectors = VectorIndex(DIMENSION), unit(64)
    index.add(np.arange(40), vectors[:40])
    (block,) = index.parts
    assert isinstance(block, Block)
    assert block.capacity == 64
    asked = []

    def full(self: Block) -> bool:
        if not asked:
            asked.append(self)
            index.add(np.arange(40, 64), vectors[40:])
        return not self.room

    allowed = Allowed(np.arange(64))
    monkeypatch.setattr(Block, "full", property(full))
    index.search(vectors[0], 5, allowed)
    assert asked
    for place in (0, 63):
        assert index.search(vectors[place], 5, allowed)[0][0] == place


def test_vectors_of_an_allowed_memory_that_come_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two memories of many vectors each; the second comes when it is asked how many there are."""
    index, vectors = VectorIndex(DIMENSION, sizes=Sizes(first_block=4000)), unit(2000)
    index.add(np.full(1000, 7), vectors[:1000], np.arange(1000))
    real, came = Block.rows_of, list[int]()

    def rows_of(self: Block, sequences: np.ndarray) -> np.ndarray:
        if not came:
            came.append(1)
            index.add(np.full(1000, 8), vectors[1000:], np.arange(1000))
        return real(self, sequences)

    monkeypatch.setattr(Block, "rows_of", rows_of)
    for place, memory in ((5, 7), (1005, 8)):
        assert index.search(vectors[place], 1, np.array([7, 8]))[0].tolist() == [memory]
    assert came


def test_what_a_filter_allows_is_copied_once_until_something_of_it_is_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    index, vectors = VectorIndex(DIMENSION), unit(2000)
    index.add(np.arange(2000), vectors)
    (block,) = index.parts
    copied = []
    real = Block._together
    monkeypatch.setattr(
        Block, "_together", lambda self, rows: copied.append(len(rows)) or real(self, rows)
    )
    allowed, query = Allowed(np.arange(0, 2000, 10)), vectors[40]
    first = index.search(query, 10, allowed)
    assert copied == [200]
    again = index.search(query, 10, allowed.extended(np.array([5000]), 1999))
    assert copied == [200]
    assert first[0].tolist() == again[0].tolist()
    assert first[0][0] == 40
    index.remove(np.array([40]))
    assert not block._kept  # or what is deleted would stay in memory
    assert index.search(query, 10, allowed)[0].tolist() == [
        *first[0][1:].tolist(),
        index.search(query, 11, allowed)[0][9],
    ]
    assert copied == [200, 199]


def test_what_is_kept_copied_of_a_part_is_at_most_an_eighth_of_it() -> None:
    index, vectors = VectorIndex(DIMENSION), unit(2000)
    index.add(np.arange(2000), vectors)
    (block,) = index.parts
    filters = [Allowed(np.arange(start, start + 100)) for start in range(0, 500, 100)]
    for _ in range(2):
        for allowed in filters:
            place = int(allowed.sequences[3])
            assert index.search(vectors[place], 1, allowed)[0].tolist() == [place]
            assert sum(len(each.rows) for each in block._kept) <= 250
    assert [len(each.rows) for each in block._kept] == [100, 100]
    index.search(vectors[0], 1, Allowed(np.arange(400)))  # too many to be kept
    assert [len(each.rows) for each in block._kept] == [100, 100]


def test_of_many_filters_a_few_are_kept_and_none_that_allows_nothing() -> None:
    index, vectors = VectorIndex(DIMENSION), unit(2000)
    index.add(np.arange(2000), vectors)
    (block,) = index.parts
    size = block.size_bytes
    elsewhere = [Allowed(np.arange(5000 + start, 5100 + start)) for start in range(30)]
    for allowed in elsewhere:
        assert not len(index.search(vectors[0], 1, allowed)[0])
    assert not block._kept
    filters = [Allowed(np.arange(start, 2000, 200)) for start in range(40)]
    filters = [allowed.extended(np.arange(5000, 5100), 1999) for allowed in filters]
    for allowed in filters:
        place = int(allowed.sequences[3])
        assert index.search(vectors[place], 1, allowed)[0].tolist() == [place]
    assert [len(each.rows) for each in block._kept] == [10] * 16
    assert block.size_bytes == size + 16 * 10 * (2 * DIMENSION + 8)


def test_what_is_kept_of_filters_asked_in_turns_is_copied_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As many as there is room for; for another one that goes which was asked longest ago."""
    index, vectors = VectorIndex(DIMENSION), unit(2000)
    index.add(np.arange(2000), vectors)
    copied = []
    real = Block._together
    monkeypatch.setattr(
        Block, "_together", lambda self, rows: copied.append(int(rows[0])) or real(self, rows)
    )
    filters = [Allowed(np.arange(start, 2000, 50)) for start in range(7)]
    filters = [allowed.extended(np.arange(5000, 5100), 1999) for allowed in filters]
    asked = [0, 1, 2, 3, 4, 5] * 3  # 40 rows each, of 250
    for turn in [*asked, 0, 6, 0, 1]:
        place = int(filters[turn].sequences[3])
        assert index.search(vectors[place], 1, filters[turn])[0].tolist() == [place]
    assert copied == [0, 1, 2, 3, 4, 5, 6, 1]


def test_what_is_copied_for_a_filter_that_is_gone_leaves_with_the_next_one() -> None:
    index, vectors = VectorIndex(DIMENSION), unit(2000)
    index.add(np.arange(2000), vectors)
    (block,) = index.parts
    index.search(vectors[0], 1, Allowed(np.arange(0, 2000, 20)))
    last = Allowed(np.arange(0, 2000, 25))
    index.search(vectors[0], 1, last)
    assert [len(each.rows) for each in block._kept] == [80]


def test_what_was_copied_before_a_removal_is_not_kept_by_a_search_beside_it() -> None:
    """Here between the steps of a removal: it has counted what it removes, and not yet dropped
    what was copied."""
    index, vectors = VectorIndex(DIMENSION), unit(2000)
    index.add(np.arange(2000), vectors)
    (block,) = index.parts
    before, beside = Allowed(np.arange(0, 2000, 20)), Allowed(np.arange(0, 2000, 25))
    index.search(vectors[0], 1, before)
    block.alive[40] = False
    block.removed += 1
    index.search(vectors[0], 1, beside)
    assert [len(each.rows) for each in block._kept] == [80]


def test_a_copy_that_is_made_while_something_is_removed_is_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    index, vectors = VectorIndex(DIMENSION), unit(2000)
    index.add(np.arange(2000), vectors)
    (block,) = index.parts
    real = Block._together

    def together(self: Block, rows: np.ndarray) -> object:
        copied = real(self, rows)
        index.remove(np.array([40]))
        return copied

    monkeypatch.setattr(Block, "_together", together)
    allowed = Allowed(np.arange(0, 2000, 10))
    index.search(vectors[40], 10, allowed)
    assert not block._kept
    assert 40 not in index.search(vectors[40], 10, allowed)[0]


def test_what_a_filter_allows_of_fewer_rows_is_asked_anew() -> None:
    allowed = Allowed(np.arange(5))
    ids = np.arange(8) << 20
    part = Block(DIMENSION, 8)
    assert allowed.rows(part, ids[:3], remember=True).tolist() == [True] * 3
    assert allowed.rows(part, ids, remember=True).tolist() == [True] * 5 + [False] * 3


def test_sub_memories_do_not_mix() -> None:
    indexes = VectorIndexes()
    one, other = (SubMemory("n", "text", "s", fingerprint) for fingerprint in ("a", "b"))
    indexes.add(one, np.array([1]), unit(1))
    indexes.add(other, np.array([2]), unit(1))
    found = indexes.get(one)
    assert found is not None
    assert found.search(unit(1)[0], 5)[0].tolist() == [1]
    assert indexes.remove("n", "text", np.array([1])) == 1
    assert not len(found)
    assert len(indexes.get(other) or ()) == 1
    assert indexes.get(SubMemory("m", "text", "s", "a")) is None


def test_a_block_takes_memory_as_it_is_filled() -> None:
    """A new one of 16,384 rows would else be 12.6 MB at the first of them."""

    def resident_bytes() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE

    before = resident_bytes()
    blocks = [Block(384, 16_384) for _ in range(8)]  # 100 MB
    assert resident_bytes() - before < 10 * 2**20
    vectors = np.random.default_rng(0).standard_normal((16_384, 384)).astype(np.float32)
    blocks[0].add(np.arange(16_384) << SEGMENT_BITS, vectors)
    found, _ = blocks[0].nearest(vectors[7] / np.linalg.norm(vectors[7]), 1, None, Best(1))
    assert len(found) == 1
    assert (blocks[0].codes.any(axis=1)).all()
