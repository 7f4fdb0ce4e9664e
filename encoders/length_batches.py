"""Texts of like length together, so that a pass computes little padding; no models here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def batches_by_length(texts: Sequence[str], size: int) -> Iterator[list[int]]:
    """The places of at most `size` texts at a time, the shortest first."""
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    for start in range(0, len(order), size):
        yield order[start : start + size]
