"""What a generator is: a condition (query, fused vector, retrieved memories) in, media out.

Knows nothing about the service, and of `encoders` only `encoders.base`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from encoders.base import Modality, Vectors


@dataclass(frozen=True)
class Neighbour:
    """One retrieved memory. `media` is decoded: `PIL.Image.Image`, `str` or `Waveform`."""

    id: str
    modality: Modality
    vector: Vectors  # (D,), unit length
    media: Any


@dataclass(frozen=True)
class Condition:
    """Everything that a generation may depend on besides seed and creativity.

    `weights` (K,) are the fusion's share of each neighbour and sum to 1; K may be 0.
    Neighbours of every modality come along: a generator uses the vectors of all of them, and the
    media of those of its own modality.
    """

    query: Vectors  # (D,), unit length
    fused: Vectors  # (D,), unit length
    neighbours: tuple[Neighbour, ...]
    weights: Vectors  # (K,)


@dataclass(frozen=True)
class Generated:
    """`media`: `PIL.Image.Image` RGB, `str` or `Waveform`; `details`: JSON values about how."""

    media: Any
    details: Mapping[str, Any] = field(default_factory=dict)


class Generator(ABC):
    """Makes media of one modality from a condition in one space."""

    name: str
    modality: ClassVar[Modality]
    fingerprint: str  # hash over weights and configuration
    space_id: str  # the space whose vectors it was trained on
    latent: ClassVar[bool] = False  # an autoencoder and a flow: `recode`, `short_epoch`

    @abstractmethod
    def generate(self, condition: Condition, *, seed: int, creativity: float) -> Generated:
        """The same condition, seed and creativity give the same media on the same machine.

        `creativity` in [0, 1]: 0 reconstructs what is remembered, 1 draws freely from the
        learned conditional prior.
        """

    def recode(self, media: Sequence[Any]) -> Any | None:
        """What is left of media when they are only encoded into the generator's latents, averaged
        there, and decoded; of one alone, what its autoencoder makes of it. None: it has no latents.
        """
        return None
