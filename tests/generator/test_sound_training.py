"""The stages of the sound generator's training, on a handful of made-up sounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from encoders.base import Space, Waveform, normalize
from encoders.training.data import Item
from encoders.training.data.records import MANIFEST
from generator.audio import SoundSettings, load_settings, mel_window
from generator.base import Condition
from generator.registry import WEIGHTS, load_weights
from generator.training import audio
from generator.training.sound_memories import SoundMemories
from generator.training.sounds import Sounds, remember, similar_sounds

RATE = 16_000


def sounds(count: int, seed: int) -> Sounds:
    """Tones of falling loudness, one pitch each."""
    time = np.arange(2 * RATE) / RATE
    random = np.random.default_rng(seed)
    pitches = random.uniform(150, 3000, count)
    mels = [
        mel_window(
            Waveform((np.sin(2 * np.pi * p * time) * np.exp(-2 * time)).astype("f4"), RATE),
            SoundSettings(),
        )
        for p in pitches
    ]
    items = [
        Item(
            f"{seed}-{n}",
            "midi",
            "",
            f"tone {n}",
            "train",
            "audio",
            "x",
            f"tone {n}",
            (),
            "x",
            "CC0",
        )
        for n in range(count)
    ]
    vectors, heard = (
        normalize(random.standard_normal((count, 384))).astype(np.float32) for _ in range(2)
    )
    rates = np.full(count, 1 / count)
    return Sounds(items, np.stack(mels).astype(np.float16), vectors, heard, rates)


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    def load(_: Path, split: str, *rest: object) -> Sounds:
        return sounds(14, 0) if split == "train" else sounds(7, 1)

    monkeypatch.setattr(audio, "load_sounds", load)
    for name, size in {"BATCH": 2, "FLOW_BATCH": 3, "CHECKED": 7}.items():
        monkeypatch.setattr(audio, name, size)
    (tmp_path / MANIFEST).touch()
    folders = [f"--{name}={tmp_path / name}" for name in ("runs", "cache", "weights")]
    folders.append(f"--collection={tmp_path}")
    return [*folders, "--epoch-steps=2", "--device=cpu"]


def weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    stored = load_file(folder / "weights" / f"{name}.safetensors")
    return {key: tensor.clone() for key, tensor in stored.items()}  # the file is written over


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def test_the_parts_are_trained_one_after_the_other(arguments: list[str], tmp_path: Path) -> None:
    audio.main([*arguments, "--vae-steps=2", "--flow-steps=2"])
    settings = load_settings(tmp_path / "weights" / "audio.json")
    assert len(settings.latent_mean) == len(settings.latent_scale) == settings.latent_channels
    flow, vae = (weights(tmp_path, f"audio_{name}") for name in ("flow", "vae"))
    for name, rows in (("vae-2", 2), ("flow-2", 4)):
        drawn = Image.open(tmp_path / "runs" / f"{name}.png")
        assert drawn.size == (6 * 130, rows * 82)
        assert np.asarray(drawn).std() > 5
    audio.main([*arguments, "--part=decoder", "--decoder-steps=2"])
    after = weights(tmp_path, "audio_vae")
    moved = {name.split(".")[1] for name in vae if not torch.equal(vae[name], after[name])}
    assert "decoder" in moved
    assert moved <= {"decoder", "post_quant_conv"}
    assert same(flow, weights(tmp_path, "audio_flow"))


def test_the_stored_flow_goes_on(arguments: list[str], tmp_path: Path) -> None:
    audio.main([*arguments, "--part=flow", "--flow-steps=2", "--from-stored"])
    made, stored = weights(tmp_path, "audio_flow"), load_file(WEIGHTS / "audio_flow.safetensors")
    assert not same(made, stored)
    assert all(torch.allclose(made[n].float(), stored[n].float(), atol=0.02) for n in stored)


@pytest.mark.parametrize("part", ["vae", "flow"])
def test_a_stopped_training_comes_to_the_same_weights(
    arguments: list[str], tmp_path: Path, part: str
) -> None:
    more = [f"--part={part}", f"--{part}-steps=4"]
    if part == "flow":
        more.append("--from-stored")
    audio.main([*arguments, *more])
    whole = weights(tmp_path, f"audio_{part}")
    (tmp_path / "runs" / f"{part}.pt").unlink()
    audio.main([*arguments, *more, "--stop-at=2"])
    assert not same(whole, weights(tmp_path, f"audio_{part}"))
    audio.main([*arguments, *more, "--resume"])
    assert same(whole, weights(tmp_path, f"audio_{part}"))


def test_memories_for_sounds() -> None:
    known = sounds(20, 0)
    similar = similar_sounds(known, 12, 0)
    random = np.random.default_rng(0)
    own = 0
    for target in range(200):
        found = remember(target % 20, known, similar, 4, random)
        own += target % 20 in found.rows
        assert len(found.rows) == len(found.weights) <= 4
        assert list(found.weights) == sorted(found.weights, reverse=True)
        assert found.shares.sum() <= 1 + 1e-5
        filled = np.abs(found.vectors).sum(1) > 0
        assert filled[:2].all()
        assert ((found.shares > 0) == filled)[2:].all()
        np.testing.assert_allclose(np.linalg.norm(found.vectors[filled], axis=1), 1, atol=1e-5)
    assert 30 < own < 90


def test_every_part_of_a_condition_may_be_missing() -> None:
    settings = load_settings(WEIGHTS / "audio.json")

    def encode(mels: np.ndarray) -> torch.Tensor:
        return torch.ones(len(mels), settings.latent_channels, *settings.grid)

    memories = SoundMemories(encode, settings, sounds(14, 0), 0)
    _, vectors, shares, memory = memories.draw(np.random.default_rng(0), 400)
    missing = {
        "fused": ~vectors[:, 0].any(-1),
        "query": ~vectors[:, 1].any(-1),
        "vectors": ~vectors[:, 2:].any(-1).any(-1),
        "latents": ~memory.flatten(1).any(-1),
    }
    for name, rows in missing.items():
        assert 0.1 < float(rows.float().mean()) < 0.45, name
    all_of_it = torch.stack(list(missing.values())).all(0)
    assert 0.05 < float(all_of_it.float().mean()) < 0.2
    alone = missing["fused"] & ~missing["query"] & ~missing["vectors"] & ~missing["latents"]
    assert alone.any()
    assert not shares[missing["vectors"]].any()
    _, whole, _, _ = memories.draw(np.random.default_rng(0), 400, whole=True)
    assert whole[:, :2].any(-1).all()


def test_without_memory_the_same_is_drawn_and_nothing_remembered_is_given() -> None:
    settings = load_settings(WEIGHTS / "audio.json")

    def encode(mels: np.ndarray) -> torch.Tensor:
        return torch.ones(len(mels), settings.latent_channels, *settings.grid)

    known, nothing = (
        SoundMemories(encode, settings, sounds(14, 0), 0, empty=empty).draw(
            np.random.default_rng(0), 64
        )
        for empty in (False, True)
    )
    assert torch.equal(known[0], nothing[0])
    assert torch.equal(known[1][:, 1], nothing[1][:, 1])
    assert known[1][:, 2:].any()
    assert not nothing[1][:, 2:].any()
    assert not nothing[2].any()
    assert not nothing[3].any()


def test_a_model_without_memory_is_what_evaluate_reads(
    arguments: list[str], tmp_path: Path
) -> None:
    audio.main([*arguments, "--part=flow", "--flow-steps=2", "--from-stored", "--without-memory"])
    space = Space("bundled", 384, "any")
    generator = load_weights(tmp_path / "weights", space)["audio"]
    query = normalize(np.ones(384, np.float32))
    alone = Condition(query, query, (), np.zeros(0, np.float32))
    assert len(generator.generate(alone, seed=0, creativity=1.0).media.samples)
    # It has not begun from the stored flow, which has learnt with a memory.
    stored = load_file(WEIGHTS / "audio_flow.safetensors")
    made = weights(tmp_path, "audio_flow")
    assert not all(torch.allclose(made[n].float(), stored[n].float(), atol=0.02) for n in stored)
