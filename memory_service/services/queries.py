"""The parts of a query become one unit vector per space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from encoders.base import Modality, Space
from memory_service.errors import InvalidInput, InvalidVector, TooLarge
from memory_service.records import QueryPart, Vector
from memory_service.services import checks
from memory_service.services.embedding import vector_of
from memory_service.services.models import Models
from memory_service.settings import Settings

Double = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Query:
    """`modality` is that of all parts, or None where they differ or came as bare vectors."""

    vector: Vector  # (D,), unit length
    space: Space
    modality: Modality | None


@dataclass(frozen=True)
class _Encoded:
    vector: Double  # (D,), unit length times weight
    space: Space
    modality: Modality | None


def encode_parts(
    parts: Sequence[QueryPart], models: Models, settings: Settings
) -> tuple[Query, ...]:
    """Encode, and sum the parts of each space by weight; at least one query comes back.

    Raises InvalidInput, InvalidVector, UnsupportedMedia, InvalidMedia, TooLarge or
    ModalityUnavailable.
    """
    checks.not_empty(parts, "parts of a query", settings.max_query_parts)
    encoded = [_encode(part, number, models, settings) for number, part in enumerate(parts)]
    spaces = dict.fromkeys(each.space for each in encoded)
    return tuple(_sum([each for each in encoded if each.space == space]) for space in spaces)


def _sum(encoded: Sequence[_Encoded]) -> Query:
    modalities = {each.modality for each in encoded}
    total = np.sum([each.vector for each in encoded], axis=0)
    length = float(np.linalg.norm(total))
    if length < 1e-6 * max(float(np.linalg.norm(each.vector)) for each in encoded):
        raise InvalidVector("the parts of the query cancel each other out", found=length)
    return Query(
        vector=(total / length).astype(np.float32),
        space=encoded[0].space,
        modality=modalities.pop() if len(modalities) == 1 else None,
    )


def _encode(part: QueryPart, number: int, models: Models, settings: Settings) -> _Encoded:
    if not (math.isfinite(part.weight) and 0 < part.weight <= 1e6):
        raise InvalidInput(
            "the weight of a query part must be above 0 and at most a million",
            found=repr(part.weight),
            part=number,
        )
    if (part.content is None) == (part.vector is None):
        raise InvalidInput("a query part has either media or a vector", part=number)
    if part.content is None:
        modality = None if part.modality is None else checks.known_modality(part.modality)
        vector = _given(part.vector, number)
        return _Encoded(vector * part.weight, _space_of(vector, modality, models, number), modality)
    modality = checks.modality(part.modality, models.encoders)
    if len(part.content) > settings.max_upload_bytes:
        raise TooLarge(
            f"a query part has {len(part.content)} bytes, "
            f"at most {settings.max_upload_bytes} are accepted",
            found=len(part.content),
            accepted=settings.max_upload_bytes,
            part=number,
        )
    encoder = models.encoder(modality)
    media = models.decode(modality, part.content, part=number).media
    vector = vector_of(encoder, media).astype(np.float64)
    if not np.any(vector):
        raise InvalidInput(f"the {modality} of the query holds nothing to search by", part=number)
    return _Encoded(vector * part.weight, encoder.space, modality)


def _given(values: Vector | None, number: int) -> Double:
    """A vector from a caller, (D,), scaled to unit length."""
    try:
        vector = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidVector(f"a vector is a list of numbers: {error}", part=number) from error
    if vector.ndim != 1:
        raise InvalidVector(
            "a vector is a flat list of numbers", found=list(vector.shape), part=number
        )
    if not np.isfinite(vector).all():
        raise InvalidVector("the vector holds NaN or infinity", part=number)
    if not len(vector):
        raise InvalidVector("the vector has no values", found=0, part=number)
    largest = float(np.abs(vector).max(initial=0.0))
    if largest == 0.0:
        raise InvalidVector("the vector is zero: it has no direction", part=number)
    vector = vector / largest  # squares of huge or tiny values would leave the range
    return np.asarray(vector / np.linalg.norm(vector), np.float64)


def _space_of(vector: Double, modality: Modality | None, models: Models, number: int) -> Space:
    """The space that a bare vector is of: its modality's, or the only one that fits."""
    spaces = (
        [encoder.space for encoder in models.encoders.values()]
        if modality is None
        else [models.space(modality)]
    )
    fitting = list(dict.fromkeys(space for space in spaces if space.dimension == len(vector)))
    if not fitting:
        accepted = sorted({space.dimension for space in spaces})
        raise InvalidVector(
            f"the vector has {len(vector)} values, the active space has "
            f"{' or '.join(map(str, accepted))}",
            found=len(vector),
            accepted=accepted,
            part=number,
        )
    if len(fitting) > 1:
        raise InvalidVector(
            "several spaces have this dimension: say of which modality the vector is",
            accepted=sorted(models.encoders),
            part=number,
        )
    return fitting[0]
