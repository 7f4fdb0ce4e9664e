"""How many batches are taken at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from memory_service.errors import Overloaded

MOST_AT_ONCE = 8


class Places:
    """So many batches at a time, since each holds a few groups, and half as many of each key.
    Belongs to one event loop.

    Who sends no key, where none is asked for, may take all: there is nobody to share with.
    """

    def __init__(self) -> None:
        self._taken: Counter[str | None] = Counter()

    @contextmanager
    def one(self, key: str | None) -> Iterator[None]:
        """Raises Overloaded when all are taken."""
        self._require(self._taken.total(), MOST_AT_ONCE, "")
        if key is not None:
            self._require(self._taken[key], MOST_AT_ONCE // 2, " of this key")
        self._taken[key] += 1
        try:
            yield
        finally:
            self._taken[key] -= 1
            if not self._taken[key]:
                del self._taken[key]

    def _require(self, taken: int, most: int, whose: str) -> None:
        if taken >= most:
            raise Overloaded(
                f"{taken} batches{whose} are under way already", retry_after_s=1, accepted=most
            )
