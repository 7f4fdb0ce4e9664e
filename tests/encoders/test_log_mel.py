"""The spectrogram front end that encoder and generator share."""

import numpy as np
import pytest

from encoders.base import Waveform
from encoders.log_mel import (
    FLOOR,
    HOP,
    N_FFT,
    N_MELS,
    SAMPLE_RATE,
    log_mel,
    mel_filterbank,
    resample,
    stft,
)


def sine(hertz: float, seconds: float = 1.0, rate: int = SAMPLE_RATE) -> np.ndarray:
    times = np.arange(int(seconds * rate)) / rate
    return np.sin(2 * np.pi * hertz * times).astype(np.float32)


def test_stft_of_a_sine_peaks_at_its_frequency() -> None:
    spectrum = np.abs(stft(sine(1000.0)))
    assert spectrum.shape == (1 + N_FFT // 2, 1 + SAMPLE_RATE // HOP)
    assert spectrum[:, 30].argmax() == round(1000 * N_FFT / SAMPLE_RATE)


@pytest.mark.parametrize("hertz", [200.0, 1000.0, 5000.0])
def test_log_mel_of_a_sine_peaks_in_the_band_that_holds_it(hertz: float) -> None:
    band = log_mel(sine(hertz))[:, 30].argmax()
    bins = np.flatnonzero(mel_filterbank()[band])
    assert bins.min() <= hertz * N_FFT / SAMPLE_RATE <= bins.max()


@pytest.mark.parametrize("count", [0, 1, HOP, 10 * HOP + 7])
def test_frames_by_length(count: int) -> None:
    spectrogram = log_mel(np.zeros(count, np.float32))
    assert spectrogram.shape == (N_MELS, 1 + count // HOP)
    assert spectrogram.dtype == np.float32
    np.testing.assert_allclose(spectrogram, np.log(FLOOR))


def test_every_band_has_a_bin() -> None:
    assert (mel_filterbank().sum(axis=1) > 0).all()


def test_resampling_keeps_the_sound() -> None:
    high = Waveform(sine(440.0, rate=44_100), 44_100)
    low = resample(high)
    assert len(low) == SAMPLE_RATE
    np.testing.assert_allclose(low[2000:-2000], sine(440.0)[2000:-2000], atol=1e-3)


def test_values_that_are_no_numbers_are_silent() -> None:
    broken = Waveform(np.array([0.5, np.nan, np.inf, -np.inf], np.float32), SAMPLE_RATE)
    np.testing.assert_array_equal(resample(broken), [0.5, 0, 0, 0])
