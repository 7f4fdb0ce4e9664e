"""Which of the offered media types an Accept header prefers (RFC 9110, section 12.5.1)."""

from __future__ import annotations

from collections.abc import Sequence


def preferred(accept: str | None, offered: Sequence[str]) -> str | None:
    """The offered type of the highest quality, the first of equals; None when none is wanted."""
    if not accept:
        return offered[0]
    ranges = [_range(part) for part in accept.split(",") if part.strip()]
    best: tuple[float, str] | None = None
    for kind in offered:
        quality = _quality(kind, ranges)
        if quality > 0 and (best is None or quality > best[0]):
            best = quality, kind
    return None if best is None else best[1]


def _range(part: str) -> tuple[str, float]:
    kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "q":
            try:
                return kind, float(value)
            except ValueError:
                return kind, 0.0
    return kind, 1.0


def _quality(kind: str, ranges: Sequence[tuple[str, float]]) -> float:
    """That of the most specific range that covers the type."""
    wildcard = kind.partition("/")[0] + "/*"
    for wanted in (kind, wildcard, "*/*"):
        for name, quality in ranges:
            if name == wanted:
                return quality
    return 0.0
