"""Prometheus metrics of one app: requests, stages, sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from memory_service.records import SubMemoryStats

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


class Metrics:
    """A registry of its own, so that several apps can live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "memory_service_requests_total",
            "Requests answered.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "memory_service_request_seconds",
            "Time from request to answer.",
            ("method", "route"),
            buckets=SECONDS,
            registry=self.registry,
        )
        self._stages = Histogram(
            "memory_service_stage_seconds",
            "Time of one stage of a service call.",
            ("call", "stage"),
            buckets=SECONDS,
            registry=self.registry,
        )

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        method = method if method in METHODS else "other"  # callers can invent any number of them
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def stages(self, call: str, timings_ms: Mapping[str, float]) -> None:
        for stage, milliseconds in timings_ms.items():
            self._stages.labels(call, stage).observe(milliseconds / 1e3)

    def watch(self, stats: Callable[[], Iterable[SubMemoryStats]]) -> None:
        self.registry.register(_Memories(stats))

    def text(self) -> bytes:
        return generate_latest(self.registry)


class _Memories(Collector):
    def __init__(self, stats: Callable[[], Iterable[SubMemoryStats]]) -> None:
        self._stats = stats

    def collect(self) -> Iterable[GaugeMetricFamily]:
        gauge = GaugeMetricFamily(
            "memory_service_memories",
            "Memories stored.",
            labels=("namespace", "modality", "space"),
        )
        for each in self._stats():
            gauge.add_metric((each.namespace, each.modality, each.space_id), each.count)
        yield gauge

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return []
