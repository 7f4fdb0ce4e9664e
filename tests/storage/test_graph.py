"""Graphs of sealed segments: as good as comparing all, whatever is asked for and was removed."""

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from clustered import clustered, recall_at_10, unit

from memory_service.storage.vectors import Sizes, SubMemory, VectorIndex, VectorIndexes, linking
from memory_service.storage.vectors import graph as module
from memory_service.storage.vectors import snapshots as snapshots_module
from memory_service.storage.vectors.parts import Interrupted, scan
from memory_service.storage.vectors.sealed import Segment
from memory_service.storage.vectors.snapshots import Opening, Snapshot, Snapshots

DIMENSION, COUNT = 48, 4000
FEW = 1600  # are sealed, too
SIZES = Sizes(exact=1500, buffer=1000, segment=5000, least_segment=400, block=1000, unsaved=10**6)
ROWS = clustered(COUNT + 60, DIMENSION, seed=5)
QUERIES = ROWS[COUNT:]
SEQUENCES = np.arange(1, COUNT + 1)
KEY = SubMemory("n", "text", "s", "f")


def sealed(count: int = COUNT, snapshot: Snapshot | None = None) -> VectorIndex:
    index = VectorIndex(DIMENSION, sizes=SIZES, snapshot=snapshot)
    index.add(SEQUENCES[:count], ROWS[:count])
    assert index.merge()
    return index


@pytest.fixture(scope="module")
def linked() -> VectorIndex:
    index = sealed()
    assert index.link()
    return index


def segment_of(index: VectorIndex) -> Segment:
    (segment,) = (part for part in index.parts if isinstance(part, Segment))
    return segment


def test_finds_what_a_comparison_with_all_finds(linked: VectorIndex) -> None:
    assert linked.unlinked is None
    assert segment_of(linked).graph is not None
    assert recall_at_10(linked, ROWS[:COUNT], QUERIES, SEQUENCES) >= 0.99
    sequences, cosines = linked.search(ROWS[7], 3)
    assert sequences[0] == 8
    assert (np.diff(cosines) <= 0).all()
    assert len(linked.search(QUERIES[0], module.MOST_HITS)[0]) == module.MOST_HITS
    assert len(linked.search(QUERIES[0], 1)[0]) == 1


def test_its_size_is_told_to_within_a_tenth(linked: VectorIndex) -> None:
    segment = segment_of(linked)
    assert segment.graph is not None
    links = faiss.vector_to_array(segment.graph.index.hnsw.neighbors).nbytes
    lists = len(faiss.serialize_index(segment.lists))  # centroids and tables besides
    expected = segment.codes.nbytes + links + COUNT * DIMENSION + lists
    assert 0.9 * expected < linked.size_bytes < 1.1 * expected


def test_queries_unlike_all_that_is_stored_take_deeper_walks() -> None:
    """Or a comparison with all rows, where no walk suffices."""
    rows = clustered(COUNT, 128, seed=5)
    index = VectorIndex(128, sizes=SIZES)
    index.add(SEQUENCES, rows)
    index.merge()
    index.link()
    strange = unit(np.random.default_rng(0).standard_normal((40, 128)))
    segment = segment_of(index)
    assert segment.graph is not None
    assert recall_at_10(index, rows, strange, SEQUENCES, within=5e-4) >= 0.99
    measured = int(segment.graph.walk.depth / linking.MARGIN)
    walk = replace(segment.graph.walk, depth=measured, below=())
    segment.graph = module.Graph(segment.graph.index, segment.flat, segment.list_of, walk)
    assert recall_at_10(index, rows, strange, SEQUENCES, within=5e-4) < 0.95


