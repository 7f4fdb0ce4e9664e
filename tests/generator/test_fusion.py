"""The three fusions, by their formulas."""

import numpy as np
import pytest

from encoders.base import normalize
from generator.fusion import FORMULAS, fuse

RANDOM = np.random.default_rng(0)
QUERY = normalize(RANDOM.standard_normal(32))
MEMORIES = normalize(QUERY + RANDOM.standard_normal((5, 32)))


def test_sum_is_the_formula_of_the_source() -> None:
    fused, shares = fuse(QUERY, MEMORIES, "sum")
    np.testing.assert_allclose(fused, normalize(QUERY + MEMORIES.sum(axis=0)), atol=1e-6)
    np.testing.assert_allclose(shares, 0.2, atol=1e-6)


def test_weighted_is_proportional_to_cosine() -> None:
    cosines = np.maximum(MEMORIES @ QUERY, 0)
    fused, shares = fuse(QUERY, MEMORIES, "weighted")
    np.testing.assert_allclose(shares, cosines / cosines.sum(), atol=1e-6)
    np.testing.assert_allclose(fused, normalize(QUERY + shares @ MEMORIES), atol=1e-6)


def test_weighted_gives_nothing_to_an_opposite_memory() -> None:
    _, shares = fuse(QUERY, np.stack([QUERY, -QUERY]), "weighted")
    np.testing.assert_allclose(shares, [1.0, 0.0], atol=1e-6)


def test_attention_sharpens_as_the_temperature_falls() -> None:
    nearest = int((MEMORIES @ QUERY).argmax())
    warm, cold = (fuse(QUERY, MEMORIES, "attention", t)[1] for t in (1.0, 0.02))
    assert warm.argmax() == cold.argmax() == nearest
    assert cold[nearest] > 0.9 > warm[nearest]


@pytest.mark.parametrize("method", FORMULAS)
def test_shares_sum_to_one_and_the_result_is_a_unit_vector(method: str) -> None:
    fused, shares = fuse(QUERY, MEMORIES, method)
    assert shares.sum() == pytest.approx(1.0, abs=1e-5)
    assert np.linalg.norm(fused) == pytest.approx(1.0, abs=1e-5)
    assert fused.dtype == shares.dtype == np.float32


@pytest.mark.parametrize("method", FORMULAS)
def test_without_memories_the_query_stays(method: str) -> None:
    fused, shares = fuse(QUERY, np.empty((0, 32), np.float32), method)
    np.testing.assert_allclose(fused, QUERY, atol=1e-6)
    assert shares.shape == (0,)


@pytest.mark.parametrize("method", FORMULAS)
def test_a_memory_moves_the_result_towards_itself(method: str) -> None:
    for memory in MEMORIES:
        fused, _ = fuse(QUERY, memory[None], method)
        assert fused @ memory > QUERY @ memory


def test_unknown_method_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="sum, weighted, attention"):
        fuse(QUERY, MEMORIES, "mean")


def test_memories_that_cancel_the_query_leave_it_alone() -> None:
    query = np.eye(1, 8, dtype=np.float32)[0]
    for method in FORMULAS:
        fused, _ = fuse(query, -query[None], method)
        np.testing.assert_allclose(fused, query)
