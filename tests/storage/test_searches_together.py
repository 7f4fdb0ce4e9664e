"""Several queries of an index at once find what each of them finds alone."""

import numpy as np
import pytest
from clustered import clustered, unit

from memory_service.storage.vectors import Nearest, Sizes, VectorIndex

DIMENSION, COUNT = 48, 4000
SIZES = Sizes(exact=1500, buffer=1000, segment=5000, least_segment=400, block=1000)
ROWS = clustered(COUNT + 40, DIMENSION, seed=5)
STRANGE = unit(np.random.default_rng(0).standard_normal((8, DIMENSION)))
QUERIES = np.concatenate([ROWS[COUNT:], ROWS[:8], STRANGE])
SEQUENCES = np.arange(1, COUNT + 1)


def index_of(kind: str) -> VectorIndex:
    index = VectorIndex(DIMENSION, sizes=SIZES)
    if kind == "empty":
        return index
    index.add(SEQUENCES[:3000], ROWS[:3000])
    if kind == "blocks":
        return index
    assert index.merge()
    if kind != "lists":
        assert index.link()
    index.add(SEQUENCES[3000:], ROWS[3000:COUNT])  # beside it, in a block
    if kind == "removed":
        index.remove(SEQUENCES[::7])
    if kind == "segments":  # one long memory is near every query
        near = unit(np.repeat(QUERIES, 3, axis=0) + 1e-3 * np.float32(1))
        index.add(np.full(len(near), COUNT + 1), near, np.arange(1, len(near) + 1))
        index.add(np.array([COUNT + 1]), ROWS[:1])
    return index


@pytest.mark.parametrize("kind", ["empty", "blocks", "lists", "graph", "removed", "segments"])
@pytest.mark.parametrize("k", [1, 10, 300])
def test_each_finds_what_it_finds_alone(kind: str, k: int) -> None:
    index = index_of(kind)
    together = index.nearest_of_each(QUERIES, k)
    alone = [index.nearest(query, k) for query in QUERIES]
    assert len(together) == len(QUERIES)
    assert all(len(found.sequences) == (k if kind != "empty" else 0) for found in together)
    for found, expected in zip(together, alone, strict=True):
        equal(found, expected)


def equal(found: Nearest, expected: Nearest) -> None:
    for own, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(own, other, atol=1e-6)
