"""The models that services work with, whichever the profile: encoders, calibration, generators.

Turns what the decoders complain about into the service's own errors.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from encoders.base import Encoder, Modality, Space
from encoders.media import Decoded, Limits, MediaError, decode
from generator.base import Generator
from memory_service.errors import (
    InvalidMedia,
    MemoryServiceError,
    ModalityUnavailable,
    SpaceMismatch,
    TooLarge,
    UnsupportedMedia,
)
from memory_service.services import checks
from memory_service.storage.catalog import SpaceKey

_ERRORS: Mapping[str, type[MemoryServiceError]] = {
    "unsupported_media": UnsupportedMedia,
    "invalid_media": InvalidMedia,
    "too_large": TooLarge,
}


class Calibration(Protocol):
    def score(self, cosine: Any, query_modality: str | None, memory_modality: str) -> Any:
        """Score in [0, 1], rising with the cosine: a float, or an array (N,) for an array."""


NO_LIMITS = Limits(max_pixels=sys.maxsize, max_audio_s=1e9, max_text_chars=sys.maxsize)


@dataclass(frozen=True)
class Models:
    """`generator_space` is the space of the vectors that the generators are conditioned on."""

    profile: str
    encoders: Mapping[Modality, Encoder]
    calibration: Calibration
    generators: Mapping[Modality, Generator] = field(default_factory=dict)
    generator_space: Space | None = None
    limits: Limits = field(default_factory=Limits)

    def encoder(self, modality: str) -> Encoder:
        """Raises InvalidInput for an unknown modality, ModalityUnavailable for a missing one."""
        return self.encoders[checks.modality(modality, self.encoders)]

    def space(self, modality: str) -> Space:
        return self.encoder(modality).space

    def generator(self, modality: Modality) -> Generator:
        """The generator; its weights are loaded at first use."""
        try:
            return self.generators[modality]
        except ValueError as error:
            raise ModalityUnavailable(
                f"the generator for {modality} does not fit the active profile: {error}",
                found=modality,
            ) from error

    def decode(self, modality: str, content: bytes, **where: Any) -> Decoded:
        """Raises UnsupportedMedia, InvalidMedia or TooLarge; `where` goes into the details."""
        return _decode(modality, content, self.limits, where)

    def decode_stored(self, modality: str, content: bytes, **where: Any) -> Decoded:
        """`decode` without limits: what was accepted once stays usable under stricter ones."""
        return _decode(modality, content, NO_LIMITS, where)


def _decode(modality: str, content: bytes, limits: Limits, where: Mapping[str, Any]) -> Decoded:
    try:
        return decode(modality, content, limits)
    except MediaError as error:
        raise _ERRORS[error.code](
            error.message, found=error.found, accepted=list(error.accepted), **where
        ) from error


def key_of(space: Space) -> SpaceKey:
    return space.id, space.fingerprint


def require_same_space(
    modality: str, active: Space, recorded: set[SpaceKey], standby: Collection[SpaceKey] = ()
) -> None:
    """Raise SpaceMismatch when the modality is searched by vectors of another space, or when the
    own space holds vectors that are not searched (`standby`)."""
    foreign = sorted(recorded - {key_of(active)})
    own = f"{active.id} ({active.fingerprint})"
    if foreign:
        names = ", ".join(f"{space_id} ({fingerprint})" for space_id, fingerprint in foreign)
        what = (
            f"the store's {modality} vectors were made in space {names}; the active profile "
            f"encodes {modality} into {own}"
        )
    elif key_of(active) in standby:
        what = (
            f"the store's {modality} vectors in space {own} are not in use: a re-embedding into "
            "it was not finished, or another one has replaced them"
        )
    else:
        return
    raise SpaceMismatch(
        f"{what}. Start the service with the profile that the store was made with, or stop it and "
        "re-embed the store into the active one: memory-service reembed --profile PROFILE "
        "(--rollback takes back the last re-embedding), or choose another data_dir. Reading "
        "memories and their content works as before.",
        modality=modality,
        recorded=[{"id": each[0], "fingerprint": each[1]} for each in foreign],
        active={"id": active.id, "fingerprint": active.fingerprint},
    )
