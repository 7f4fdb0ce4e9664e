"""Thumbnails: pictures fitted into a tile, sounds as the spectrogram that the encoder hears."""

from __future__ import annotations

import io

import numpy as np
import soundfile
from PIL import Image

from encoders.base import Waveform
from encoders.log_mel import log_mel, resample
from memory_service.demo.findings import Item

# Dark to light through violet and orange, in equal steps of brightness.
COLOURS = np.array(
    [[20, 16, 40], [76, 29, 110], [150, 44, 110], [221, 81, 72], [252, 160, 62], [252, 245, 190]],
    dtype=np.float32,
)
RANGE = 9.0  # natural-log units shown below the loudest point
QUIETEST = 0.0  # a loudest point below this is shown as darker: silence is dark


def thumbnail(item: Item, width: int, height: int) -> Image.Image:
    """An RGB picture (width, height) of a picture or a sound."""
    if item.modality == "audio":
        return spectrogram(item.content).resize((width, height), Image.Resampling.BILINEAR)
    with Image.open(io.BytesIO(item.content)) as opened:
        picture = opened.convert("RGBA")
    # Small generated pictures are enlarged without smoothing away what they are.
    scale = min(width / picture.width, height / picture.height)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    way = Image.Resampling.BICUBIC if scale > 1 else Image.Resampling.LANCZOS
    picture = picture.resize(size, way)
    # Off white, so that white things without a background can be seen.
    tile = Image.new("RGB", (width, height), "#eceaf1")
    tile.paste(picture, ((width - size[0]) // 2, (height - size[1]) // 2), picture)
    return tile


def spectrogram(content: bytes) -> Image.Image:
    """Log-mel spectrogram (frames, 80), low pitches at the bottom."""
    samples, rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    levels = log_mel(resample(Waveform(samples.mean(axis=1), rate)))  # (80, frames)
    shade = np.clip((levels - max(levels.max(), QUIETEST)) / RANGE + 1, 0, 1)[::-1] * (
        len(COLOURS) - 1
    )
    below = np.minimum(shade.astype(int), len(COLOURS) - 2)
    part = (shade - below)[..., None]
    coloured = COLOURS[below] * (1 - part) + COLOURS[below + 1] * part
    return Image.fromarray(coloured.astype(np.uint8))
