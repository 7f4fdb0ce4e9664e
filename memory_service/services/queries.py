"""The parts of a query become one unit vector per space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from encoders.base import Modality, Space
from memory_service.errors import InvalidInput, InvalidVector, TooLarge, told
from memory_service.records import QueryPart, Vector
from memory_service.services import checks, given_vectors
from memory_service.services.embedding import vector_of
from memory_service.services.models import Models, distinct
from memory_service.settings import Settings

Double = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Query:
    """`modality` is that of all parts, or None where they differ or came as bare vectors."""

    vector: Vector  # (D,), unit length
    space: Space
    modality: Modality | None
    parts: int = 1  # of the whole query, how many have a vector in this space


@dataclass(frozen=True)
class _Encoded:
    vector: Double  # (D,), unit length
    weight: float
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
    encoded = [
        each
        for number, part in enumerate(parts)
        for each in _encode(part, number, models, settings)
    ]
    if len(encoded) == 1:
        return (_sum(encoded),)
    spaces = dict.fromkeys(each.space for each in encoded)
    return tuple(_sum([each for each in encoded if each.space == space]) for space in spaces)


def _sum(encoded: Sequence[_Encoded]) -> Query:
    if len(encoded) == 1:
        (only,) = encoded
        return Query(only.vector.astype(np.float32), only.space, only.modality)
    modalities = {each.modality for each in encoded}
    total = np.sum([each.weight * each.vector for each in encoded], axis=0)
    length = float(np.linalg.norm(total))
    if length < 1e-6 * max(each.weight for each in encoded):
        raise InvalidVector("the parts of the query cancel each other out", found=length)
    return Query(
        vector=(total / length).astype(np.float32),
        space=encoded[0].space,
        modality=modalities.pop() if len(modalities) == 1 else None,
        parts=len(encoded),
    )


def primed(query: Query, trace: Double | None, weight: float) -> Query:
    """Context priming: q + weight * trace / |trace|, made a unit vector again.

    Unchanged without a trace, or where the two cancel each other out.
    """
    length = 0.0 if trace is None else float(np.linalg.norm(trace))
    if trace is None or length == 0.0:
        return query
    total = query.vector.astype(np.float64) + weight * trace / length
    norm = float(np.linalg.norm(total))
    if norm < 1e-6:
        return query
    return replace(query, vector=(total / norm).astype(np.float32))


def best_for(queries: Sequence[Query], spaces: Sequence[Space]) -> Query | None:
    """The query to compare a modality that lives in `spaces` with; None where they share none.

    Of several, the one that has most of the query in it; among equals that of the first space.
    """
    fitting = [query for space in spaces for query in queries if query.space == space]
    return max(fitting, key=lambda query: query.parts, default=None)


def _encode(part: QueryPart, number: int, models: Models, settings: Settings) -> list[_Encoded]:
    """The part in every space of its modality, its home first."""
    if not (math.isfinite(part.weight) and 0 < part.weight <= 1e6):
        raise InvalidInput(
            "the weight of a query part must be above 0 and at most a million",
            found=told(part.weight),
            part=number,
        )
    if (part.content is None) == (part.vector is None):
        raise InvalidInput("a query part has either media or a vector", part=number)
    if part.content is None:
        modality = None if part.modality is None else checks.known_modality(part.modality)
        vector = given_vectors.unit(part.vector, part=number)
        space = _space_of(vector, part, modality, models, number)
        return [_Encoded(vector, part.weight, space, modality)]
    if part.space is not None:
        raise InvalidInput("a space is named for a vector, not for media", part=number)
    modality = checks.modality(part.modality, models.encoders)
    if len(part.content) > settings.max_upload_bytes:
        raise TooLarge(
            f"a query part has {len(part.content)} bytes, "
            f"at most {settings.max_upload_bytes} are accepted",
            found=len(part.content),
            accepted=settings.max_upload_bytes,
            part=number,
        )
    media = models.decode(modality, part.content, part=number).media
    encoded = []
    for encoder in models.encoders_of(modality):
        vector = vector_of(encoder, media).astype(np.float64)
        if not np.any(vector):
            raise InvalidInput(
                f"the {modality} of the query holds nothing to search by", part=number
            )
        encoded.append(_Encoded(vector, part.weight, encoder.space, modality))
    return encoded


def _space_of(
    vector: Double, part: QueryPart, modality: Modality | None, models: Models, number: int
) -> Space:
    """The space that a bare vector is of: the one named, its modality's, or the only one that fits.

    Where a modality lives in several spaces that would do, its home is meant.
    """
    spaces = models.every_space if modality is None else distinct(models.spaces(modality))
    if part.space is not None:
        named = [space for space in spaces if space.id == part.space]
        if not named:
            raise InvalidVector(
                f"the vector is said to be of space {part.space[:200]!r}; "
                f"there are: {', '.join(space.id for space in spaces)}",
                found=part.space[:200],
                accepted=[space.id for space in spaces],
                part=number,
            )
        spaces = tuple(named)
    fitting = [space for space in spaces if space.dimension == len(vector)]
    if not fitting:
        accepted = sorted({space.dimension for space in spaces})
        raise InvalidVector(
            f"the vector has {len(vector)} values, the active space has "
            f"{' or '.join(map(str, accepted))}",
            found=len(vector),
            accepted=accepted,
            part=number,
        )
    if len(fitting) > 1 and modality is None:
        raise InvalidVector(
            "several spaces have this dimension: say in `space` of which the vector is, one of "
            + ", ".join(space.id for space in fitting),
            accepted=[space.id for space in fitting],
            part=number,
        )
    return fitting[0]
