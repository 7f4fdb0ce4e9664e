"""How long each stage of a request took. None begins when nobody waits for it any more."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from memory_service import patience


class Stopwatch:
    """Milliseconds by stage; a stage that is entered again adds up."""

    def __init__(self, stages: Mapping[str, float] | None = None, before_s: float = 0.0) -> None:
        """`before_s` were spent already, on these stages among others (milliseconds)."""
        self._started = time.perf_counter() - before_s
        self._stages: dict[str, float] = dict(stages or {})

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        patience.go_on()
        started = time.perf_counter()
        try:
            yield
        finally:
            took = (time.perf_counter() - started) * 1000
            self._stages[name] = self._stages.get(name, 0.0) + took

    def timings_ms(self) -> Mapping[str, float]:
        """Stages, and `total` since the stopwatch was made."""
        total = (time.perf_counter() - self._started) * 1000
        return {name: round(ms, 3) for name, ms in {**self._stages, "total": total}.items()}
