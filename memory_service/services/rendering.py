"""Generated media to bytes: the same media and manifest always give the same bytes."""

from __future__ import annotations

import io
import wave
from typing import Any

import numpy as np

from encoders.base import Modality, Waveform
from memory_service import manifest
from memory_service.manifest import Manifest


def render(modality: Modality, media: Any, says: Manifest | None = None) -> tuple[str, bytes]:
    """Return media type and bytes: PNG, 16-bit mono WAV, or UTF-8 text.

    `says` is the manifest that pictures and sounds carry; None: they carry none.
    """
    match modality:
        case "image":
            return "image/png", _png(media, says)
        case "audio":
            content = _wav(media)
            return "audio/wav", content if says is None else manifest.in_wav(content, says)
        case "text":
            return "text/plain", str(media).encode("utf-8", errors="replace")
        case _:
            raise ValueError(f"a generated {modality} cannot be rendered")


def _png(picture: Any, says: Manifest | None) -> bytes:
    buffer = io.BytesIO()
    info = None if says is None else manifest.png_info(says)
    picture.save(buffer, format="PNG", pnginfo=info)
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
