"""Profile `fake`: deterministic encoders for tests, without any model.

Equal media give equal vectors, different media different ones, texts that share words are near
each other. One space for all three, but a picture of a cat is not near the word "cat": only an
episode connects them. numpy only.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from encoders.base import Encoder, Space, Vectors, Waveform, normalize
from encoders.log_mel import log_mel, resample

DIMENSION = 384
SPACE = Space(id="fake", dimension=DIMENSION, fingerprint="fake-1")
DIGEST_SHARE = 0.2  # of the vector; tells apart what the coarse features cannot

_WORD = re.compile(r"\w+")


@lru_cache(maxsize=65_536)
def _direction(content: bytes) -> Vectors:
    """A unit vector (D,) that belongs to these bytes alone."""
    seed = int.from_bytes(hashlib.sha256(content).digest()[:8], "big")
    return normalize(np.random.default_rng(seed).standard_normal(DIMENSION))


def _with_digest(features: Vectors, content: bytes) -> Vectors:
    digest = hashlib.sha256(content).digest()
    return normalize(features) + DIGEST_SHARE * _direction(digest)


class FakeTextEncoder(Encoder):
    """A sum of one random direction per word."""

    modality = "text"
    space = SPACE

    def _encode(self, batch: Sequence[Any]) -> Vectors:
        return np.stack([self._one(text) for text in batch])

    def _one(self, text: str) -> Vectors:
        words = _WORD.findall(text.lower()) or [text]
        total: Vectors = np.sum([_direction(word.encode()) for word in words], axis=0)
        return total


class FakeImageEncoder(Encoder):
    """The picture at 16 x 8 pixels, RGB: 384 values."""

    modality = "image"
    space = SPACE

    def _encode(self, batch: Sequence[Any]) -> Vectors:
        return np.stack([self._one(picture) for picture in batch])

    def _one(self, picture: Any) -> Vectors:
        rgb = picture.convert("RGB")
        small = np.asarray(rgb.resize((16, 8)), np.float32).ravel() / 127.5 - 1.0
        return _with_digest(small, f"{rgb.size}".encode() + rgb.tobytes())


class FakeAudioEncoder(Encoder):
    """Four quarters of the log-mel spectrogram, 80 bands each, averaged over time."""

    modality = "audio"
    space = SPACE

    def _encode(self, batch: Sequence[Any]) -> Vectors:
        return np.stack([self._one(sound) for sound in batch])

    def _one(self, sound: Waveform) -> Vectors:
        samples = resample(sound)
        quarters = np.array_split(log_mel(samples), 4, axis=1)
        features = np.zeros(DIMENSION, np.float32)
        # A sound shorter than four frames has empty quarters: they stay zero.
        means = [quarter.mean(axis=1) if quarter.size else np.zeros(80) for quarter in quarters]
        features[:320] = np.concatenate(means)
        return _with_digest(features, samples.tobytes())
