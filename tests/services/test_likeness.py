"""Distances of pictures, sounds and texts; SSIM as scikit-image has it."""

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import structural_similarity

from encoders.base import Waveform
from memory_service.services.likeness import (
    distance,
    picture_distance,
    sound_distance,
    ssim,
    text_distance,
)

RANDOM = np.random.default_rng(0)


def picture(height: int, width: int) -> np.ndarray:
    smooth = RANDOM.normal(0, 20, (height, width, 3)).cumsum(0).cumsum(1)
    return np.clip(smooth - smooth.min(), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("shape", [(64, 64), (16, 40), (7, 7)])
@pytest.mark.parametrize("noise", [0, 5, 60])
def test_ssim_is_that_of_scikit_image(shape: tuple[int, int], noise: float) -> None:
    first = picture(*shape)
    second = np.clip(first + RANDOM.normal(0, noise, first.shape), 0, 255).astype(np.uint8)
    expected = structural_similarity(first, second, channel_axis=2)
    assert ssim(first, second) == pytest.approx(expected, abs=1e-9)


def test_pictures_are_compared_whole_at_the_size_of_the_generated() -> None:
    known = Image.new("RGB", (300, 100), "red")
    made = Image.new("RGB", (60, 60), "white")
    made.paste((255, 0, 0), (0, 20, 60, 40))
    assert picture_distance(made, known) < 0.05
    assert picture_distance(Image.new("RGB", (60, 60), "blue"), known) > 0.3
    assert picture_distance(Image.new("RGB", (1, 1)), known) >= 0


def tone(frequency_hz: float, rate: int = 16_000, silence_s: float = 0.0) -> Waveform:
    time = np.arange(rate) / rate
    samples = 0.4 * np.sin(2 * np.pi * frequency_hz * time)
    return Waveform(np.concatenate([np.zeros(int(silence_s * rate)), samples]).astype("f4"), rate)


def test_sounds_are_compared_from_where_they_are_heard() -> None:
    made = tone(440)
    louder = Waveform(made.samples * 2, 16_000)
    assert sound_distance(made, louder) == pytest.approx(0, abs=1e-4)
    other = sound_distance(made, tone(2000))
    assert other > 0.5
    assert sound_distance(made, tone(440, silence_s=0.5)) < other / 2
    assert sound_distance(made, tone(440, 22_050)) < other / 2
    silence = Waveform(np.zeros(100, np.float32), 16_000)
    assert sound_distance(silence, silence) == 0
    assert sound_distance(made, silence) > 1


@pytest.mark.parametrize(
    ("made", "known", "expected"),
    [
        ("A red fox.", "a red FOX", 0.0),
        ("a red fox", "In the wood a red fox is seen", 0.0),  # all of it is quoted
        ("a red fox sleeps", "a red fox", 0.25),
        ("fox", "a red fox", 0.0),
        ("a fox", "the red fox", 1.0),  # one word in a row is no quote
        ("…", "a fox", 1.0),
        ("", "", 0.0),
    ],
)
def test_texts_are_as_new_as_they_are_not_quoted(made: str, known: str, expected: float) -> None:
    assert text_distance(made, known) == pytest.approx(expected)
    assert distance("text", made, known) == pytest.approx(expected)


def test_other_modalities_have_no_measure() -> None:
    assert distance("sensor", [1.0], [1.0]) is None
