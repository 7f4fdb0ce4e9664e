"""What the picture flow is trained on: six pictures of three concepts."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from encoders.base import normalize
from generator.fusion import fuse
from generator.training import image_data
from generator.training.image_data import FlowData, nearest_others

CONCEPTS = ["cat", "cat", "dog", "dog", "tree", "tree"]


@pytest.fixture
def data() -> FlowData:
    random = np.random.default_rng(0)
    captions, pictures = (
        normalize(random.normal(size=(6, 8)).astype(np.float32)) for _ in range(2)
    )
    splits = np.array(["train"] * 6)
    same = [np.array([row ^ 1]) for row in range(6)]
    near = tuple(nearest_others(each, CONCEPTS, splits)[:, :4] for each in (captions, pictures))
    return FlowData(
        latents=torch.from_numpy(random.normal(size=(2, 6, 3, 2, 2))).float(),
        captions=captions,
        pictures=pictures,
        near=(near[0], near[1]),
        same=same,
        rates={"train": np.full(6, 1 / 6)},
        turned=np.array([False] * 5 + [True]),
        mean=torch.zeros(3),
        scale=torch.ones(3),
    )


def test_what_a_text_recalls_comes_as_in_serving(data: FlowData) -> None:
    """Captions beside their pictures, the heaviest vectors first, latents by the best match."""
    found = np.array([2, 4])
    query = data.captions[0]
    vectors, shares, memory = data.given(query, found, captioned=True)
    known = np.concatenate([data.captions[found], data.pictures[found]])
    fused, weights = fuse(query, known, "attention")
    order = np.argsort(-weights, kind="stable")
    np.testing.assert_array_equal(vectors, np.stack([fused, query, *known[order]]))
    np.testing.assert_array_equal(shares, [0, 0, *weights[order]])
    best = [2, 4] if max(weights[0], weights[2]) >= max(weights[1], weights[3]) else [4, 2]
    for slot, row in enumerate(best):
        np.testing.assert_array_equal(memory[slot, :-1], data.latents[0, row])
    np.testing.assert_array_equal(memory[:, -1, 0, 0], [1, 1, 0])
    assert not memory[2].any()


def test_memories_are_mirrored_with_the_target(data: FlowData) -> None:
    """But for those of which the mirror makes another thing."""
    memory = data.given(data.captions[0], np.array([2]), captioned=False, side=1)[2]
    np.testing.assert_array_equal(memory[0, :-1], data.latents[1, 2])
    memory = data.given(data.captions[0], np.array([5]), captioned=False, side=1)[2]
    np.testing.assert_array_equal(memory[0, :-1], data.latents[0, 5])


def test_parts_are_left_out_by_themselves(data: FlowData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_data, "DROP_MEMORY", 0.0)
    _, vectors, shares, memory = data.batch(np.random.default_rng(0), 3000, "train")
    there = torch.stack(
        [
            vectors[:, 0].any(dim=1),
            vectors[:, 1].any(dim=1),
            vectors[:, 2:].flatten(1).any(dim=1),
            memory.flatten(1).any(dim=1),
        ],
        1,
    )
    assert len(there.unique(dim=0)) == 2**4  # every subset comes
    nothing = (~there).all(dim=1).float().mean()
    assert 0.05 < nothing < 0.16  # as guidance needs it
    assert shares.sum(dim=1).max() <= 1 + 1e-5


def test_neighbours_are_other_concepts(data: FlowData) -> None:
    for near in data.near:
        for row, others in enumerate(near):
            assert CONCEPTS[row] not in {CONCEPTS[other] for other in others}


def test_a_batch_depends_on_its_random_numbers_alone(data: FlowData) -> None:
    one, other = (data.batch(np.random.default_rng(3), 16, "train") for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_without_memory_the_same_is_drawn_and_nothing_remembered_is_given(data: FlowData) -> None:
    """The query, and the noise and times that follow from the same numbers, are the same."""
    apart = replace(data, without_memory=True)
    known, nothing = (each.batch(np.random.default_rng(3), 64, "train") for each in (data, apart))
    assert torch.equal(known[0], nothing[0])  # pictures to be made
    query = (known[1][:, 1] == nothing[1][:, 1]).all(1)
    assert query.all()
    assert known[1][:, 2:].any()
    assert known[3].any()
    assert not nothing[1][:, 2:].any()
    assert not nothing[2].any()
    assert not nothing[3].any()
    fused = nothing[1][:, 0]
    there = fused.any(1) & nothing[1][:, 1].any(1)
    assert torch.allclose(fused[there], nothing[1][there, 1])  # nothing is joined with the query
