"""What the latents keep of media, and an epoch of training that is thrown away."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from encoders.base import Waveform, normalize
from generator import short_epoch
from generator.audio import SoundGenerator
from generator.base import Generator
from generator.fake import FakeGenerator
from generator.image import PictureGenerator, square
from generator.registry import WEIGHTS
from generator.short_epoch import devices, epochs


def disc(colour: str, side: int = 64) -> Image.Image:
    picture = Image.new("RGB", (side, side), "white")
    ImageDraw.Draw(picture).ellipse((12, 12, 52, 52), fill=colour)
    return picture


@pytest.fixture(scope="module")
def pictures() -> Generator:
    return PictureGenerator(WEIGHTS)


@pytest.fixture(scope="module")
def sounds() -> Generator:
    return SoundGenerator(WEIGHTS)


def test_a_picture_is_kept_by_its_latents(pictures: Generator) -> None:
    red = disc("red")
    kept = pictures.recode([red])
    assert kept is not None
    error = np.abs(np.asarray(kept, float) - square(red, 64)).mean()
    assert error < 12
    between = pictures.recode([red, disc("blue")])
    assert between is not None
    middle = np.asarray(between)[28:36, 28:36].mean(axis=(0, 1))
    assert middle[0] > 40  # some of both
    assert middle[2] > 40


def test_a_sound_is_kept_by_its_latents(sounds: Generator) -> None:
    time = np.arange(16_000) / 16_000
    tone = Waveform(np.sin(2 * np.pi * 440 * time).astype(np.float32), 16_000)
    kept = sounds.recode([tone])
    assert kept is not None
    spectrum = np.abs(np.fft.rfft(kept.samples[:16_000]))
    assert abs(int(spectrum.argmax()) - 440) < 60


def test_others_have_no_latents() -> None:
    assert FakeGenerator("text", "s").recode(["a"]) is None
    assert epochs(FakeGenerator("image", "s"), [disc("red")], np.ones((1, 4)), "cpu") == []


@pytest.mark.parametrize("kind", ["pictures", "sounds"])
def test_an_epoch_learns_and_leaves_the_generator_as_it_is(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(short_epoch, "BATCH", 2)
    generator = request.getfixturevalue(kind)
    time = np.arange(16_000) / 16_000
    media = [
        disc("red")
        if kind == "pictures"
        else Waveform(np.sin(2 * np.pi * 50 * (n + 4) * time).astype(np.float32), 16_000)
        for n in range(3)
    ]
    before = [each.clone() for each in generator.autoencoder.parameters()]
    vectors = normalize(np.random.default_rng(0).standard_normal((len(media), 384)))
    found = epochs(generator, media, vectors, devices()[0])
    assert [each.network for each in found] == ["autoencoder", "flow"]
    for each in found:
        assert (each.items, each.steps) == (3, 2)
        assert each.seconds > 0
        assert np.isfinite(each.losses).all()
    for old, new in zip(before, generator.autoencoder.parameters(), strict=True):
        assert torch.equal(old, new)
