"""What callers may say about when memories expire and how they change. Knows no storage."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from memory_service.errors import InvalidInput, told

LATEST = 1e12  # Unix seconds: the year 33,658
CHANGEABLE = ("metadata", "expires_at", "ttl_s")


def moment(expires_at: Any, ttl_s: Any, now: float) -> float | None:
    """When it expires, Unix seconds; None for never. Raises InvalidInput."""
    if expires_at is not None and ttl_s is not None:
        raise InvalidInput("give expires_at or ttl_s, not both", accepted=["expires_at", "ttl_s"])
    if ttl_s is not None:
        if not (_is_number(ttl_s) and 0.0 < ttl_s <= LATEST):
            raise InvalidInput(
                f"ttl_s must be seconds above 0 and at most {LATEST:g}",
                found=told(ttl_s),
                accepted=[0, LATEST],
            )
        return now + float(ttl_s)
    if expires_at is None:
        return None
    if not (_is_number(expires_at) and now < expires_at <= LATEST):
        raise InvalidInput(
            f"expires_at must be Unix seconds in the future, at most {LATEST:g}: it is {now:.3f} "
            "now",
            found=told(expires_at),
            accepted=[now, LATEST],
        )
    return float(expires_at)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def checked(changes: Mapping[str, Any], now: float) -> dict[str, Any]:
    """The fields of a memory that are to be changed; `metadata` is a patch still."""
    unknown = sorted(set(changes) - set(CHANGEABLE))
    if unknown or not changes:
        raise InvalidInput(
            f"a memory has no {', '.join(unknown)} to change" if unknown else "nothing to change",
            found=unknown,
            accepted=list(CHANGEABLE),
        )
    fields: dict[str, Any] = {}
    if "metadata" in changes:
        if not isinstance(changes["metadata"], Mapping):
            raise InvalidInput("metadata must be a JSON object", accepted="object")
        fields["metadata"] = changes["metadata"]
    if "expires_at" in changes or "ttl_s" in changes:
        fields["expires_at"] = moment(changes.get("expires_at"), changes.get("ttl_s"), now)
    return fields
