"""unCLIP and AudioLDM: tiny random pipelines, saved locally and on a local hub, go the way of the
real ones."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants
from model_hub import Hub
from tiny_pipelines import AUDIOLDM_DIMENSION, UNCLIP_DIMENSION, save_audioldm, save_unclip

from encoders import hub as hub_files
from encoders.base import Space, normalize
from encoders.errors import ModelUnavailable, UnknownName
from generator.audioldm import AudioLdmGenerator, between
from generator.backends import open_backends
from generator.base import Condition, Neighbour
from generator.unclip import (
    UnclipGenerator,
    asked_and_remembered,
    heaviest_text,
    seen,
    typical_length,
)

SPACE = Space("clip", UNCLIP_DIMENSION, "f")
STEPS = 2
RANDOM = normalize(np.random.default_rng(0).standard_normal((5, UNCLIP_DIMENSION)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As a hub has it: `owner/name/...`."""
    root = tmp_path_factory.mktemp("pipelines")
    save_unclip(root / "owner" / "unclip")
    save_audioldm(root / "owner" / "audioldm")
    return root


@pytest.fixture(scope="module")
def unclip(folder: Path) -> UnclipGenerator:
    return UnclipGenerator.open(f"local-dir:{folder / 'owner/unclip'}", SPACE, STEPS)


@pytest.fixture(scope="module")
def audioldm(folder: Path) -> AudioLdmGenerator:
    return AudioLdmGenerator.open(f"local-dir:{folder / 'owner/audioldm'}", SPACE, STEPS)


def condition(*modalities: str, weights: tuple[float, ...] = ()) -> Condition:
    neighbours = tuple(
        Neighbour(f"m{at}", modality, RANDOM[at + 1], f"text {at}" if modality == "text" else None)
        for at, modality in enumerate(modalities)
    )
    shares = weights or (1 / max(1, len(modalities)),) * len(modalities)
    return Condition(RANDOM[0], RANDOM[4], neighbours, np.array(shares, np.float32))


def test_a_picture_is_made_alike_for_the_same_seed_only(unclip: UnclipGenerator) -> None:
    asked = condition("image", "text")
    first, again, other = (
        np.asarray(unclip.generate(asked, seed=seed, creativity=0.2).media) for seed in (1, 1, 2)
    )
    assert first.shape == (16, 16, 3)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_picture_depends_on_what_is_remembered(unclip: UnclipGenerator) -> None:
    one, other = (
        np.asarray(unclip.generate(asked, seed=1, creativity=0).media)
        for asked in (
            condition("image", "image", weights=(1, 0)),
            condition("image", "image", weights=(0, 1)),
        )
    )
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(("creativity", "level"), [(0.0, 0), (0.5, 500), (1.0, 999)])
def test_creativity_is_noise_on_the_embedding(
    unclip: UnclipGenerator, creativity: float, level: int
) -> None:
    made = unclip.generate(condition("text"), seed=1, creativity=creativity)
    assert made.details == {"prompt": "text 0", "noise_level": level, "steps": STEPS}


def test_pictures_stand_for_the_embedding_where_there_are_any() -> None:
    mixed = condition("image", "text", "image", weights=(0.2, 0.5, 0.3))
    assert np.allclose(seen(mixed), normalize(0.2 * RANDOM[1] + 0.3 * RANDOM[3]))
    assert np.array_equal(seen(condition("text")), RANDOM[4])
    assert heaviest_text(condition("text", "text", weights=(0.2, 0.8))) == "text 1"
    assert heaviest_text(condition("image")) == ""


def test_embeddings_get_the_length_that_the_pipeline_was_trained_with(
    unclip: UnclipGenerator,
) -> None:
    # mean 0 and standard deviation 1 for each of 16 values
    assert typical_length(unclip._pipeline) == pytest.approx(UNCLIP_DIMENSION**0.5)


def test_a_sound_is_made_alike_for_the_same_seed_only(audioldm: AudioLdmGenerator) -> None:
    asked = condition("audio", "text")
    first, again, other = (
        audioldm.generate(asked, seed=seed, creativity=0.2).media for seed in (1, 1, 2)
    )
    assert first.sample_rate == 16_000
    assert first.duration_s == pytest.approx(2.56)
    assert np.array_equal(first.samples, again.samples)
    assert not np.array_equal(first.samples, other.samples)


def test_creativity_leads_from_the_remembered_sounds_to_the_query() -> None:
    asked = condition("audio", "text", "audio", weights=(0.2, 0.5, 0.3))
    remembered = normalize(0.2 * RANDOM[1] + 0.3 * RANDOM[3])
    assert np.allclose(between(asked, 0.0), remembered, atol=1e-6)
    assert np.allclose(between(asked, 1.0), RANDOM[0], atol=1e-6)
    assert np.allclose(between(condition("text"), 0.0), RANDOM[1], atol=1e-6)
    assert np.array_equal(between(condition(), 0.0), RANDOM[0])


