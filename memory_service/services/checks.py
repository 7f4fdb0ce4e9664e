"""What callers may hand in. Each check returns the value in its working form, or raises."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic_core import to_json

from encoders.base import Modality
from encoders.modalities import kinds
from memory_service.errors import InvalidInput, ModalityUnavailable, TooLarge, told
from memory_service.records import Weights
from memory_service.storage import filters

NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MAX_METADATA_DEPTH = 32
MOST_DIGITS = 4300  # of a number that Python reads: its own JSON writes none of more
MOST_WEIGHT = 10.0  # of what a ranking goes by besides likeness, which weighs 1
_SCALARS = {str, int, bool, type(None)}  # JSON has all of them
MODES = ("direct", "associative", "auto")


def namespace(name: Any, what: str = "namespace") -> str:
    if not isinstance(name, str) or not NAMESPACE.fullmatch(name):
        raise InvalidInput(
            f"{name!r} is not a name of a {what}: 1 to 64 of A-Z a-z 0-9 . _ -, "
            "the first a letter or digit",
            found=told(name),
            accepted=NAMESPACE.pattern,
        )
    return name


def metadata(value: Mapping[str, Any] | None, max_bytes: int) -> dict[str, Any]:
    """A JSON object of bounded size and depth; returns a copy."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidInput(
            "metadata must be a JSON object", found=type(value).__name__, accepted="object"
        )
    copy = dict(value)
    if not _is_json(copy, MAX_METADATA_DEPTH):
        raise InvalidInput(
            "metadata must hold JSON values only: text as keys, finite numbers, "
            f"at most {MAX_METADATA_DEPTH} levels",
            accepted=["object", "array", "string", "number", "boolean", "null"],
        )
    try:
        size = len(to_json(copy))
        if size > MOST_DIGITS:
            json.dumps(copy)
    except ValueError as error:  # a lone surrogate, or a number of thousands of digits
        raise InvalidInput(f"metadata cannot be written as JSON: {error}") from error
    if size > max_bytes:
        raise TooLarge(
            f"metadata has {size} bytes, at most {max_bytes} are accepted",
            found=size,
            accepted=max_bytes,
        )
    for name, each in copy.items():
        _require_findable(name, each)
    return copy


def _require_findable(field: str, value: Any) -> None:
    """What no filter finds would be stored for nothing: it is told before."""
    if not filters.FIELD.fullmatch(field):
        raise InvalidInput(
            f"metadata field {field[:80]!r} has a name that no filter can ask for",
            found=field[:80],
            accepted=filters.FIELD_NAMES,
        )
    if type(value) in (float, bool, type(None)):
        return
    for each in value if isinstance(value, list | tuple) else (value,):
        if isinstance(each, int) and each not in filters.INTEGERS:
            raise InvalidInput(
                f"metadata field {field!r} has a whole number that no filter can compare; "
                "as a text, or a number with a point, it can be stored",
                found=str(each)[:80],
                accepted=[filters.INTEGERS.start, filters.INTEGERS.stop - 1],
            )
        if isinstance(each, str) and "\0" in each:
            raise InvalidInput(
                f"metadata field {field!r} has a text with the character U+0000, which no filter "
                "finds",
                found=each[:80],
                accepted="a text without U+0000",
            )


def _is_json(value: Any, depth: int) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if value is None or isinstance(value, str | int):
        return True
    if depth == 0:
        return False
    if isinstance(value, Mapping):
        for key, each in value.items():
            if not isinstance(key, str):
                return False
            if type(each) not in _SCALARS and not _is_json(each, depth - 1):
                return False
        return True
    return isinstance(value, list | tuple) and all(_is_json(each, depth - 1) for each in value)


def known_modality(name: Any) -> Modality:
    """A modality that there is, whether the active profile has it or not."""
    if not isinstance(name, str) or name not in kinds():
        raise InvalidInput(
            f"unknown modality {name!r}; there are: {', '.join(kinds())}",
            found=told(name),
            accepted=list(kinds()),
        )
    return str(name)


def modality(name: Any, available: Iterable[Modality], what: str = "encoder") -> Modality:
    """A modality for which the active profile has an encoder (or generator)."""
    known = known_modality(name)
    if known not in (accepted := list(available)):
        raise ModalityUnavailable(
            f"the active profile has no {what} for {name}; "
            f"it has: {', '.join(accepted) or 'none at all'}",
            found=name,
            accepted=accepted,
        )
    return known


def modalities(
    names: Sequence[str] | None, available: Iterable[Modality], what: str = "encoder"
) -> tuple[Modality, ...]:
    """Those asked for, each once; all available ones for None."""
    accepted = tuple(available)
    if names is None:
        return tuple(name for name in kinds() if name in accepted)
    if isinstance(names, str) or not names:
        raise InvalidInput(
            "name at least one modality, as a list", found=told(names), accepted=list(accepted)
        )
    return tuple(dict.fromkeys(modality(name, accepted, what) for name in names))


def count(name: str, value: Any, most: int) -> int:
    """A whole number from 1 to `most`."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise InvalidInput(
            f"{name} must be a whole number from 1 to {most}",
            found=told(value),
            accepted=[1, most],
        )
    return value


def weight(name: str, value: Any) -> float:
    """A finite number from 0 to MOST_WEIGHT."""
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else -1.0
    if not 0.0 <= number <= MOST_WEIGHT:  # NaN, too
        raise InvalidInput(
            f"{name} must be a number from 0 to {MOST_WEIGHT:g}",
            found=told(value),
            accepted=[0, MOST_WEIGHT],
        )
    return float(number)


def share(name: str, value: Any) -> float:
    """A number from 0 to 1."""
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else -1.0
    if not 0.0 <= number <= 1.0:  # NaN, too
        raise InvalidInput(f"{name} must be from 0 to 1", found=told(value), accepted=[0, 1])
    return float(number)


def weights(given: Weights) -> Weights:
    return Weights(
        context=weight("context_weight", given.context),
        recency=weight("recency_weight", given.recency),
        strength=weight("strength_weight", given.strength),
    )


def one_of(name: str, value: Any, accepted: Sequence[str]) -> None:
    if value not in accepted:
        raise InvalidInput(
            f"{name} must be one of: {', '.join(accepted)}",
            found=told(value),
            accepted=list(accepted),
        )


def cursor(after: str | None) -> int:
    """The sequence that a listing goes on behind."""
    if after is None:
        return 0
    if not (after.isascii() and after.isdigit() and len(after) < 19):
        raise InvalidInput(f"{after!r} is not a cursor that a listing gave", found=told(after))
    return int(after)


def not_empty(values: Sequence[Any], name: str, most: int) -> None:
    if not values:
        raise InvalidInput(f"{name}: at least one is needed, none was given", accepted=[1, most])
    if len(values) > most:
        raise TooLarge(
            f"{name}: {len(values)} were given, at most {most} are accepted",
            found=len(values),
            accepted=most,
        )
