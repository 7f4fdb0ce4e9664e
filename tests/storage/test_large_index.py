"""Indexes that are large enough for sealed segments: here a few thousand rows are."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clustered import Matrix, clustered, recall_at_10, unit

from memory_service.storage.vectors import Sizes, SubMemory, VectorIndex, VectorIndexes
from memory_service.storage.vectors import index as index_module
from memory_service.storage.vectors import indexes as indexes_module
from memory_service.storage.vectors import parts as parts_module
from memory_service.storage.vectors.parts import Best, Block, Part
from memory_service.storage.vectors.sealed import Candidates, Interrupted, Segment

DIMENSION = 64
SIZES = Sizes(
    exact=3000, buffer=1000, segment=5000, least_segment=400, block=1000, removed_share=0.05
)
ROWS, COUNT = clustered(9200, DIMENSION), 9000
QUERIES = ROWS[COUNT:][:100]
KEY = SubMemory("n", "text", "s", "f")
FP16 = 5e-4  # how far it moves a cosine, about
SEQUENCES = np.arange(1, COUNT + 1) * 3  # with gaps


def filled(count: int = COUNT, step: int = 1000) -> VectorIndex:
    """Merged whenever something is due, as the background would."""
    index = VectorIndex(DIMENSION, sizes=SIZES)
    index.when_due = VectorIndex.merge
    for start in range(0, count, step):
        here = slice(start, min(start + step, count))
        index.add(SEQUENCES[here], ROWS[here])
    return index


def kinds(index: VectorIndex) -> list[str]:
    return [type(part).__name__ for part in index.parts]


@pytest.fixture(scope="module")
def large() -> VectorIndex:
    """For tests that only search."""
    return filled()


def test_few_are_in_blocks_and_many_in_segments_of_a_bounded_size(large: VectorIndex) -> None:
    assert set(kinds(filled(3000))) == {"Block"}
    segments = [part for part in large.parts if isinstance(part, Segment)]
    assert len(segments) >= 2
    assert all(segment.count <= SIZES.segment for segment in segments)
    assert sum(part.count for part in large.parts) == len(large) == COUNT
    assert large.sequences().tolist() == SEQUENCES.tolist()


def test_finds_what_a_comparison_with_all_finds(large: VectorIndex) -> None:
    assert recall_at_10(large, ROWS[:COUNT], QUERIES, SEQUENCES) >= 0.99
    for place in (0, 4000, COUNT - 1):
        sequences, cosines = large.search(ROWS[place], 3)
        assert sequences[0] == SEQUENCES[place]
        assert cosines[0] == pytest.approx(1, abs=2e-3)
        assert (np.diff(cosines) <= 0).all()


@pytest.mark.parametrize("share", [0.5, 0.05, 0.01, 0.001])
@pytest.mark.parametrize("gathered", [50, 4096])
def test_finds_as_much_under_a_filter(
    large: VectorIndex, share: float, gathered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the way that is taken: few rows are compared one by one, many through the lists."""
    monkeypatch.setattr("memory_service.storage.vectors.parts.GATHERED", gathered)
    rng = np.random.default_rng(4)
    allowed = rng.choice(SEQUENCES, int(COUNT * share), replace=False)
    assert recall_at_10(large, ROWS[:COUNT], QUERIES, SEQUENCES, allowed) >= 0.99


