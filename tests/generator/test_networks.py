"""Compiled graphs compute what the torch modules compute, from the same weight files."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from encoders.base import Waveform, normalize
from encoders.graphs import multiplies_halves
from generator.audio import SoundGenerator
from generator.base import Condition, Neighbour
from generator.image import PictureGenerator
from generator.networks import LAYOUTS, InOpenVino, InTorch, fits, open_networks
from generator.registry import WEIGHTS
from generator.training.export_onnx import export
from generator.weight_files import FILES

Latent = PictureGenerator | SoundGenerator
MODALITIES = ("image", "audio")
GRAPH_BYTES = 1_000_000  # a graph without weights stays below


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The committed weights with graphs made from them."""
    folder = tmp_path_factory.mktemp("weights")
    for name in (*FILES["image"], *FILES["audio"]):
        shutil.copy(WEIGHTS / name, folder / name)
    export(folder)
    return folder


@pytest.fixture(scope="module", params=MODALITIES)
def pair(request: pytest.FixtureRequest, weights: Path) -> tuple[InOpenVino, InTorch, Latent]:
    kind = PictureGenerator if request.param == "image" else SoundGenerator
    generator = kind(weights, runtime="torch")
    settings = generator.settings.flow
    served = InOpenVino(weights, request.param, settings, threads=1, halved=False)
    return served, InTorch(generator.autoencoder, generator.flow), generator


def test_graphs_are_small(weights: Path) -> None:
    graphs = list(weights.glob("*.onnx"))
    assert len(graphs) == 6
    assert max(path.stat().st_size for path in graphs) < GRAPH_BYTES


@pytest.mark.parametrize("rows", [1, 3])
@torch.inference_mode()
def test_they_compute_the_same(pair: tuple[InOpenVino, InTorch, Latent], rows: int) -> None:
    served, eager, generator = pair
    random = torch.Generator().manual_seed(rows)
    settings = generator.settings.flow

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn((rows, *shape), generator=random)

    # Sounds may be longer than those that the networks learnt from, by what the flow can halve.
    height, width = settings.grid
    width += 2 * rows if isinstance(generator, SoundGenerator) else 0
    latents = drawn(settings.latent_channels, height, width)
    media = eager.decode(latents)
    assert torch.allclose(served.decode(latents), media, atol=1e-3)
    assert torch.allclose(served.encode(media), eager.encode(media), atol=1e-3)
    known = 2 + settings.neighbours
    vectors = torch.nn.functional.normalize(drawn(known, settings.dimension), dim=-1)
    vectors[:, -1] = 0  # a neighbour that is not there
    shares = torch.rand((rows, known), generator=random)
    tokens = eager.flow.tokens(vectors, shares)
    assert torch.equal(served.flow.tokens(vectors, shares), tokens)
    inputs = (
        latents,
        torch.rand(rows, generator=random),
        tokens,
        drawn(settings.slots * (settings.latent_channels + 1), height, width),
    )
    velocity = served.flow(*inputs)
    assert velocity.std() > 0.1
    assert torch.allclose(velocity, eager.flow(*inputs), atol=1e-3)


@pytest.mark.parametrize("kind", [PictureGenerator, SoundGenerator])
def test_what_is_made_is_the_same_and_repeats(weights: Path, kind: type[Latent]) -> None:
    query = normalize(np.random.default_rng(0).standard_normal(384))
    condition = Condition(query, query, (), np.zeros(0, np.float32))
    if kind is SoundGenerator:
        tone = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000).astype(np.float32)
        neighbour = Neighbour("a", "audio", query, Waveform(tone, 16_000))
        condition = Condition(query, query, (neighbour,), np.ones(1, np.float32))
    served, eager = kind(weights), kind(weights, runtime="torch")
    first, again, other = (
        each.candidates(condition, seeds=(1, 2), creativity=0.5) for each in (served, served, eager)
    )
    assert [each.details["runtime"] for each in (first[0], other[0])] == ["openvino", "torch"]
    usual = "bf16" if kind is PictureGenerator and multiplies_halves() else "f32"
    assert [each.details["precision"] for each in (first[0], other[0])] == [usual, "f32"]
    for one, same, near in zip(first, again, other, strict=True):
        one, same, near = (_values(each.media) for each in (one, same, near))
        assert np.array_equal(one, same)
        assert np.abs(one - near).mean() < 0.02 * np.abs(near).max()
    assert served.fingerprint == eager.fingerprint


def _values(media: object) -> np.ndarray:  # type: ignore[type-arg]
    found = media.samples if isinstance(media, Waveform) else np.asarray(media)
    return np.asarray(found, np.float64)


@pytest.mark.parametrize("modality", MODALITIES)
@torch.inference_mode()
def test_pictures_alone_are_in_bfloat16_and_look_the_same(weights: Path, modality: str) -> None:
    kind = PictureGenerator if modality == "image" else SoundGenerator
    generator = kind(weights)
    settings = generator.settings.flow
    exact = InOpenVino(weights, modality, settings, threads=1)
    shape = (2, settings.latent_channels, *settings.grid)
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    media = exact.decode(latents)
    apart = generator._networks.decode(latents) - media
    assert bool(apart.any()) == (modality == "image" and multiplies_halves())
    assert apart.abs().mean() < 0.005 * media.std()
    inputs = (
        latents,
        torch.tensor([0.2, 0.9]),
        torch.zeros(2, 2 + settings.neighbours, settings.token_width),
        torch.zeros(2, settings.slots * (shape[1] + 1), *settings.grid),
    )
    velocity = exact.flow(*inputs)
    apart = generator._networks.flow(*inputs) - velocity
    assert bool(apart.any()) == (modality == "image" and multiplies_halves())
    assert apart.abs().mean() < 0.02 * velocity.std()


def test_graphs_of_other_tensors_are_left_alone(
    weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """New values need no new graph, new shapes do: then torch computes."""
    folder = tmp_path / "weights"
    shutil.copytree(weights, folder)
    assert fits(folder, "image")
    layouts = json.loads((folder / LAYOUTS).read_text())
    (folder / LAYOUTS).write_text(json.dumps({**layouts, "image_flow": "of other tensors"}))
    assert not fits(folder, "image")
    assert fits(folder, "audio")
    generator = PictureGenerator(weights, runtime="torch")
    found = open_networks(
        folder,
        "image",
        generator.settings.flow,
        lambda: (generator.autoencoder, generator.flow),
        runtime="openvino",
        threads=1,
    )
    assert found.runtime == "torch"
    assert "torch computes" in caplog.text
