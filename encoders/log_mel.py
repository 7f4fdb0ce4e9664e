"""Sound -> STFT -> log-mel spectrogram, as encoder and generator both hear it.

16 kHz mono, 1024-sample Hann windows every 256 samples (16 ms), 80 mel bands from 0 to 8 kHz.
numpy only; knows nothing about models.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from encoders.base import Waveform

SAMPLE_RATE = 16_000  # Hz
N_FFT = 1024
HOP = 256
N_MELS = 80
FLOOR = 1e-5  # of a mel magnitude, before the logarithm: silence is log(1e-5) = -11.5

Floats = npt.NDArray[np.float32]


def resample(sound: Waveform, rate: int = SAMPLE_RATE) -> Floats:
    """Samples (T,) at `rate` Hz; non-finite samples become 0."""
    samples = np.nan_to_num(np.asarray(sound.samples, np.float32), posinf=0.0, neginf=0.0)
    if sound.sample_rate == rate or not len(samples):
        return samples
    import soxr

    return np.asarray(soxr.resample(samples, sound.sample_rate, rate), np.float32)


@cache
def window() -> Floats:
    """Periodic Hann window (N_FFT,)."""
    return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT), np.float32)


@cache
def mel_filterbank() -> Floats:
    """Triangular filters (N_MELS, 1 + N_FFT / 2), equally spaced in HTK mels, peak 1."""
    top = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, N_MELS + 2) / 2595) - 1)  # Hz
    bins = np.arange(1 + N_FFT // 2) * SAMPLE_RATE / N_FFT
    lower, centre, upper = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (bins - lower) / (centre - lower), (upper - bins) / (upper - centre)
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


def stft(samples: Floats) -> npt.NDArray[np.complex64]:
    """(1 + N_FFT / 2, 1 + T // HOP) of samples (T,); frame i is centred on sample i * HOP."""
    padded = np.pad(np.asarray(samples, np.float32), N_FFT // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP]
    return np.fft.rfft(frames * window(), axis=-1).T.astype(np.complex64)


def log_mel(samples: Floats) -> Floats:
    """Natural logarithm of mel magnitudes, (N_MELS, 1 + T // HOP), of 16 kHz samples (T,)."""
    mel = mel_filterbank() @ np.abs(stft(samples))
    return np.log(np.maximum(mel, FLOOR), dtype=np.float32)
