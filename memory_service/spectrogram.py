"""Sounds as pictures: the log-mel spectrogram that the encoder hears, in colours."""

from __future__ import annotations

import numpy as np
from PIL import Image

from encoders.base import Waveform
from encoders.log_mel import log_mel, resample

# Dark to light through violet and orange, in equal steps of brightness.
COLOURS = np.array(
    [[20, 16, 40], [76, 29, 110], [150, 44, 110], [221, 81, 72], [252, 160, 62], [252, 245, 190]],
    dtype=np.float32,
)
RANGE = 9.0  # natural-log units shown below the loudest point
QUIETEST = 0.0  # a loudest point below this is shown as darker: silence is dark


def spectrogram(sound: Waveform) -> Image.Image:
    """RGB (frames, 80), low pitches at the bottom."""
    levels = log_mel(resample(sound))  # (80, frames)
    shade = np.clip((levels - max(levels.max(), QUIETEST)) / RANGE + 1, 0, 1)[::-1] * (
        len(COLOURS) - 1
    )
    below = np.minimum(shade.astype(int), len(COLOURS) - 2)
    part = (shade - below)[..., None]
    coloured = COLOURS[below] * (1 - part) + COLOURS[below + 1] * part
    return Image.fromarray(coloured.astype(np.uint8))
