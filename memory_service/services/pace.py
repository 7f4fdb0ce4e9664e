"""What a re-embedding has done, and how long the rest will take."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from typing import Any

from memory_service.services.workload import Group, Sizes, extrapolated
from memory_service.storage.standby import Coverage

RECENT = 64  # batches of a modality that its pace is told by


class Pace:
    """Counts what is done by modality; the time left goes by the sizes of what is left.

    `sizes`: of what lacks a vector at the start.
    """

    def __init__(self, coverage: Mapping[str, Coverage], sizes: Mapping[str, Sizes]) -> None:
        self._counts = {
            modality: {"memories": each.memories, "embedded": each.embedded, "failed": each.failed}
            for modality, each in coverage.items()
        }
        self._sizes = {modality: each.by_sequence() for modality, each in sizes.items()}
        self._work = {modality: float(each.work.sum()) for modality, each in sizes.items()}
        self._recent: dict[str, deque[Group]] = defaultdict(lambda: deque(maxlen=RECENT))

    def add(
        self, modality: str, sequences: Sequence[int], embedded: int, failed: int, seconds: float
    ) -> Mapping[str, Any]:
        """Of a batch. Returns the progress so far."""
        counts = self._counts.setdefault(modality, {"memories": 0, "embedded": 0, "failed": 0})
        counts["embedded"] += embedded
        counts["failed"] += failed
        counts["memories"] = max(counts["memories"], counts["embedded"] + counts["failed"])
        work = self._sizes[modality].of(sequences)
        self._work[modality] = max(0.0, self._work[modality] - work)
        group = Group(len(sequences), work, seconds, embedded, failed)
        self._recent[modality].append(group)
        return {"modalities": self._counts, "eta_s": round(self._rest_s(), 1)}

    def _rest_s(self) -> float:
        """Of what has an encoder: the rest fails at once."""
        rest = {
            modality: each["memories"] - each["embedded"] - each["failed"]
            for modality, each in self._counts.items()
            if modality in self._sizes
        }
        return sum(self._rest_of(modality, memories) for modality, memories in rest.items())

    def _rest_of(self, modality: str, memories: int) -> float:
        """By the pace of the modality; by the mean of all for one that has not begun."""
        if groups := self._recent.get(modality):
            seconds = [each.seconds for each in groups]
            return extrapolated(groups, seconds, memories, self._work[modality])
        measured = [each for groups in self._recent.values() for each in groups]
        overall = sum(each.seconds for each in measured) / sum(each.memories for each in measured)
        return memories * overall
