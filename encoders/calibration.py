"""Cosine -> score in [0, 1]: how likely it is that a memory matches the query.

Cosines of different pairs of modalities live on different scales (a matching text and text have
0.9, a matching text and picture 0.4), so each pair has a logistic map of its own, fitted on the
validation split. Knows nothing about encoders.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Logistic:
    """p = 1 / (1 + exp(-(slope * cosine + intercept))); slope > 0, so the order is kept."""

    slope: float
    intercept: float

    def __post_init__(self) -> None:
        if not self.slope > 0:
            raise ValueError(f"slope must be positive, not {self.slope}")

    def __call__(self, cosine: Floats) -> Floats:
        return np.asarray(1.0 / (1.0 + np.exp(-(self.slope * cosine + self.intercept))))


@dataclass(frozen=True)
class Calibration:
    """Logistic maps by (query modality, memory modality); (1 + cosine) / 2 where there are none.

    A pair that nobody has fitted has the lowest score that the maps of its query modality or its
    memory modality give (or, where both are new, any map): it never outvotes a fitted one unfairly.
    """

    maps: Mapping[tuple[str, str], Logistic] = field(default_factory=dict)

    @overload
    def score(self, cosine: float, query_modality: str | None, memory_modality: str) -> float: ...
    @overload
    def score(self, cosine: Floats, query_modality: str | None, memory_modality: str) -> Floats: ...

    def score(
        self, cosine: float | Floats, query_modality: str | None, memory_modality: str
    ) -> float | Floats:
        """Score in [0, 1], rising with the cosine.

        A query that came as a bare vector (modality None) is taken for one of the memory's own
        modality: that is where its vector most often comes from.
        """
        # What np.clip and np.min make of ten cosines takes longer than to compare them.
        bounded = np.minimum(np.maximum(np.asarray(cosine, np.float64), -1.0), 1.0)
        maps = self._maps_for(query_modality or memory_modality, memory_modality)
        scores = reduce(np.minimum, (each(bounded) for each in maps)) if maps else (1 + bounded) / 2
        return scores if isinstance(cosine, np.ndarray) else float(scores)

    def _maps_for(self, query: str, memory: str) -> Sequence[Logistic]:
        if fitted := self.maps.get((query, memory)):
            return [fitted]
        near = [each for pair, each in self.maps.items() if pair[0] == query or pair[1] == memory]
        return near or list(self.maps.values())

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """Read {"query>memory": {"slope": ..., "intercept": ...}}."""
        pairs = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            {
                (pair.partition(">")[0], pair.partition(">")[2]): Logistic(
                    float(values["slope"]), float(values["intercept"])
                )
                for pair, values in pairs.items()
            }
        )

    def save(self, path: Path) -> None:
        pairs = {
            f"{query}>{memory}": {
                "slope": round(logistic.slope, 4),
                "intercept": round(logistic.intercept, 4),
            }
            for (query, memory), logistic in sorted(self.maps.items())
        }
        path.write_text(json.dumps(pairs, indent=1) + "\n", encoding="utf-8")
