"""The fake encoders keep the promises that service tests build on."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from encoders.base import Encoder, Waveform
from encoders.registry import load_profile
from encoders.sensor.series import Channel, TimeSeries

ENCODERS = load_profile("fake").encoders


def noise(seed: int, seconds: float = 0.5, rate: int = 16_000) -> Waveform:
    samples = np.random.default_rng(seed).standard_normal(int(seconds * rate)) * 0.1
    return Waveform(samples.astype(np.float32), rate)


def series(seed: int) -> TimeSeries:
    values = np.random.default_rng(seed).standard_normal(100).cumsum()
    return TimeSeries((Channel("temperature", values, "°C"),), 60.0)


MEDIA = {
    "text": ("a cat", "a lorry"),
    "image": (Image.new("RGBA", (5, 4), "red"), Image.new("L", (5, 4), 200)),
    "audio": (noise(0), noise(1, rate=22_050)),
    "sensor": (series(0), series(1)),
}


@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)
def test_vectors_are_deterministic_unit_and_distinct(encoder: Encoder) -> None:
    one, other = MEDIA[encoder.modality]
    first, second, again = encoder.encode([one, other, one])
    assert first.dtype == np.float32
    assert first.shape == (encoder.space.dimension,)
    np.testing.assert_allclose(np.linalg.norm([first, second], axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(first, encoder.encode([one])[0], atol=1e-6)
    assert first @ second < 0.99


@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)
def test_an_empty_batch_gives_no_rows(encoder: Encoder) -> None:
    assert encoder.encode([]).shape == (0, 384)


def test_texts_that_share_words_are_near() -> None:
    cat, kitten, lorry = ENCODERS["text"].encode(["a small cat", "the small cat", "one big lorry"])
    assert cat @ kitten > 0.5 > abs(cat @ lorry)


@pytest.mark.parametrize("samples", [0, 1, 100])
def test_the_shortest_sounds_have_a_vector(samples: int) -> None:
    vector = ENCODERS["audio"].encode([Waveform(np.zeros(samples, np.float32), 8_000)])[0]
    assert np.linalg.norm(vector) == pytest.approx(1, rel=1e-5)


def test_empty_text_has_a_vector() -> None:
    assert np.linalg.norm(ENCODERS["text"].encode([""])[0]) == pytest.approx(1, rel=1e-5)


def test_the_fake_profile_needs_no_torch() -> None:
    code = (
        "import sys; from encoders.registry import load_profile; load_profile('fake');"
        "sys.exit('torch' in sys.modules or 'open_clip' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
