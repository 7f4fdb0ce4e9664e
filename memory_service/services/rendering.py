"""Generated media to bytes: the same media always give the same bytes."""

from __future__ import annotations

import io
import wave
from typing import Any

import numpy as np

from encoders.base import Modality, Waveform


def render(modality: Modality, media: Any) -> tuple[str, bytes]:
    """Return media type and bytes: PNG, 16-bit mono WAV, or UTF-8 text."""
    match modality:
        case "image":
            return "image/png", _png(media)
        case "audio":
            return "audio/wav", _wav(media)
        case "text":
            return "text/plain", str(media).encode("utf-8", errors="replace")
        case _:
            raise ValueError(f"a generated {modality} cannot be rendered")


def _png(picture: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def _wav(sound: Waveform) -> bytes:
    samples = np.nan_to_num(np.asarray(sound.samples, np.float64))
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sound.sample_rate)
        file.writeframes(np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return buffer.getvalue()
