"""CLAP: tiny random models, saved locally and on a local hub, go the way of the real ones."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from model_hub import COMMIT, Hub
from safetensors.torch import load_file, save_file
from tiny_models import CLAP_DIMENSION, save_clap

from encoders.base import Waveform
from encoders.clap import Clap, ClapAudioEncoder, ClapTextEncoder
from encoders.errors import ModelUnavailable, UnknownName

REPO = "owner/tiny-clap"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clap(tmp_path_factory.mktemp("clap"))


@pytest.fixture(scope="module")
def clap(folder: Path) -> Clap:
    return Clap.open(f"local-dir:{folder}")


def noise(seconds: float, rate: int = 16_000, seed: int = 0) -> Waveform:
    samples = np.random.default_rng(seed).standard_normal(int(seconds * rate))
    return Waveform((samples * 0.1).astype(np.float32), rate)


def tone(hz: float, rate: int) -> Waveform:
    return Waveform(np.sin(2 * np.pi * hz * np.arange(rate) / rate).astype(np.float32) * 0.5, rate)


@pytest.mark.parametrize("fusion", [False, True])
def test_sounds_of_any_length_whatever_the_batch(tmp_path: Path, fusion: bool) -> None:
    """The extractor by itself draws parts of long sounds, and a 'longer' one of each batch."""
    encoder = ClapAudioEncoder(Clap.open(f"local-dir:{save_clap(tmp_path, fusion=fusion)}"))
    sounds = [noise(0.01), noise(1, seed=1), noise(25, seed=2), noise(0)]
    together = encoder.encode(sounds)
    assert together.shape == (4, CLAP_DIMENSION)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(together, np.concatenate([encoder.encode([s]) for s in sounds]))
    np.testing.assert_array_equal(together, encoder.encode(sounds))


def test_all_of_a_long_sound_is_heard(clap: Clap) -> None:
    start, end = noise(10, seed=1).samples, noise(10, seed=2).samples * 0.01
    whole = clap.encode_sound(Waveform(np.concatenate([start, end]), 16_000))
    alone = [clap.encode_sound(Waveform(each, 16_000)) for each in (start, end)]
    expected = np.mean([each / np.linalg.norm(each) for each in alone], axis=0)
    np.testing.assert_allclose(whole, expected, atol=0.02)


def test_long_sounds_are_cut_to_what_it_hears_at_once(clap: Clap) -> None:
    encoder = ClapAudioEncoder(clap)
    assert (encoder.segment_s, encoder.hop_s) == (10.0, 5.0)


def test_the_rate_makes_no_difference(clap: Clap) -> None:
    vectors = ClapAudioEncoder(clap).encode([tone(440, 48_000), tone(440, 22_050)])
    other = ClapAudioEncoder(clap).encode([tone(3000, 48_000)])[0]
    same = vectors[0] @ vectors[1]
    assert same > 0.999
    assert same > vectors[0] @ other


def test_texts_of_any_length_keep_their_order(clap: Clap) -> None:
    encoder = ClapTextEncoder(clap)
    texts = ["a dog barks", "", *(f"{'rain ' * (20 - n)}{n}" for n in range(20)), "word " * 900]
    together = encoder.encode(texts)
    singly = np.concatenate([encoder.encode([text]) for text in texts])
    np.testing.assert_allclose(together, singly, atol=1e-5)
    assert encoder.space == ClapAudioEncoder(clap).space


def test_from_the_hub(served: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(folder, served.folder / REPO)
    model, local = Clap.open(REPO), Clap.open(f"local-dir:{folder}")
    assert model.space.id == f"clap/{REPO}"
    assert model.space.fingerprint == local.space.fingerprint
    assert model.weights.origin == f"{REPO} at {COMMIT}"
    assert (model.weights.licence, local.weights.licence) == ("apache-2.0", "apache-2.0")
    assert model.weights.parameters > 10_000
    assert model.weights.size_bytes == (folder / "model.safetensors").stat().st_size
    np.testing.assert_array_equal(model.encode_texts(["a"]), local.encode_texts(["a"]))

    served.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert Clap.open(REPO).space == model.space
    assert served.requests == []


def test_a_pickled_checkpoint(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors")
    torch.save(weights, tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    pickled, safe = Clap.open(f"local-dir:{tmp_path}"), Clap.open(f"local-dir:{folder}")
    np.testing.assert_allclose(pickled.encode_texts(["a"]), safe.encode_texts(["a"]), atol=1e-6)


def test_other_weights_have_another_fingerprint(clap: Clap, tmp_path: Path) -> None:
    other = Clap.open(f"local-dir:{save_clap(tmp_path, seed=1)}")
    assert other.space.fingerprint != clap.space.fingerprint


def test_what_cannot_be_loaded(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"holds no config\.json"):
        Clap.open("local-dir:no/such/folder")
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["text_projection.linear1.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelUnavailable, match=r"1 weights are missing, text_projection"):
        Clap.open(f"local-dir:{tmp_path}")
    (tmp_path / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(ModelUnavailable, match="could not be loaded"):
        Clap.open(f"local-dir:{tmp_path}")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelUnavailable, match=r"none of model\.safetensors"):
        Clap.open(f"local-dir:{tmp_path}")
