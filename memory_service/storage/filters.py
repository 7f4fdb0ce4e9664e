"""Metadata filters, checked and turned into SQL. Values are always bound, never spliced in."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from memory_service.errors import InvalidInput

Scalar = str | int | float | bool | None
Filter = tuple[tuple[str, tuple[Scalar, ...]], ...]  # all of: field is any of values

# A name goes into a quoted JSON path, which has no way to write a quote or a backslash.
_FIELD = re.compile(r'[^"\\\x00-\x1f\ud800-\udfff]{1,64}')
MAX_FIELDS = 16
MAX_VALUES = 256


def parse(filter: Mapping[str, Any] | None) -> Filter:
    """Accept {"field": value} and {"field": [value, ...]}; raises InvalidInput otherwise."""
    if filter is None:
        return ()
    if not isinstance(filter, Mapping) or len(filter) > MAX_FIELDS:
        raise InvalidInput(
            f"filter must be an object of at most {MAX_FIELDS} fields",
            accepted={"field": "value or list of values"},
        )
    return tuple((_field(name), _values(name, value)) for name, value in filter.items())


def _field(name: Any) -> str:
    if not isinstance(name, str) or not _FIELD.fullmatch(name):
        raise InvalidInput(
            f"filter field {name!r} is not a metadata field name",
            accepted="1 to 64 characters, no quote, backslash or control character",
        )
    return name


def _values(name: str, value: Any) -> tuple[Scalar, ...]:
    values = tuple(value) if isinstance(value, list | tuple) else (value,)
    if not 1 <= len(values) <= MAX_VALUES or not all(map(_is_scalar, values)):
        raise InvalidInput(
            f"filter field {name!r} must have a scalar or a list of 1 to {MAX_VALUES} scalars",
            accepted=["string", "number", "boolean", "null"],
        )
    return values


def _is_scalar(value: Any) -> bool:
    if isinstance(value, bool) or value is None:
        return True
    if isinstance(value, int):
        return -(2**63) <= value < 2**63  # what SQLite can compare
    return isinstance(value, str) or (isinstance(value, float) and math.isfinite(value))


def where(namespace: str | None, modality: str | None, filter: Filter) -> tuple[str, list[Any]]:
    """SQL after a WHERE that already has a condition, and the values that it binds."""
    clauses: list[str] = []
    bound: list[Any] = []
    for column, wanted in (("namespace", namespace), ("modality", modality)):
        if wanted is not None:
            clauses.append(f"{column} = ?")
            bound.append(wanted)
    for field, values in filter:
        alternatives = []
        for value in values:
            clause, more = _equals(field, value)
            alternatives.append(clause)
            bound += more
        clauses.append(f"({' OR '.join(alternatives)})")
    return "".join(f" AND {clause}" for clause in clauses), bound


def _equals(field: str, value: Scalar) -> tuple[str, list[Any]]:
    path = f'$."{field}"'
    if isinstance(value, bool) or value is None:
        # JSON true and 1 are both 1 to json_extract; their types differ.
        kind = "null" if value is None else str(value).lower()
        return "json_type(metadata, ?) = ?", [path, kind]
    kinds = "('text')" if isinstance(value, str) else "('integer', 'real')"
    return (
        f"(json_extract(metadata, ?) = ? AND json_type(metadata, ?) IN {kinds})",
        [path, value, path],
    )
