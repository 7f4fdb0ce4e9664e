"""What an encoder is: one modality in, unit vectors of one space out.

Knows nothing about concrete models, storage or HTTP. Everything else in this package, in
`generator` and in `memory_service` may import it; it imports nothing of ours.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Modality = str  # a name; `encoders.modalities` lists which there are

Vectors = npt.NDArray[np.float32]  # (N, D) or (D,)


@dataclass(frozen=True)
class Waveform:
    """Mono sound: `samples` float32 in [-1, 1], shape (T,); `sample_rate` in Hz."""

    samples: npt.NDArray[np.float32]
    sample_rate: int

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.sample_rate


@dataclass(frozen=True)
class Space:
    """A vector space that one or several encoders map into.

    `fingerprint` hashes weights, preprocessing, dimension and normalisation of all the encoders
    that share the space: vectors of different fingerprints are never compared.
    """

    id: str
    dimension: int
    fingerprint: str


@dataclass(frozen=True)
class Weights:
    """What is known of a model's weights, for people who decide whether to use them."""

    name: str
    origin: str  # hub repository and commit, folder or file
    parameters: int
    size_bytes: int  # of the files
    licence: str | None  # None: not stated where the weights come from


class Encoder(ABC):
    """Maps a batch of one modality into one space.

    Inputs are what the modality's decoder makes: `PIL.Image.Image` (any mode), `str`, `Waveform`
    (any rate), `encoders.sensor.series.TimeSeries`.
    """

    modality: Modality
    space: Space
    # A long sound is encoded in segments so long, one every `hop_s`: what one of them cuts in
    # two, the next one has whole. Measured for the bundled tower: docs/decisions.md, "Long sounds".
    segment_s: float = 2.0
    hop_s: float = 1.0

    @property
    def name(self) -> str:
        """What people read; one that wraps another has that one's."""
        return type(self).__name__

    def encode(self, batch: Sequence[Any]) -> Vectors:
        """Return float32 (N, D) rows of unit length; (0, D) for an empty batch."""
        if not batch:
            return np.zeros((0, self.space.dimension), dtype=np.float32)
        return normalize(self._encode(batch))

    def close(self) -> None:
        """Release what is held; nothing is encoded afterwards."""
        return

    @abstractmethod
    def _encode(self, batch: Sequence[Any]) -> Vectors:
        """Return float32 (N, D), not yet normalised; N >= 1."""


def normalize(vectors: npt.ArrayLike) -> Vectors:
    """Scale rows to unit L2 length; a zero row stays zero."""
    array = np.asarray(vectors, dtype=np.float32)
    norms = np.linalg.norm(array, axis=-1, keepdims=True)
    return np.asarray(array / np.maximum(norms, 1e-12), dtype=np.float32)
