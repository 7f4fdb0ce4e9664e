"""The sound encoder's handling of length, level and rate, with a small random tower."""

import numpy as np
import pytest
import torch

from encoders.audio import AudioConfig, AudioEncoder, AudioTower
from encoders.base import Space, Waveform
from encoders.log_mel import log_mel
from encoders.sound_windows import MIN_FRAMES, WINDOW_S, levelled, windows

SMALL = AudioConfig(dimension=8, channels=(4, 4, 4), frame=8, hidden=8, projection=8)


@pytest.fixture(scope="module")
def encoder() -> AudioEncoder:
    torch.manual_seed(0)
    return AudioEncoder(AudioTower(SMALL), Space("small", 8, "random"))


def chirp(seconds: float, rate: int = 16_000) -> Waveform:
    times = np.arange(int(seconds * rate)) / rate
    return Waveform(np.sin(2 * np.pi * (300 + 200 * times) * times).astype(np.float32), rate)


def test_a_batch_is_as_good_as_one_at_a_time(encoder: AudioEncoder) -> None:
    sounds = [chirp(0.3), chirp(2.0), chirp(11.0)]
    singly = np.concatenate([encoder.encode([sound]) for sound in sounds])
    np.testing.assert_array_equal(encoder.encode(sounds), singly)
    np.testing.assert_allclose(np.linalg.norm(singly, axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("samples", [0, 1, 500])
@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_the_shortest_sounds_have_a_vector(encoder: AudioEncoder, samples: int, rate: int) -> None:
    vector = encoder.encode([Waveform(np.zeros(samples, np.float32), rate)])[0]
    assert np.linalg.norm(vector) == pytest.approx(1, rel=1e-5)


def test_loudness_does_not_matter(encoder: AudioEncoder) -> None:
    loud = chirp(1.0)
    quiet = Waveform(loud.samples * 0.1, loud.sample_rate)
    first, second = encoder.encode([loud, quiet])
    assert first @ second > 0.999


def test_the_rate_does_not_matter(encoder: AudioEncoder) -> None:
    first, second = encoder.encode([chirp(1.0, 16_000), chirp(1.0, 48_000)])
    assert first @ second > 0.99


@pytest.mark.parametrize(("seconds", "count"), [(0.1, 1), (8.0, 1), (9.0, 1), (10.5, 2), (24.0, 3)])
def test_long_sounds_are_heard_in_windows(seconds: float, count: int) -> None:
    found = list(windows(chirp(seconds)))
    assert len(found) == count
    assert all(MIN_FRAMES <= s.shape[1] <= WINDOW_S * 16_000 / 256 + 1 for s in found)


def test_silence_is_level() -> None:
    assert (levelled(log_mel(np.zeros(16_000, np.float32))) == -1).all()
    scaled = levelled(log_mel(chirp(1.0).samples))
    assert scaled.max() == 1
    assert scaled.min() >= -1