def test_a_small_dense_kind_is_found_like_all_others() -> None:
    """Rows of one kind among isolated ones: of its many that are about as near, a walk that
    suffices elsewhere finds too few."""
    rng = np.random.default_rng(0)
    others = unit(rng.standard_normal((200, 64)))[rng.integers(200, size=5000)]
    others = unit(others + 0.7 * rng.standard_normal((5000, 64)) / 8)
    kind = unit(rng.standard_normal((1, 64)) / 8 + 0.3 * rng.standard_normal((3100, 64)) / 8)
    rows, queries = np.concatenate([others, kind[:3000]]), kind[3000:]
    rows = rows[rng.permutation(len(rows))]
    sequences = np.arange(1, len(rows) + 1)
    index = VectorIndex(64, sizes=Sizes(exact=1500, least_segment=400))
    index.add(sequences, rows)
    index.merge()
    index.link()
    segment = segment_of(index)
    assert segment.graph is not None
    assert recall_at_10(index, rows, queries, sequences, within=1e-4) >= 0.99
    walk = module.Walk(32)  # as deep as all rows together ask for
    segment.graph = module.Graph(segment.graph.index, segment.flat, segment.list_of, walk)
    assert recall_at_10(index, rows, queries, sequences, within=1e-4) < 0.97


def test_where_no_walk_finds_enough_all_rows_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linking, "WORST", 1.0)
    monkeypatch.setattr(linking, "WORST_RECALL", 1.1)
    index = sealed()
    index.link()
    graph = segment_of(index).graph
    assert graph is not None
    assert {depth for _, depth in graph.walk.deep} == {0}
    assert graph.nearest(QUERIES[:1], 10, None) == [None]
    assert recall_at_10(index, ROWS[:COUNT], QUERIES, SEQUENCES, within=5e-4) == 1


@pytest.mark.parametrize("near", [True, False])
def test_what_is_removed_is_not_found_and_hides_nothing(near: bool) -> None:
    """`near`: all that a walk would find."""
    index = sealed()
    index.link()
    order = np.argsort(-(ROWS[:COUNT] @ QUERIES[0]))
    gone = SEQUENCES[order[:300] if near else order[::14]]
    index.remove(gone)
    kept = np.isin(SEQUENCES, gone, invert=True)
    assert recall_at_10(index, ROWS[:COUNT][kept], QUERIES[:20], SEQUENCES[kept]) >= 0.99
    assert not np.isin(index.search(QUERIES[0], 100)[0], gone).any()


def test_a_graph_leaves_with_its_segment() -> None:
    index = sealed()
    index.link()
    index.remove(SEQUENCES[:3])
    index.compact()
    assert segment_of(index).graph is None
    assert index.link()
    assert recall_at_10(index, ROWS[3:COUNT], QUERIES[:20], SEQUENCES[3:]) >= 0.99


def test_walks_go_by_bytes_and_what_they_find_is_compared_with_the_vectors(
    linked: VectorIndex,
) -> None:
    """A graph takes half as much for its copies as the vectors, and cosines are exact."""
    segment = segment_of(linked)
    assert segment.graph is not None
    copies = faiss.downcast_index(segment.graph.index.storage)
    assert copies.code_size == DIMENSION
    assert copies.codes.size() == DIMENSION * COUNT
    for query in QUERIES[:20]:
        (exact,) = scan(segment.flat, query[None], 10, None)
        found = segment.graph.nearest(query[None], 10, None)[0]
        assert found is not None
        both, here, there = np.intersect1d(found[0], exact[0], return_indices=True)
        assert len(both) >= 9
        assert (found[1][here] == exact[1][there]).all()


def test_a_dimension_that_outweighs_all_others_does_not_make_walks_coarse() -> None:
    """As one or two do in vectors of some encoders."""
    rows = np.concatenate([np.full((COUNT + 40, 1), 0.8, np.float32), 0.6 * ROWS[: COUNT + 40]], 1)
    index = VectorIndex(DIMENSION + 1, sizes=SIZES)
    index.add(SEQUENCES, rows[:COUNT])
    index.merge()
    index.link()
    assert segment_of(index).graph is not None
    assert recall_at_10(index, rows[:COUNT], rows[COUNT:], SEQUENCES, within=2e-4) >= 0.99


