"""How long each stage of a request took. None begins when nobody waits for it any more."""

from __future__ import annotations

import time
from collections.abc import Mapping

from memory_service import patience


class Stopwatch:
    """Milliseconds by stage; a stage that is entered again adds up."""

    def __init__(self, stages: Mapping[str, float] | None = None, before_s: float = 0.0) -> None:
        """`before_s` were spent already, on these stages among others (milliseconds)."""
        self._started = time.perf_counter() - before_s
        self._stages: dict[str, float] = dict(stages or {})

    def stage(self, name: str) -> Stage:
        patience.go_on()
        return Stage(self._stages, name)

    def timings_ms(self) -> Mapping[str, float]:
        """Stages, and `total` since the stopwatch was made."""
        total = (time.perf_counter() - self._started) * 1000
        return {name: round(ms, 3) for name, ms in {**self._stages, "total": total}.items()}


class Stage:
    """A context: what passes in it is of the stage."""

    __slots__ = ("_name", "_stages", "_started")

    def __init__(self, stages: dict[str, float], name: str) -> None:
        self._stages, self._name = stages, name
        self._started = 0.0

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *exception: object) -> None:
        took = (time.perf_counter() - self._started) * 1000
        self._stages[self._name] = self._stages.get(self._name, 0.0) + took
