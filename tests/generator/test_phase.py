"""Sound from spectrograms: known signals come back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from encoders.log_mel import HOP, N_FFT, SAMPLE_RATE, log_mel, stft, window
from generator.phase import griffin_lim, magnitude_from_log_mel

SECONDS = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
SINE = (0.5 * np.sin(2 * np.pi * 440 * SECONDS)).astype(np.float32)
CHIRP = (0.5 * np.sin(2 * np.pi * (200 * SECONDS + 500 * SECONDS**2))).astype(np.float32)


def spectral_convergence(magnitude: np.ndarray, samples: np.ndarray) -> float:
    """||target - |STFT(samples)||| / ||target||: 0 is perfect (Sturmel and Daudet 2011)."""
    difference = np.abs(stft(samples)) - magnitude
    return float(np.linalg.norm(difference) / np.linalg.norm(magnitude))


@pytest.mark.parametrize("samples", [SINE, CHIRP], ids=["sine", "chirp"])
def test_a_known_signal_comes_back(samples: np.ndarray) -> None:
    magnitude = np.abs(stft(samples))
    rebuilt = griffin_lim(magnitude)
    assert spectral_convergence(magnitude, rebuilt) < 0.1
    assert len(rebuilt) == (magnitude.shape[1] - 1) * 256


def test_it_is_what_torch_transforms_back_and_forth() -> None:
    magnitude = np.abs(stft(CHIRP))[:, :40]
    assert np.allclose(griffin_lim(magnitude, iterations=3), by_torch(magnitude, 3), atol=1e-5)


def by_torch(magnitude: np.ndarray, iterations: int) -> np.ndarray:
    """The recipe of Perraudin et al. (2013), by torch's own STFT and its inverse."""
    target, momentum = torch.from_numpy(magnitude), 0.99
    frame = {"n_fft": N_FFT, "hop_length": HOP, "window": torch.from_numpy(window())}
    random = torch.Generator().manual_seed(0)
    angles = torch.rand(target.shape, generator=random) * (2 * torch.pi)
    phase, previous = torch.polar(torch.ones_like(target), angles), torch.zeros(1)
    for _ in range(iterations):
        samples = torch.istft(target * phase, **frame)
        rebuilt = torch.stft(samples, **frame, pad_mode="constant", return_complex=True)
        phase = rebuilt - previous * (momentum / (1 + momentum))
        phase, previous = phase / phase.abs(), rebuilt
    return torch.istft(target * phase, **frame).numpy()


def test_more_iterations_come_nearer() -> None:
    magnitude = np.abs(stft(CHIRP))
    few, many = (
        spectral_convergence(magnitude, griffin_lim(magnitude, iterations=n)) for n in (2, 40)
    )
    assert many < few


def test_the_pitch_survives_the_mel_scale() -> None:
    rebuilt = griffin_lim(magnitude_from_log_mel(log_mel(SINE)))
    spectrum = np.abs(np.fft.rfft(rebuilt))
    assert abs(spectrum.argmax() * SAMPLE_RATE / len(rebuilt) - 440) < 20


def test_the_same_seed_gives_the_same_samples() -> None:
    magnitude = np.abs(stft(CHIRP))
    first, again, other = (griffin_lim(magnitude, iterations=4, seed=s) for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("frames", [0, 1, 2])
def test_hardly_any_frames(frames: int) -> None:
    samples = griffin_lim(np.ones((513, frames), np.float32), iterations=2)
    assert len(samples) == max(0, frames - 1) * 256
    assert np.isfinite(samples).all()


def test_silence_stays_silent() -> None:
    samples = griffin_lim(np.zeros((513, 20), np.float32), iterations=2)
    assert np.abs(samples).max() < 1e-5
