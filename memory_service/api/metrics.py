"""Prometheus metrics of one app: requests, stages, what is encoded together, sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from memory_service.records import SubMemoryStats

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

ITEMS = (1, 2, 4, 8, 16, 32, 64, 128)

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

        self._waiting = Gauge(
            "memory_service_requests_waiting",
            "Requests that wait to be worked on.",
            registry=self.registry,
        )
        self._turned_away = Counter(
            "memory_service_requests_rejected_total",
            "Requests that found the queue of requests full.",
            registry=self.registry,
        )
        self._batch_items = Histogram(
            "memory_service_batch_items",
            "Items that were encoded together.",
            ("modality",),
            buckets=ITEMS,
            registry=self.registry,
        )
        self._batch_wait = Histogram(
            "memory_service_batch_wait_seconds",
            "Time that an item waited to be encoded.",
            ("modality",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self._batch_queue = Gauge(
            "memory_service_batch_queue_items",
            "Items that wait to be encoded.",
            ("modality",),
            registry=self.registry,
        )
        self._batch_rejected = Counter(
            "memory_service_batch_rejected_items_total",
            "Items that found the queue of their encoder full.",
            ("modality",),
            registry=self.registry,
        )

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        method = method if method in METHODS else "other"  # callers can invent any number of them
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def stages(self, call: str, timings_ms: Mapping[str, float]) -> None:
        for stage, milliseconds in timings_ms.items():
            self._stages.labels(call, stage).observe(milliseconds / 1e3)

    def encoded(self, modality: str, items: int, waited_s: Sequence[float]) -> None:
        self._batch_items.labels(modality).observe(items)
        wait = self._batch_wait.labels(modality)
        for seconds in waited_s:
            wait.observe(seconds)

    def queued(self, modality: str, items: int) -> None:
        self._batch_queue.labels(modality).set(items)

    def rejected(self, modality: str, items: int) -> None:
        self._batch_rejected.labels(modality).inc(items)

    def turned_away(self) -> None:
        self._turned_away.inc()

    def watch_waiting(self, waiting: Callable[[], int]) -> None:
        self._waiting.set_function(waiting)

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
