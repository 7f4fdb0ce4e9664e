"""Sounds as the bundled tower hears them: levelled log-mel windows; and the mean of windows.

numpy only. Knows nothing about what computes the vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from encoders.base import Vectors, Waveform, normalize
from encoders.log_mel import SAMPLE_RATE, Floats, log_mel, resample

DYNAMIC_RANGE = 8.0  # natural log units below the loudest point (70 dB); what is fainter is silence
WINDOW_S = 8.0  # a longer sound is heard in windows, whose vectors are averaged
MIN_FRAMES = 64  # a shorter sound is followed by silence: about one second
BATCH = 16  # windows per forward pass

Tower = Callable[[Floats], Vectors]  # (B, 80, T) -> (B, D)


def levelled(spectrogram: Floats) -> Floats:
    """Log-mel (80, T) -> [-1, 1], 1 the loudest point: the same for the same sound made louder.

    Silence is -1 everywhere. At least MIN_FRAMES long.
    """
    loudest = float(spectrogram.max())
    scaled = np.clip((spectrogram - loudest) / DYNAMIC_RANGE * 2 + 1, -1.0, 1.0)
    if loudest <= np.log(1e-4):  # nothing but rounding noise: there is no loudest point
        scaled = np.full_like(scaled, -1.0)
    missing = max(0, MIN_FRAMES - scaled.shape[1])
    return np.pad(scaled, ((0, 0), (0, missing)), constant_values=-1.0).astype(np.float32)


def windows(sound: Waveform) -> Iterator[Floats]:
    """Levelled spectrograms (80, T) of successive windows of at most WINDOW_S seconds.

    A rest of less than a quarter window belongs to the last window only if it is the only one.
    """
    samples = resample(sound)
    length = int(WINDOW_S * SAMPLE_RATE)
    starts = range(0, max(len(samples), 1), length)
    for start in starts:
        piece = samples[start : start + length]
        if start == 0 or len(piece) >= length // 4:
            yield levelled(log_mel(piece))


def sound_vector(sound: Waveform, tower: Tower) -> Vectors:
    """(D,): the mean over windows. Sounds differ in length, so each is a batch of its own."""
    return mean_vector(windows(sound), lambda batch: tower(np.stack(batch)), BATCH)


def mean_vector(
    windows: Iterable[Floats], encode: Callable[[list[Floats]], Vectors], size: int
) -> Vectors:
    """(D,): the mean of the windows' unit vectors, of one window at least; at most `size` of equal
    shape are encoded at a time."""
    rows = []
    pending: list[Floats] = []
    for window in windows:
        if pending and (window.shape != pending[0].shape or len(pending) == size):
            rows.append(encode(pending))
            pending = []
        pending.append(window)
    rows.append(encode(pending))
    return normalize(np.concatenate(rows)).mean(axis=0)  # type: ignore[no-any-return]