@pytest.mark.parametrize("share", [0.5, 0.05])
def test_finds_as_much_when_all_that_is_allowed_lies_far_from_the_query(
    large: VectorIndex, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memory_service.storage.vectors.parts.GATHERED", 50)
    found = 0.0
    for query in QUERIES[:20]:
        farthest = np.argsort(ROWS[:COUNT] @ query)[: int(COUNT * share)]
        found += recall_at_10(
            large, ROWS[:COUNT], query[None], SEQUENCES, SEQUENCES[farthest], within=FP16
        )
    assert found >= 0.99 * 20


def test_what_cannot_be_among_the_best_of_all_is_not_compared(
    large: VectorIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each segment by itself would compare as many rows as if it were alone."""
    compared = []
    real = Segment.ranked

    def ranked(self: Segment, query: Any, rows: Any, depth: int) -> Any:
        compared.append(len(rows))
        return real(self, query, rows, depth)

    monkeypatch.setattr(Segment, "ranked", ranked)
    segments = [part for part in large.parts if isinstance(part, Segment)]
    alone = sum(segment.depth.candidates for segment in segments)
    for query in QUERIES:
        large.search(query, 10)
    # Of so few dimensions estimates are coarse: of 512 it is less than a half.
    assert sum(compared) < 0.9 * alone * len(QUERIES)
    assert recall_at_10(large, ROWS[:COUNT], QUERIES, SEQUENCES) >= 0.99
    of_each = large.nearest_of_each(QUERIES, 10)
    for query, found in zip(QUERIES, of_each, strict=True):
        assert found.sequences.tolist() == large.search(query, 10)[0].tolist()


@pytest.mark.parametrize("order", [1, -1])
def test_finds_as_much_where_the_nearest_are_in_one_of_several_segments(order: int) -> None:
    """What was found in one that is far from the query says nothing of the next one."""
    kinds_together = np.argsort(ROWS[:COUNT] @ ROWS[0])[::order]
    rows = ROWS[:COUNT][kinds_together]
    index = VectorIndex(DIMENSION, sizes=replace(SIZES, segment=3000, exact=1000, buffers=1))
    for start in range(0, COUNT, 3000):
        index.add(SEQUENCES[start : start + 3000], rows[start : start + 3000])
        index.merge(calm=True)
    index.merge(calm=True)
    assert kinds(index).count("Segment") >= 2
    assert recall_at_10(index, rows, QUERIES, SEQUENCES) >= 0.99
    assert recall_at_10(index, rows, rows[::200], SEQUENCES) >= 0.99
    strange = np.random.default_rng(0).standard_normal((40, DIMENSION)).astype(np.float32)
    strange /= np.linalg.norm(strange, axis=1, keepdims=True)
    assert recall_at_10(index, rows, strange, SEQUENCES, within=FP16) >= 0.99


def test_finds_as_much_in_a_loose_segment_behind_a_tight_one() -> None:
    """Estimates are coarser in it: by how wrong they were in the first, what is nearest would not
    be compared."""
    rng = np.random.default_rng(1)
    dimension, count = 128, 2500
    centres = unit(rng.standard_normal((10, dimension)))

    def around(number: int, noise: float) -> Matrix:
        off = noise / dimension**0.5 * rng.standard_normal((number, dimension))
        return unit(centres[rng.integers(10, size=number)] + off)

    rows = np.concatenate([around(count, 0.3), around(count, 1.0)])
    sizes = replace(SIZES, exact=1000, buffers=1, segment=count)
    index = VectorIndex(dimension, sizes=sizes)
    for start in (count, 0):  # what was sealed last is searched first
        here = slice(start, start + count)
        index.add(SEQUENCES[here], rows[here])
        index.merge()
    first, second = index.parts
    assert isinstance(second, Segment)
    assert (int(first.ids[0]) >> 20, int(second.ids[0]) >> 20) == (3, 3 * count + 3)
    queries = around(100, 2.75)
    assert recall_at_10(index, rows, queries, SEQUENCES[: 2 * count]) >= 0.99


@pytest.mark.parametrize("count", [0, 1, 31])
def test_too_few_rows_tell_nothing_of_estimates(count: int) -> None:
    rows, cosines = np.arange(count), np.linspace(0.9, 0.8, count).astype(np.float32)
    few = Candidates(rows, cosines, cosines, -1.0)
    assert few.error is None
    assert not few.clear(1, Best(10))


def test_no_graph_is_made_beside_more_rows_that_are_too_many_for_one() -> None:
    """They are what a search takes its time for; the graph took a fifth of a million's build."""
    index = VectorIndex(DIMENSION, sizes=replace(SIZES, segment=4500, buffers=1, linked=2000))
    for here in (slice(4000), slice(4000, 5100)):
        index.add(SEQUENCES[here], ROWS[here])
        index.merge()
    assert sorted(part.count for part in index.parts) == [1100, 4000]
    assert kinds(index) == ["Segment"] * 2
    assert index.unlinked is None
    assert not index.link()


def test_what_is_removed_is_not_found_and_gone_after_the_next_merge() -> None:
    index = filled()
    index.when_due = lambda index: None
    near = np.argsort(-(ROWS[:COUNT] @ QUERIES[0]))
    gone = SEQUENCES[np.concatenate([near[:30], near[30::33][:270]])]
    assert index.remove(gone) == 300
    assert index.remove(gone) == 0
    left = ~np.isin(SEQUENCES, gone)
    for query in QUERIES[:5]:
        assert not np.isin(index.search(query, 50)[0], gone).any()
        assert not np.isin(index.search(query, 50, SEQUENCES)[0], gone).any()
    assert recall_at_10(index, ROWS[:COUNT][left], QUERIES[:50], SEQUENCES[left]) >= 0.99
    assert len(index) == COUNT - 300
    assert index.removed > 0
    index.compact()
    assert index.removed == 0
    assert not any(np.isin(part.ids >> 20, gone).any() for part in index.parts)
    assert index.sequences().tolist() == SEQUENCES[left].tolist()
    assert recall_at_10(index, ROWS[:COUNT][left], QUERIES, SEQUENCES[left]) >= 0.99


@pytest.mark.parametrize("clusters", [1, 5])
def test_finds_as_much_in_the_hole_that_a_deleted_cluster_leaves(clusters: int) -> None:
    """The nearest of what is left are all about, and about as far: before a merge and after."""
    index = filled()
    gone = np.zeros(COUNT, np.bool_)
    queries = clustered(2000, DIMENSION)  # of the same clusters, other points
    asked = np.zeros(len(queries), np.bool_)
    while clusters:
        centre = ROWS[np.flatnonzero(~gone)[0]]
        gone |= ROWS[:COUNT] @ centre > 0.3  # between clusters it is 0 give or take .13
        asked |= queries @ centre > 0.3
        clusters -= 1
    queries = queries[asked][:60]
    index.when_due = lambda due: None
    index.remove(SEQUENCES[gone])
    left, sequences = ROWS[:COUNT][~gone], SEQUENCES[~gone]
    assert recall_at_10(index, left, queries, sequences) >= 0.99
    index.merge()
    index.compact()
    assert index.removed == 0
    assert "Segment" in kinds(index)
    assert recall_at_10(index, left, queries, sequences) >= 0.99
    assert recall_at_10(index, left, QUERIES, sequences) >= 0.99


def test_a_block_overwrites_what_is_removed_at_once() -> None:
    index = filled(100)
    index.remove(SEQUENCES[:1])
    assert not index.parts[0].codes[0].any()
    assert index.parts[0].codes[1].any()


def test_a_block_of_which_all_is_removed_is_passed_over() -> None:
    index = filled(2500)
    index.remove(SEQUENCES[:1000])
    assert any(part.removed == part.count for part in index.parts)
    assert SEQUENCES[1500] == index.search(ROWS[1500], 5)[0][0]
    assert len(index.search(ROWS[0], 2000, SEQUENCES)[0]) == 1500


def test_a_worn_segment_is_built_anew_without_being_asked() -> None:
    index = filled()
    index.remove(SEQUENCES[: COUNT // 4])
    assert index.removed <= SIZES.removed_share * COUNT
    index.remove(SEQUENCES)
    assert len(index) == 0
    assert index.parts == ()
    index.add(SEQUENCES[:5], ROWS[:5])
    assert index.search(ROWS[3], 1)[0].tolist() == [SEQUENCES[3]]


def test_memories_of_many_vectors_are_one_in_segments_too() -> None:
    """Long sounds: 1500 memories of a whole and three segments each, in several parts."""
    index = VectorIndex(DIMENSION, sizes=SIZES)
    index.when_due = VectorIndex.merge
    rng = np.random.default_rng(5)
    owners = np.repeat(np.arange(1500), 4)
    parts = np.tile(np.arange(4), 1500)
    for start in range(0, 6000, 500):
        here = slice(start, start + 500)
        index.add(owners[here], ROWS[here], parts[here])
    assert "Segment" in kinds(index)
    assert (len(index), index.vectors) == (1500, 6000)
    found = 0
    allowed = rng.choice(1500, 700, replace=False)
    for query in QUERIES:
        cosines = (ROWS[:6000] @ query).reshape(1500, 4)
        nearest = index.nearest(query, 10)
        best = np.argsort(-cosines.max(axis=1))[:10]
        found += len(np.intersect1d(nearest.sequences, best))
        assert (cosines[nearest.sequences].argmax(axis=1) == nearest.segments).mean() >= 0.9
        assert len(np.unique(nearest.sequences)) == 10
        assert np.isin(index.nearest(query, 10, allowed).sequences, allowed).all()
    assert found >= 0.99 * 10 * len(QUERIES)
    assert index.remove(np.array([7])) == 1
    assert index.vectors == 5996


class Held:
    """Stops a merge where it builds, until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.building, self.go = threading.Event(), threading.Event()
        real = index_module.build

        def build(*arguments: object) -> Part:
            self.building.set()
            assert self.go.wait(60)
            return real(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(index_module, "build", build)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    held = Held(monkeypatch)
    yield held
    held.go.set()


def test_searching_and_storing_go_on_while_a_merge_builds(held: Held) -> None:
    index = VectorIndex(DIMENSION, sizes=SIZES)
    index.add(SEQUENCES[:4000], ROWS[:4000])
    merge = threading.Thread(target=index.merge)
    merge.start()
    assert held.building.wait(60)
    # The merge stands still. Nothing below waits for it, or this test would never end.
    index.add(SEQUENCES[4000:4200], ROWS[4000:4200])
    assert index.remove(SEQUENCES[[5, 4100]]) == 2
    assert index.search(ROWS[4001], 1)[0].tolist() == [SEQUENCES[4001]]
    assert index.search(ROWS[6], 1)[0].tolist() == [SEQUENCES[6]]
    assert SEQUENCES[5] not in index.search(ROWS[5], 10)[0]
    assert kinds(index) == ["Block"] * len(index.parts)
    held.go.set()
    merge.join()
    # What was removed meanwhile is removed from what was built.
    assert kinds(index) == ["Segment", "Block"]
    assert SEQUENCES[5] not in index.search(ROWS[5], 10)[0]
    assert SEQUENCES[4100] not in index.search(ROWS[4100], 10)[0]
    assert index.sequences().tolist() == np.delete(SEQUENCES[:4200], [5, 4100]).tolist()


def test_storing_goes_on_while_a_search_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    index = filled(500)
    searching, go = threading.Event(), threading.Event()
    real = Block.search

    def search(self: Block, *arguments: object) -> object:
        searching.set()
        assert go.wait(60)
        return real(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Block, "search", search)
    found = []
    reader = threading.Thread(target=lambda: found.append(index.search(ROWS[3], 5)))
    reader.start()
    assert searching.wait(60)
    index.add(SEQUENCES[500:1500], ROWS[500:1500])
    index.remove(SEQUENCES[:2])
    assert len(index) == 1498
    go.set()
    reader.join()
    assert found[0][0][0] == SEQUENCES[3]


def test_closing_gives_up_what_is_being_built(held: Held) -> None:
    indexes = VectorIndexes(sizes=SIZES)
    indexes.start()
    indexes.add(KEY, SEQUENCES[:4000], ROWS[:4000])
    index = indexes.get(KEY)
    assert index is not None
    assert held.building.wait(60)
    closing = threading.Thread(target=indexes.close)
    closing.start()
    held.go.set()
    closing.join(60)
    assert not closing.is_alive()
    assert set(kinds(index)) == {"Block"}  # still searched as before
    assert len(index) == 4000


def test_the_background_merges_what_is_due() -> None:
    indexes = VectorIndexes(sizes=SIZES)
    indexes.start()
    for start in range(0, COUNT, 1500):
        indexes.add(KEY, SEQUENCES[start : start + 1500], ROWS[start : start + 1500])
    indexes.settle()
    index = indexes.get(KEY)
    assert index is not None
    assert "Segment" in kinds(index)
    assert sum(part.count for part in index.parts if isinstance(part, Block)) <= SIZES.buffer
    assert recall_at_10(index, ROWS[:COUNT], QUERIES[:20], SEQUENCES) >= 0.99
    indexes.close()


def test_where_little_comes_blocks_beside_segments_are_sealed() -> None:
    index = filled(4500)
    assert kinds(index) == ["Segment", "Block"]
    assert not index.merge()
    assert index.merge(calm=True)
    assert "Block" not in kinds(index)
    assert recall_at_10(index, ROWS[:4500], QUERIES, SEQUENCES[:4500]) >= 0.99
    assert not index.merge(calm=True)
    index.add(SEQUENCES[4500:4899], ROWS[4500:4899])
    assert not index.merge(calm=True)  # too few for a segment
    index.add(SEQUENCES[4899:4900], ROWS[4899:4900])
    assert index.merge(calm=True)
    assert "Block" not in kinds(index)
    few = filled(2900)
    assert not few.merge(calm=True)  # all are compared: exact, and as fast
    assert set(kinds(few)) == {"Block"}


def test_where_little_comes_one_segment_is_made_of_two_as_long_as_it_gets_a_graph() -> None:
    for linked, left in ((9_000, 1), (5_000, 2)):
        index = VectorIndex(DIMENSION, sizes=replace(SIZES, segment=9_000, linked=linked))
        index.add(SEQUENCES[:5000], ROWS[:5000])
        index.merge()
        index.add(SEQUENCES[5000:6000], ROWS[5000:6000])  # a fifth: left beside it while much comes
        assert index.merge(calm=True)
        assert kinds(index) == ["Segment"] * left
        index.link()
        assert recall_at_10(index, ROWS[:6000], QUERIES, SEQUENCES[:6000]) >= 0.99


def test_while_much_comes_a_large_index_waits_for_more() -> None:
    """Or each row would be sealed anew with every few that come."""
    index = VectorIndex(DIMENSION, sizes=replace(SIZES, buffer=500))
    index.add(SEQUENCES[:8000], ROWS[:8000])
    index.merge()
    index.add(SEQUENCES[8000:9000], ROWS[8000:9000])
    assert not index.merge()  # up to an eighth
    index.add(SEQUENCES[8000:8200] + 1, ROWS[8000:8200])
    assert index.merge()
    few = VectorIndex(DIMENSION, sizes=replace(SIZES, buffer=100, least_segment=100))
    few.add(SEQUENCES[:8000], ROWS[:8000])
    few.merge()
    few.add(SEQUENCES[8000:8401], ROWS[8000:8401])
    assert few.merge()  # but no more than four buffers


@pytest.mark.parametrize(
    ("sizes", "why"),
    [
        ({"segment": 3000}, "no room for the 4000"),
        ({"segment": 4999}, "one more block of 1000"),
        ({"segment": 5000, "exact": 4001}, "no room for the 4001"),
        ({"least_segment": 1001}, "at least 1001"),
        ({"buffer": 3500, "buffers": 1, "least_segment": 3001}, "at least 3001"),
    ],
)
def test_sizes_that_would_merge_for_ever_are_refused(sizes: dict[str, int], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        replace(SIZES, **sizes)
    least = replace(SIZES, exact=1000, buffers=1, segment=2000, least_segment=1000)
    index = VectorIndex(DIMENSION, sizes=least)  # just large enough
    index.add(SEQUENCES[:64], ROWS[:64])
    index.add(SEQUENCES[64:], ROWS[64:COUNT])
    assert index.merge()
    assert all(part.count <= 2000 for part in index.parts)
    assert not index.merge()


def test_how_long_it_is_until_something_is_to_be_merged() -> None:
    index = filled(4500)
    room = max(SIZES.buffer, 4500 // 8) - sum(
        part.count for part in index.parts if isinstance(part, Block)
    )
    assert index.calm_s(10.0) == room / 10
    assert index.calm_s(0.0) == float("inf")


class Watched:
    """Stands for an index, and notes what the background does with it."""

    def __init__(self) -> None:
        self.changes, self.done = 0, list[Any]()

    def calm_s(self, per_s: float) -> float:
        return 1000 / per_s if per_s else float("inf")

    def merge(self, *, purge: bool, calm: bool, stopped: Any) -> bool:
        self.done.append(calm)
        return calm

    def save(self) -> None:
        self.done.append("saved")

    def link(self, stopped: Any, *, within_s: float, rests: Any) -> bool:
        self.done.append(within_s)
        return False


def test_the_background_waits_for_calm(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(indexes_module, "monotonic", lambda: now)
    index = Watched()
    background = indexes_module.Background(lambda: [index])  # type: ignore[list-item]
    for came, expected in ((1000, [False, 2.5]), (25, [True, "saved", 100]), (0, [True, "saved"])):
        now += 5.0
        index.changes += came
        background._look(settling=False)
        assert index.done[: len(expected)] == expected
        index.done.clear()


def test_linking_rests_while_much_comes_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(indexes_module, "monotonic", lambda: now)
    index = Watched()
    background = indexes_module.Background(lambda: [index])  # type: ignore[list-item]

    def waits(closing: threading.Event, seconds: float) -> None:
        nonlocal now
        now += seconds
        index.changes += int(came_per_s * seconds)

    def rested_s(most_s: float = 200.0) -> float:
        began = now
        while background._rests() and now - began < most_s:
            pass
        return now - began

    monkeypatch.setattr(threading.Event, "wait", waits)
    came_per_s = 2 * indexes_module.MUCH_PER_S
    waits(threading.Event(), 5.0)
    assert rested_s(3.0) == 3.0
    came_per_s = indexes_module.MUCH_PER_S / 2
    assert rested_s() == indexes_module.BREATH_S  # by then it knows
    came_per_s = 2 * indexes_module.MUCH_PER_S
    waits(threading.Event(), 5.0)
    assert rested_s() == indexes_module.REST_S - 3.0 - indexes_module.BREATH_S
    assert rested_s() == 0  # as long as nothing was linked
    monkeypatch.setattr(Watched, "link", lambda *given, **named: True)
    background._attend(index)  # type: ignore[arg-type]
    waits(threading.Event(), 5.0)
    assert rested_s() == indexes_module.REST_S


def test_others_are_merged_beside_linking() -> None:
    linked, other = Watched(), Watched()
    background = indexes_module.Background(lambda: [linked, other])  # type: ignore[list-item]

    def link(stopped: Any, *, within_s: float, rests: Any) -> bool:
        background.ask(other)  # type: ignore[arg-type]
        rests()
        linked.done.append("linked")
        linked.done.extend(other.done)
        return True

    linked.link = link  # type: ignore[method-assign]
    background._attend(linked, calm_s=0.0)  # type: ignore[arg-type]
    assert linked.done[:4] == [False, "linked", False, "saved"]


def test_the_background_seals_and_links_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes_module, "LOOK_S", 0.05)
    indexes = VectorIndexes(sizes=SIZES)
    indexes.start()
    indexes.add(KEY, SEQUENCES[:4500], ROWS[:4500])
    index = indexes.get(KEY)
    assert index is not None
    until = time.monotonic() + 100
    while set(kinds(index)) != {"Segment"} or index.unlinked is not None:
        assert time.monotonic() < until
        time.sleep(0.02)
    indexes.close()


@pytest.mark.skipif(
    not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="the system has none"
)
def test_only_large_blocks_are_in_huge_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    def flags_at(address: int) -> str:
        found = ""
        for line in Path("/proc/self/smaps").read_text().splitlines():
            start, dash, rest = line.partition("-")
            if dash and ":" not in start:
                here = int(start, 16) <= address < int(rest.split()[0], 16)
            elif here and line.startswith("VmFlags:"):
                found = line
        return found

    real, advised = parts_module._advise, list[str]()

    def noted(codes: Any, advice: str, page: int) -> None:
        real(codes, advice, page)
        advised.append(advice)
        if advice == "MADV_NOHUGEPAGE":  # still there: the C library may unmap it afterwards
            advised.extend(flags_at(middle).split())

    monkeypatch.setattr(parts_module, "_advise", noted)
    block = Block(1024, 4096)  # 8 MiB
    middle = block.codes[2048].ctypes.data
    assert "hg" in flags_at(middle).split()
    advised.clear()
    del block  # what the C library gives the memory to next may be small
    assert "nh" in advised
    assert "hg" not in advised
    Block(1024, 1024)  # 2 MiB
    assert "MADV_HUGEPAGE" not in advised


def test_an_interrupted_merge_changes_nothing() -> None:
    index = VectorIndex(DIMENSION, sizes=SIZES)
    index.add(SEQUENCES[:4000], ROWS[:4000])
    with pytest.raises(Interrupted):
        index.merge(stopped=lambda: True)
    assert recall_at_10(index, ROWS[:4000], QUERIES[:10], SEQUENCES[:4000]) == 1
    assert index.merge()
    assert recall_at_10(index, ROWS[:4000], QUERIES, SEQUENCES[:4000]) >= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("long", [False, True], ids=["one vector each", "four vectors each"])
def test_recall_of_a_large_index_at_every_selectivity(long: bool) -> None:
    """60,000 vectors in segments as large as they are in use, and 4,000 in blocks."""
    rows = clustered(64_200, DIMENSION, seed=3, centres=300)
    vectors, queries = rows[:64_000], rows[64_000:]
    memories = np.arange(64_000) // 4 if long else np.arange(64_000)
    index = VectorIndex(DIMENSION)
    for start in range(0, 64_000, 4000):
        here = slice(start, start + 4000)
        index.add(memories[here], vectors[here], np.arange(64_000)[here] % 4 if long else None)
        if start == 56_000:
            index.merge()
    assert set(kinds(index)) == {"Segment", "Block"}
    rng = np.random.default_rng(6)
    every = np.unique(memories)
    for share in (1, 0.5, 0.05, 0.01, 0.001):
        allowed = rng.choice(every, int(len(every) * share), replace=False)
        rows_left = np.flatnonzero(np.isin(memories, allowed))
        found = 0
        for query in queries:
            order = rows_left[np.argsort(-(vectors[rows_left] @ query))]
            first = np.sort(np.unique(memories[order], return_index=True)[1])[:10]
            got = index.search(query, 10, None if share == 1 else allowed)[0]
            found += len(np.intersect1d(got, memories[order[first]]))
        assert found >= 0.99 * 10 * len(queries), share
