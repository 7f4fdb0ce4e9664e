"""Which modalities there are: the one place that lists them. Knows nothing about models.

A package of its own adds one by an entry point of the group `simmim.modalities` that leads to a
`ModalityKind` (see docs/guide.md). Everything else takes names, media types and decoders from here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import entry_points
from types import MappingProxyType

from encoders import media
from encoders.base import Encoder, Modality
from encoders.media import Decoded, Limits, MediaError
from encoders.sensor import encoder as sensor
from encoders.sensor import series

ENTRY_POINTS = "simmim.modalities"


@dataclass(frozen=True)
class ModalityKind:
    """`name` is also that of the field in requests. `accepted`: media types. `decode` raises
    MediaError. `encoder` makes one for profiles that have none of their own, from their others; it
    answers None where it cannot.
    """

    name: Modality
    accepted: tuple[str, ...]
    decode: Callable[[bytes, Limits], Decoded]
    encoder: Callable[[Mapping[Modality, Encoder]], Encoder | None] = lambda encoders: None


BUILT_IN = (
    ModalityKind("image", media.ACCEPTED["image"], partial(media.decode, "image")),
    ModalityKind("text", media.ACCEPTED["text"], partial(media.decode, "text")),
    ModalityKind("audio", media.ACCEPTED["audio"], partial(media.decode, "audio")),
    ModalityKind("sensor", series.ACCEPTED, series.decode, sensor.beside_text),
)


@cache
def kinds() -> Mapping[Modality, ModalityKind]:
    """By name; those of other packages after the built-in ones.

    Raises ValueError when two have the same name, and whatever a package raises on import.
    """
    found = {kind.name: kind for kind in BUILT_IN}
    for entry in entry_points(group=ENTRY_POINTS):
        kind: ModalityKind = entry.load()
        if kind.name in found or not kind.name.isidentifier():
            raise ValueError(f"{entry.value}: modality {kind.name!r} is taken or no identifier")
        found[kind.name] = kind
    return MappingProxyType(found)


def decode(modality: str, content: bytes, limits: Limits) -> Decoded:
    """Decode bytes of one modality.

    Raises MediaError: unsupported_media (another type than the modality takes), invalid_media
    (broken, truncated, empty) or too_large (more than allowed).
    """
    kind = kinds().get(modality)
    if kind is None:
        message = f"unknown modality {modality!r}"
        raise MediaError("unsupported_media", message, modality, tuple(kinds()))
    if not content:
        raise MediaError("invalid_media", f"the {modality} is empty", "nothing", kind.accepted)
    return kind.decode(content, limits)


def completed(encoders: Mapping[Modality, Encoder]) -> dict[Modality, Encoder]:
    """A profile's encoders, and those that other modalities can make from them."""
    made = {name: kind.encoder(encoders) for name, kind in kinds().items() if name not in encoders}
    return {**encoders, **{name: each for name, each in made.items() if each is not None}}
