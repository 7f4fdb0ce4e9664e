"""Log-mel spectrogram -> sound: pseudo-inverse of the mel filters, then phase by Griffin-Lim.

The fast variant with momentum (Perraudin, Balazs and Sondergaard 2013). Knows nothing about
models; its front end is `encoders.log_mel`.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import torch

from encoders.log_mel import HOP, N_FFT, mel_filterbank, window

Floats = npt.NDArray[np.float32]
TINY = 1e-8


@cache
def _inverse_filterbank() -> torch.Tensor:
    return torch.from_numpy(np.linalg.pinv(mel_filterbank()).astype(np.float32))


def magnitude_from_log_mel(log_mel: Floats) -> Floats:
    """Least-squares STFT magnitudes (1 + N_FFT / 2, T) of a log-mel (N_MELS, T), negatives cut."""
    mel = torch.from_numpy(np.ascontiguousarray(log_mel, np.float32)).exp()
    return np.asarray((_inverse_filterbank() @ mel).clamp(min=0).numpy(), np.float32)


@torch.inference_mode()
def griffin_lim(
    magnitude: Floats, *, iterations: int = 32, momentum: float = 0.99, seed: int = 0
) -> Floats:
    """Samples ((T - 1) * HOP,) whose STFT magnitudes come close to `magnitude` (F, T).

    Starts from random phases of `seed`. One frame or none gives no samples.
    """
    target = torch.from_numpy(np.ascontiguousarray(magnitude, np.float32))
    if target.shape[1] < 2:
        return np.zeros(0, np.float32)
    random = torch.Generator().manual_seed(seed % 2**63)
    angles = torch.rand(target.shape, generator=random) * (2 * torch.pi)
    phase = torch.polar(torch.ones_like(target), angles)
    previous = torch.zeros_like(phase)
    for _ in range(iterations):
        rebuilt = _stft(_istft(target * phase))
        phase = rebuilt - previous * (momentum / (1 + momentum))
        phase = phase / (phase.abs() + TINY)
        previous = rebuilt
    return np.asarray(_istft(target * phase).numpy(), np.float32)


@cache
def _window() -> torch.Tensor:
    return torch.from_numpy(window())


def _stft(samples: torch.Tensor) -> torch.Tensor:
    return torch.stft(
        samples, N_FFT, HOP, window=_window(), center=True, pad_mode="constant", return_complex=True
    )


def _istft(spectrum: torch.Tensor) -> torch.Tensor:
    return torch.istft(spectrum, N_FFT, HOP, window=_window(), center=True)
