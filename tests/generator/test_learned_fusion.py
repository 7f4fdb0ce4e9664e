"""The learned fusion: what it is before training, what training makes of it, how it is served."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch

from encoders.base import normalize
from encoders.training.data.records import MANIFEST
from generator import learned_fusion
from generator.fusion import FORMULAS, METHODS, fingerprint, fuse, methods_in
from generator.learned_fusion import FILES, FusionSettings, LearnedFusion
from generator.training import fusion as training
from generator.training.fusion_network import FusionNetwork
from generator.training.shown import Shown
from generator.training.text_data import Texts, neighbours_of
from generator.training.text_examples import recalled

SMALL = FusionSettings(dimension=32, heads=2, head_width=4, hidden=16, space_id="small")
RANDOM = np.random.default_rng(0)
QUERY = normalize(RANDOM.standard_normal(32)).astype(np.float32)
MEMORIES = normalize(QUERY + RANDOM.standard_normal((5, 32))).astype(np.float32)


def network(*, strayed: bool) -> FusionNetwork:
    """As it starts, or with every parameter moved."""
    torch.manual_seed(0)
    made = FusionNetwork(SMALL)
    if strayed:
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return made


def served(made: FusionNetwork) -> LearnedFusion:
    return LearnedFusion(SMALL, {n: t.detach().numpy() for n, t in made.state_dict().items()})


def test_before_training_it_is_attention() -> None:
    fused, shares = served(network(strayed=False)).fuse(QUERY, MEMORIES)
    known, known_shares = fuse(QUERY, MEMORIES, "attention")
    np.testing.assert_allclose(fused, known, atol=1e-3)
    np.testing.assert_allclose(shares, known_shares, atol=1e-3)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_served_as_it_was_trained(count: int) -> None:
    made = network(strayed=True)
    fused, shares = served(made).fuse(QUERY, MEMORIES[:count])
    padded = torch.zeros(2, 7, 32)  # beside another query, whose memories are all there
    padded[0, :count] = torch.from_numpy(MEMORIES[:count])
    padded[1] = torch.randn(7, 32, generator=torch.Generator().manual_seed(1))
    there = torch.ones(2, 7, dtype=torch.bool)
    there[0, count:] = False
    with torch.inference_mode():
        wanted, parts = made(torch.from_numpy(np.stack([QUERY, -QUERY])), padded, there)
    np.testing.assert_allclose(fused, wanted[0].numpy(), atol=1e-5)
    np.testing.assert_allclose(shares, parts[0, :count].numpy(), atol=1e-5)
    assert float(parts[0, count:].abs().sum()) == 0
    assert np.linalg.norm(fused) == pytest.approx(1, abs=1e-5)
    assert shares.shape == (count,)
    assert shares.sum() == pytest.approx(1 if count else 0, abs=1e-5)
    assert not np.allclose(fused, fuse(QUERY, MEMORIES[:count], "attention")[0], atol=1e-2)


def test_only_where_there_are_weights_for_the_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learned_fusion, "FOLDER", tmp_path)
    assert methods_in("small") == FORMULAS
    with pytest.raises(ValueError, match="sum, weighted, attention"):
        fuse(QUERY, MEMORIES, "learned", space_id="small")
    made = network(strayed=True)
    training.export(made, tmp_path)
    assert methods_in("small") == METHODS
    assert methods_in("another") == FORMULAS
    fused, _ = fuse(QUERY, MEMORIES, "learned", space_id="small")
    np.testing.assert_allclose(fused, served(made).fuse(QUERY, MEMORIES)[0], atol=0.01)  # fp16
    assert len(fingerprint("learned", "small") or "") == 64
    assert fingerprint("attention", "small") is None


def some_texts(count: int, seed: int) -> Texts:
    """Texts, each with a picture whose vector is turned away from the text's in the same way."""
    random = np.random.default_rng(seed)
    vectors = normalize(random.standard_normal((count, 32))).astype(np.float32)
    turn = np.random.default_rng(7).standard_normal(32)
    sights = normalize(vectors + 0.25 * turn).astype(np.float32)
    near = neighbours_of(vectors, 8).astype(np.int64)
    shown = Shown(sights, np.arange(count + 1), tuple(near))
    return Texts([f"thing {n}" for n in range(count)], vectors, np.full(count, 1 / count), shown)


def test_what_is_wanted_is_shared_by_episodes() -> None:
    data = some_texts(40, 0)
    random = np.random.default_rng(0)
    for target in range(20):
        near = neighbours_of(data.vectors, 8)
        found = recalled(target, data, near, random, own=1.0, together=1.0)
        wanted = training.wanted_shares(data.vectors[target], found, data)
        assert wanted.shape == (len(found.vectors),)
        if target in found.rows:
            best = found.rows[found.episode[int(wanted.argmax())]]
            assert best == target
            assert wanted.sum() == pytest.approx(1, abs=1e-5)
        for place in range(len(found.rows)):
            assert (wanted[found.episode == place] > 0).sum() <= 1


def test_what_was_stored_asks_for_itself() -> None:
    data = some_texts(40, 0)
    near, random = neighbours_of(data.vectors, 8), np.random.default_rng(0)
    exact = 0
    for target in range(40):
        found = recalled(target, data, near, random, seen=1.0, own=1.0, together=1.0, same=1.0)
        sight = data.shown.vectors[target]
        own = (found.rows[found.episode] == target) & ~found.is_text if len(found.rows) else []
        if np.array_equal(found.query, sight) and np.any(own):
            assert np.array_equal(found.vectors[own][0], sight)
            exact += 1
    assert exact > 10


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    def load(_: argparse.Namespace) -> tuple[Texts, Texts]:
        return some_texts(200, 0), some_texts(60, 1)

    monkeypatch.setattr(training, "load_texts", load)
    (tmp_path / MANIFEST).touch()
    folders = [f"--{name}={tmp_path / name}" for name in ("runs", "cache", "weights")]
    folders.append(f"--collection={tmp_path}")
    (tmp_path / "cache").mkdir()
    return [*folders, "--batch-size=64", "--epoch-steps=20", "--device=cpu"]


def test_training_finds_what_the_formula_does_not_know(
    arguments: list[str], tmp_path: Path
) -> None:
    """Pictures' vectors are turned away from the texts': that is learnt, and holds for others."""
    training.main([*arguments, "--steps=120", "--learning-rate=3e-3"])
    learned, held = LearnedFusion.load(tmp_path / "weights"), some_texts(60, 1)
    by_formula, by_learning = [], []
    for row in range(60):
        query, known = held.shown.vectors[row], held.vectors[(row + 1) % 60 : (row + 1) % 60 + 1]
        by_formula.append(fuse(query, known, "attention")[0] @ held.vectors[row])
        by_learning.append(learned.fuse(query, known)[0] @ held.vectors[row])
    assert np.mean(by_learning) > np.mean(by_formula) + 0.05


def test_a_stopped_training_comes_to_the_same_weights(arguments: list[str], tmp_path: Path) -> None:
    training.main([*arguments, "--steps=40"])
    whole = (tmp_path / "weights" / FILES[1]).read_bytes()
    (tmp_path / "runs" / "fusion.pt").unlink()
    training.main([*arguments, "--steps=40", "--stop-at=20"])
    assert (tmp_path / "weights" / FILES[1]).read_bytes() != whole
    training.main([*arguments, "--steps=40", "--resume"])
    assert (tmp_path / "weights" / FILES[1]).read_bytes() == whole
