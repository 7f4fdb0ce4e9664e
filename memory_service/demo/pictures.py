"""Thumbnails: pictures fitted into a tile, sounds as the spectrogram that the encoder hears."""

from __future__ import annotations

import io

import soundfile
from PIL import Image

from encoders.base import Waveform
from memory_service.demo.findings import Item
from memory_service.spectrogram import spectrogram as spectrogram_of


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
    """Of a sound file, (frames, 80)."""
    samples, rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    return spectrogram_of(Waveform(samples.mean(axis=1), rate))
