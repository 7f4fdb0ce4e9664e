"""Writes pictures and sounds in the collection's own form: PNG RGBA, FLAC 16 kHz mono."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import numpy as np
import soundfile
import soxr
from PIL import Image

MAX_SIDE_PX = 256
SAMPLE_RATE = 16_000
MAX_SOUND_S = 10.0


def save_picture(image: Image.Image, target: Path, max_side: int = MAX_SIDE_PX) -> None:
    picture = image.convert("RGBA")
    picture.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_suffix(".part")
    picture.save(temporary, format="PNG")
    temporary.replace(target)


def open_picture(path: Path, max_side: int = MAX_SIDE_PX) -> Image.Image:
    """Open a PNG, or render an SVG (by rsvg-convert) so that its longer side is `max_side`."""
    if path.suffix != ".svg":
        with Image.open(path) as image:
            return image.convert("RGBA")
    size = str(max_side)
    command = ["rsvg-convert", "--width", size, "--height", size, "--keep-aspect-ratio", str(path)]
    done = subprocess.run(command, check=True, capture_output=True)
    return Image.open(io.BytesIO(done.stdout)).convert("RGBA")


def save_sound(source: Path, target: Path, max_s: float = MAX_SOUND_S) -> bool:
    """Convert to 16 kHz mono FLAC; False, and nothing written, when it is silent or unreadable."""
    try:
        samples, rate = soundfile.read(source, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError:
        return False
    mono = soxr.resample(samples.mean(axis=1), rate, SAMPLE_RATE)[: int(max_s * SAMPLE_RATE)]
    if len(mono) < SAMPLE_RATE // 20 or float(np.abs(mono).max()) < 1e-3:
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_suffix(".part")
    soundfile.write(temporary, np.clip(mono, -1, 1), SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    temporary.replace(target)
    return True
