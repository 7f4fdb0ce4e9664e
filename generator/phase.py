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
OVERLAP = N_FFT // HOP  # frames that a sample lies in
PADDED = OVERLAP // 2  # hops before the first sample and after the last one


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
    frames = target.shape[1]
    if frames < 2:
        return np.zeros(0, np.float32)
    random = torch.Generator().manual_seed(seed % 2**63)
    angles = torch.rand(target.shape, generator=random) * (2 * torch.pi)
    spectrum = torch.polar(target, angles).T.contiguous()  # (T, F) from here on
    target = target.T.contiguous()
    shares = _shares(frames)
    previous = torch.zeros_like(spectrum)
    for _ in range(iterations):
        rebuilt = _stft(_istft(spectrum, shares))
        # By length 1, in one go with the magnitudes that are wanted.
        spectrum = rebuilt.sub(previous, alpha=momentum / (1 + momentum))
        spectrum *= target / (_length(spectrum) + TINY)
        previous = rebuilt
    return np.asarray(_istft(spectrum, shares)[PADDED:-PADDED].numpy().ravel(), np.float32)


@cache
def _window() -> torch.Tensor:
    return torch.from_numpy(window())


def _length(values: torch.Tensor) -> torch.Tensor:
    """Of complex values. `abs` guards against overflow, which takes several times as long."""
    parts = torch.view_as_real(values)
    real, imaginary = parts[..., 0], parts[..., 1]
    return real.square().addcmul_(imaginary, imaginary).sqrt_()


def _shares(frames: int) -> torch.Tensor:
    """(T + OVERLAP - 1, HOP): what overlapping windows are divided by, as a factor; 0 in the
    padding on both sides, which is silence."""
    summed = _overlapped(_window().square().expand(frames, N_FFT))
    shares = torch.zeros_like(summed)
    shares[PADDED:-PADDED] = 1 / summed[PADDED:-PADDED]
    return shares


def _stft(samples: torch.Tensor) -> torch.Tensor:
    """Spectra (T, F) of padded samples (T + OVERLAP - 1, HOP)."""
    spectra: torch.Tensor = torch.fft.rfft(samples.view(-1).unfold(0, N_FFT, HOP) * _window())
    return spectra


def _istft(spectrum: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """Padded samples (T + OVERLAP - 1, HOP) of spectra (T, F): what `torch.istft` does, without
    summing up the windows and rearranging the frames each time."""
    return _overlapped(torch.fft.irfft(spectrum, N_FFT) * _window()) * shares


def _overlapped(frames: torch.Tensor) -> torch.Tensor:
    """(T + OVERLAP - 1, HOP): frames (T, N_FFT), each a hop later than the one before, added."""
    count = len(frames)
    parts = frames.reshape(count, OVERLAP, HOP)
    added = torch.zeros(count + OVERLAP - 1, HOP)
    for hop in range(OVERLAP):
        added[hop : hop + count] += parts[:, hop]
    return added