def test_a_few_rows_that_outweigh_all_others_in_a_dimension_do_not_become_alike() -> None:
    """Or they would not be found, and queries of the others be compared with all rows."""
    dimension, few = 128, 60
    rows = clustered(COUNT + few, dimension, seed=5)
    rng = np.random.default_rng(1)
    heavy = np.concatenate([rng.choice(COUNT, COUNT // 100, replace=False), COUNT + np.arange(few)])
    weights = rng.uniform(0.85, 0.995, len(heavy)).astype(np.float32)
    rows[heavy, 0] = 0
    rows[heavy] = np.sqrt(1 - weights**2)[:, None] * unit(rows[heavy])
    rows[heavy, 0] = weights
    index = VectorIndex(dimension, sizes=SIZES)
    index.add(SEQUENCES, rows[:COUNT])
    index.merge()
    index.link()
    graph = segment_of(index).graph
    assert graph is not None
    usual = np.delete(rows[:COUNT], heavy[heavy < COUNT], axis=0)[:100]
    assert not any(found is None for found in graph.nearest(usual, 10, None))
    assert recall_at_10(index, rows[:COUNT], rows[COUNT:], SEQUENCES, within=5e-4) >= 0.99


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux what is mapped")
@pytest.mark.parametrize("read", [False, True])
def test_the_vectors_of_a_segment_with_a_graph_leave_memory_with_it(
    tmp_path: Path, read: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`read`: the graph was made before a restart."""
    monkeypatch.setattr(snapshots_module, "LEAST_ROWS", 10)
    snapshots = Snapshots(tmp_path, Opening("a", {"a": 10**6}))

    def mapped() -> int:
        lines = Path("/proc/self/maps").read_text().splitlines()
        return sum(str(tmp_path) in line and ".flat" in line for line in lines)

    index = sealed(FEW, snapshots.of(KEY, DIMENSION))
    index.link()
    index.save()
    if read:
        index = VectorIndex(DIMENSION, sizes=SIZES, snapshot=snapshots.of(KEY, DIMENSION))
        index.restore()
    assert segment_of(index).graph is not None
    assert mapped() == 1
    index.remove(SEQUENCES[:3])
    index.compact()
    assert segment_of(index).graph is None
    assert mapped() == 1


def test_segments_that_take_too_long_are_left_for_later() -> None:
    index = sealed()
    index.add(SEQUENCES[:1200] + COUNT, ROWS[:1200])
    index.merge(purge=True)
    counts = sorted(part.count for part in index.parts)
    assert counts == [1200, COUNT]
    assert not index.link(within_s=1199 / SIZES.linked_per_s)
    assert index.link(within_s=1200 / SIZES.linked_per_s)
    assert [part.linked for part in index.parts if isinstance(part, Segment)].count(True) == 1
    assert index.unlinked is not None
    assert index.unlinked.count == COUNT


def test_linking_gives_way() -> None:
    index = sealed()
    with pytest.raises(Interrupted):
        index.link(lambda: True)
    index.add(SEQUENCES[:1001] + COUNT, ROWS[:1001])  # something is to be merged
    with pytest.raises(Interrupted):
        index.link()
    assert segment_of(index).graph is None


def test_linking_that_rests_still_gives_way() -> None:
    """To a merge and to a close, as soon as there is one; and goes on where it was."""
    index = sealed(FEW)
    rests = iter([True] * 5 + [False] * 1000)
    assert index.link(rests=lambda: next(rests))
    assert segment_of(index).graph is not None
    index = sealed(FEW)
    asked: list[int] = []

    def comes() -> bool:
        asked.append(len(asked))
        if len(asked) == 3:
            index.add(SEQUENCES[:1001] + COUNT, ROWS[:1001])  # something is to be merged
        return True

    with pytest.raises(Interrupted):
        index.link(rests=comes)
    assert len(asked) == 3
    index = sealed(FEW)
    asked.clear()
    with pytest.raises(Interrupted):
        index.link(lambda: len(asked) >= 2, rests=lambda: not asked.append(1))
    assert len(asked) == 2


def test_no_graph_where_no_walk_finds_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linking, "PROBE_RECALL", 1.1)
    index = sealed()
    assert index.link()
    assert segment_of(index).graph is None
    assert index.unlinked is None  # it is not tried again
    assert recall_at_10(index, ROWS[:COUNT], QUERIES[:20], SEQUENCES) >= 0.98


def test_large_segments_get_none() -> None:
    index = VectorIndex(DIMENSION, sizes=Sizes(exact=1500, least_segment=400, linked=3999))
    index.add(SEQUENCES, ROWS[:COUNT])
    index.merge()
    assert not index.link()


def test_the_background_links_and_saves_and_a_start_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened() -> VectorIndexes:
        snapshots = Snapshots(tmp_path, Opening("a", {"a": 10**6}))
        return VectorIndexes(sizes=SIZES, snapshots=snapshots)

    monkeypatch.setattr(snapshots_module, "LEAST_ROWS", 10)
    indexes = opened()
    indexes.start()
    indexes.add(KEY, SEQUENCES, ROWS[:COUNT])
    indexes.settle()
    first = indexes.get(KEY)
    assert first is not None
    first_graph = segment_of(first).graph
    assert first_graph is not None
    indexes.close()
    monkeypatch.setattr(linking, "build", None)  # nothing is built any more
    again = opened().restored(KEY, DIMENSION)
    assert again.unlinked is None
    graph = segment_of(again).graph
    assert graph is not None
    assert segment_of(first).graph is not None
    for query in QUERIES[:10]:
        assert again.search(query, 10)[0].tolist() == first.search(query, 10)[0].tolist()


@pytest.mark.parametrize("earlier", ["measured", "walked"])
def test_a_graph_of_an_earlier_version_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, earlier: str
) -> None:
    """It says nothing of how deep queries have to go that are unlike the rows; or its walks went by
    the vectors, of which it has no copy."""
    monkeypatch.setattr(snapshots_module, "LEAST_ROWS", 10)
    if earlier == "measured":
        monkeypatch.setattr(snapshots_module, "asdict", _by_quantiles)
    snapshots = Snapshots(tmp_path, Opening("a", {"a": 10**6}))
    indexes = VectorIndexes(sizes=SIZES, snapshots=snapshots)
    indexes.add(KEY, SEQUENCES, ROWS[:COUNT])
    index = indexes.get(KEY)
    assert index is not None
    index.merge()
    index.link()
    if earlier == "walked":
        monkeypatch.setattr(faiss, "write_index", _without_copies(faiss.write_index))
    index.save()
    (before,) = tmp_path.glob("*/*.links")
    monkeypatch.undo()
    monkeypatch.setattr(snapshots_module, "LEAST_ROWS", 10)
    again = VectorIndexes(sizes=SIZES, snapshots=snapshots).restored(KEY, DIMENSION)
    assert segment_of(again).graph is None
    assert again.unlinked is segment_of(again)
    again.link()
    again.save()
    (after,) = tmp_path.glob("*/*.links")
    assert after.name != before.name
    third = VectorIndexes(sizes=SIZES, snapshots=snapshots).restored(KEY, DIMENSION)
    assert third.unlinked is None
    assert segment_of(third).graph is not None


def _by_quantiles(each: object) -> dict[str, object]:
    return {name: value for name, value in asdict(each).items() if name != "below"}  # type: ignore[call-overload]


def _without_copies(write: Any) -> Any:
    def written(index: faiss.Index, path: str) -> None:
        write(index, path, faiss.IO_FLAG_SKIP_STORAGE if path.endswith(".links") else 0)

    return written
