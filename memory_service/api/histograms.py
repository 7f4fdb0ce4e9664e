"""Histograms for Prometheus that take a fraction of a microsecond to count in: a store is counted
eight times, and the client library's own take as long for that as SQLite for its rows.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import accumulate
from threading import Lock

from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Counts:
    """One histogram of one set of labels. Safe for use from several threads."""

    __slots__ = ("_buckets", "_lock", "_total", "_within")

    def __init__(self, buckets: Sequence[float]) -> None:
        self._buckets = buckets
        self._within = [0] * (len(buckets) + 1)  # of each bucket alone; the last is beyond all
        self._total = 0.0
        self._lock = Lock()

    def observe(self, value: float) -> None:
        place = bisect_left(self._buckets, value)  # a bucket's bound is part of it
        with self._lock:
            self._within[place] += 1
            self._total += value

    def read(self) -> tuple[list[int], float]:
        """How many were up to each bound and in all, and the sum of all."""
        with self._lock:
            return list(accumulate(self._within)), self._total


class Histogram(Collector):
    """As `prometheus_client.Histogram`, without the times at which its series were created."""

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str] = (),
        *,
        buckets: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        self._name, self._documentation, self._labels = name, documentation, tuple(labels)
        self._bounds = [*map(floatToGoString, buckets), "+Inf"]
        self._children: dict[tuple[str, ...], Counts] = {}
        self._made = Lock()
        self._buckets = tuple(buckets)
        self.labels = cache(self._child)
        if not labels:
            self.labels()
        registry.register(self)

    def _child(self, *values: str) -> Counts:
        with self._made:
            return self._children.setdefault(values, Counts(self._buckets))

    def observe(self, value: float) -> None:
        """Of one without labels."""
        self.labels().observe(value)

    def collect(self) -> Iterable[HistogramMetricFamily]:
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labels)
        with self._made:
            children = list(self._children.items())
        for values, counts in children:
            numbers, total = counts.read()
            family.add_metric(
                values,
                buckets=[(bound, float(n)) for bound, n in zip(self._bounds, numbers, strict=True)],
                sum_value=total,
            )
        yield family
