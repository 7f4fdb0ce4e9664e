"""Small real media for the tests of the services."""

import io
import wave

import numpy as np
from PIL import Image

from memory_service.records import Upload


def png(seed: int, width: int = 8) -> bytes:
    """Noise: a width of 8 makes some 500 bytes, and one of 400 a file of its own."""
    pixels = np.random.default_rng(seed).integers(0, 255, (width, 16, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def wav(frequency_hz: float, seconds: float = 0.25) -> bytes:
    time = np.arange(round(16_000 * seconds)) / 16_000
    samples = np.sin(2 * np.pi * frequency_hz * time) * 20_000
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(samples.astype("<i2").tobytes())
    return buffer.getvalue()


def text(words: str) -> Upload:
    return Upload("text", words.encode())


def image(seed: int) -> Upload:
    return Upload("image", png(seed))


def large(seed: int) -> Upload:
    """A picture that is kept as a file."""
    return Upload("image", png(seed, 400))


def audio(frequency_hz: float) -> Upload:
    return Upload("audio", wav(frequency_hz))


def sensor(seed: int) -> Upload:
    """Weight and speed of an animal, for an hour."""
    rows = np.random.default_rng(seed).normal((20, 3), 1, (60, 2)).cumsum(axis=0)
    lines = ["weight [kg],speed [km/h]", *(f"{a:.2f},{b:.2f}" for a, b in rows)]
    return Upload("sensor", "\n".join(lines).encode())
