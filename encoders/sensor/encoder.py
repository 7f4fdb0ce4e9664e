"""Time series into the space of a text encoder: what is said of them, and a share of their shape.

The sentences make a series findable by text, and through the space by whatever else lies in it. The
shape tells apart series of which the same is said. Knows the text encoder by its protocol alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from encoders.base import Encoder, Modality, Vectors, normalize
from encoders.sensor.series import Channel, TimeSeries
from encoders.sensor.words import sentences

SHAPE_SHARE = 0.25  # length of the shape beside that of the words, which is 1
CURVE = 48  # points of a channel's curve
FEATURES = CURVE + 6


class SensorEncoder(Encoder):
    """The mean over the channels of their sentences' vectors, plus their projected shapes.

    The space is the text encoder's: its fingerprint says nothing of the wording, see
    docs/decisions.md.
    """

    modality = "sensor"

    def __init__(self, text: Encoder) -> None:
        self._text = text
        self.space = text.space

    def _encode(self, batch: Sequence[Any]) -> Vectors:
        said = [sentences(series) for series in batch]
        rows = iter(self._text.encode([each for many in said for each in many]))
        vectors = []
        for series, many in zip(batch, said, strict=True):
            words = normalize(np.mean([next(rows) for _ in many], axis=0))
            vectors.append(words + SHAPE_SHARE * self._shape(series))
        return np.stack(vectors)

    def _shape(self, series: TimeSeries) -> Vectors:
        """(D,), of unit length. Each channel's name has a projection of its own."""
        dimension = self.space.dimension
        total = np.zeros(dimension, np.float32)
        for channel in series.channels:
            total += features(channel) @ _projection(channel.name.lower(), dimension)
        return normalize(total)


def beside_text(encoders: Mapping[Modality, Encoder]) -> Encoder | None:
    """The sensor encoder of a profile that has a text encoder."""
    text = encoders.get("text")
    return None if text is None else SensorEncoder(text)


def features(channel: Channel) -> Vectors:
    """(54,): the curve at unit deviation, and level, spread and roughness on a log scale."""
    values = channel.values
    places = np.linspace(0, len(values), CURVE + 1)
    # The mean of each of 48 stretches, exact for stretches that begin between two values.
    sums = np.interp(places, np.arange(len(values) + 1), np.concatenate([[0.0], np.cumsum(values)]))
    curve = np.diff(sums) / np.diff(places)
    mean, deviation = float(values.mean()), float(values.std())
    shape = (curve - mean) / deviation if deviation > 1e-9 * max(abs(mean), 1e-9) else 0.0 * curve
    steps = np.diff(values)
    extremes = np.array([mean, values[0], values[-1], values.min(), values.max()])
    scaled = np.sign(extremes) * np.log1p(np.abs(extremes))
    roughness = np.log1p(float(np.abs(steps).mean()))
    row = np.concatenate([shape / np.sqrt(CURVE), scaled / 4, [roughness]])
    return np.asarray(row, np.float32)


@lru_cache(maxsize=128)
def _projection(name: str, dimension: int) -> Vectors:
    """(54, D), the same on every machine for the same name."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    random = np.random.default_rng(seed).standard_normal((FEATURES, dimension))
    return np.asarray(random, np.float32)