def test_vectors_of_another_dimension_are_refused(folder: Path) -> None:
    wrong = Space("bundled", 384, "f")
    for generator, name in ((UnclipGenerator, "unclip"), (AudioLdmGenerator, "audioldm")):
        with pytest.raises(ModelUnavailable, match=r"takes vectors of 16 values.*384"):
            generator.open(f"local-dir:{folder / 'owner' / name}", wrong)
    assert UNCLIP_DIMENSION == AUDIOLDM_DIMENSION == 16


def test_another_kind_of_pipeline_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="StableUnCLIPImg2ImgPipeline is needed"):
        UnclipGenerator.open(f"local-dir:{folder / 'owner/audioldm'}", SPACE)
    with pytest.raises(UnknownName, match=r"holds no model_index\.json"):
        UnclipGenerator.open(f"local-dir:{tmp_path}", SPACE)


def test_other_weights_are_another_fingerprint(
    unclip: UnclipGenerator, folder: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder / "owner/unclip", copy)
    same = UnclipGenerator.open(f"local-dir:{copy}", SPACE)
    assert same.fingerprint == unclip.fingerprint
    save_unclip(copy, seed=1)
    assert UnclipGenerator.open(f"local-dir:{copy}", SPACE).fingerprint != unclip.fingerprint


@pytest.fixture
def hub(folder: Path, served: Hub) -> Hub:
    shutil.copytree(folder, served.folder, dirs_exist_ok=True)
    return served


def test_a_pipeline_is_fetched_once_and_used_without_asking_again(
    hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    unused = hub.folder / "owner/unclip/unet/diffusion_pytorch_model.fp16.safetensors"
    unused.write_bytes(b"half")
    (hub.folder / "owner/unclip/unet/diffusion_pytorch_model.bin").write_bytes(b"pickle")
    caplog.set_level("INFO", logger="encoders.hub")
    first = UnclipGenerator.open("owner/unclip", SPACE, STEPS)
    assert "licence openrail++" in caplog.text
    assert hub.requests[-1].endswith("model_index.json")
    assert not [each for each in hub.requests if "fp16" in each or ".bin" in each]
    hub.requests.clear()
    again = UnclipGenerator.open("owner/unclip", SPACE, STEPS)
    assert hub.requests == []
    assert first.fingerprint == again.fingerprint


def test_a_sound_pipeline_comes_from_the_hub_too(hub: Hub) -> None:
    opened = open_backends({"audio": "audioldm:owner/audioldm"}, {"audio": SPACE}, steps=STEPS)
    assert opened["audio"].name == "audioldm owner/audioldm"


def test_what_was_interrupted_is_fetched_to_its_end(hub: Hub) -> None:
    weights = hub.folder / "owner/unclip/vae/diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".hidden"))
    with pytest.raises(ModelUnavailable, match="no safetensors weights of vae"):
        UnclipGenerator.open("owner/unclip", SPACE, STEPS)
    weights.with_suffix(".hidden").rename(weights)
    assert UnclipGenerator.open("owner/unclip", SPACE, STEPS).space_id == "clip"


def test_without_a_network_the_error_says_what_to_do(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelUnavailable, match="HF_HUB_OFFLINE=1 forbids"):
        UnclipGenerator.open("owner/unclip", SPACE)


def test_a_repository_that_is_no_pipeline(hub: Hub) -> None:
    (hub.folder / "owner/other").mkdir()
    (hub.folder / "owner/other/config.json").write_text("{}")
    with pytest.raises(ModelUnavailable, match="no pipeline of diffusers"):
        UnclipGenerator.open("owner/other", SPACE)
    with pytest.raises(UnknownName, match="not the name of a model"):
        UnclipGenerator.open("a/b/c", SPACE)


def test_an_unreadable_index(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("{")
    with pytest.raises(ModelUnavailable, match="cannot be read"):
        hub_files.pipeline_index(tmp_path)
    (tmp_path / "model_index.json").write_text(json.dumps([]))
    assert hub_files.pipeline_index(tmp_path) == {}


def test_the_asked_words_are_part_of_the_prompt(unclip: UnclipGenerator) -> None:
    """Though a remembered picture stands for the embedding."""
    remembered = condition("image", "text")
    asked = replace(remembered, words="a red house ")
    made, other = (unclip.generate(each, seed=1, creativity=1.0) for each in (asked, remembered))
    assert made.details["prompt"] == "a red house, text 1"
    assert other.details["prompt"] == "text 1"
    assert not np.array_equal(np.asarray(made.media), np.asarray(other.media))
    assert asked_and_remembered(replace(remembered, words="text 1")) == "text 1"
