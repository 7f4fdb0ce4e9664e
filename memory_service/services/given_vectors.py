"""Vectors that callers bring: checked, and made of unit length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from encoders.base import Space
from memory_service.errors import InvalidInput, InvalidVector, SpaceMismatch
from memory_service.records import Upload
from memory_service.services.models import Models, key_of
from memory_service.storage.spaces import Embedding

Double = npt.NDArray[np.float64]

# Squares of values whose sum lies between have neither overflowed nor vanished.
LEAST_SQUARE, MOST_SQUARE = 1e-200, 1e200


def unit(values: Any, **where: Any) -> Double:
    """A vector (D,) scaled to unit length; `where` goes into the details of InvalidVector."""
    try:
        vector = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidVector(f"a vector is a list of numbers: {error}", **where) from error
    if vector.ndim != 1:
        raise InvalidVector("a vector is a flat list of numbers", found=list(vector.shape), **where)
    if isinstance(values, np.ndarray) and values.dtype == np.float32:
        square = float(vector @ vector)  # float64 has room for any sum of their squares
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            square = float(vector @ vector)
    if LEAST_SQUARE < square < MOST_SQUARE:  # and so all are finite
        return np.asarray(vector / np.sqrt(square), np.float64)
    return _scaled(vector, where)


def _scaled(vector: Double, where: dict[str, Any]) -> Double:
    """What is wrong with it, or the same of values whose squares leave the range."""
    if not np.isfinite(vector).all():
        raise InvalidVector("the vector holds NaN or infinity", **where)
    if not len(vector):
        raise InvalidVector("the vector has no values", found=0, **where)
    largest = float(np.abs(vector).max(initial=0.0))
    if largest == 0.0:
        raise InvalidVector("the vector is zero: it has no direction", **where)
    vector = vector / largest
    return np.asarray(vector / np.linalg.norm(vector), np.float64)


def of_upload(upload: Upload, models: Models, number: int) -> Embedding | None:
    """The vector that came with an upload, which is then not encoded into that space.

    Raises InvalidInput, InvalidVector, SpaceMismatch, ModalityUnavailable.
    """
    if upload.vector is None:
        if upload.space is not None:
            raise InvalidInput(f"item {number} names a space, but has no vector", item=number)
        return None
    space = _named(upload.space, upload.modality, models.spaces(upload.modality), number)
    vector = unit(upload.vector, item=number)
    if len(vector) != space.dimension:
        raise InvalidVector(
            f"item {number}: the vector has {len(vector)} values, space {space.id} has "
            f"{space.dimension}",
            found=len(vector),
            accepted=[space.dimension],
            item=number,
        )
    return Embedding(key_of(space), vector.astype(np.float32))


def _named(name: str | None, modality: str, spaces: Sequence[Space], number: int) -> Space:
    accepted = [space.id for space in spaces]
    if name is None:
        raise InvalidInput(
            f"item {number} has a vector, and has to name its space: {', '.join(accepted)}",
            accepted=accepted,
            item=number,
        )
    for space in spaces:
        if space.id == name:
            return space
    raise SpaceMismatch(
        f"item {number}: its vector is said to be of space {name[:200]!r}; {modality} is stored "
        f"in {', '.join(accepted)}",
        found=name[:200],
        accepted=accepted,
        item=number,
    )
