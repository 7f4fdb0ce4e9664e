"""Prometheus metrics of one app: requests, stages, what is encoded together, sizes."""

from __future__ import annotations

import logging
import shutil
from collections import Counter as Counts
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from memory_service.app import Application
from memory_service.errors import MemoryServiceError

log = logging.getLogger(__name__)

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

ITEMS = (1, 2, 4, 8, 16, 32, 64, 128)

INDEX_LABELS = ("namespace", "modality", "space")

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
        self._connections_refused = Counter(
            "memory_service_connections_refused_total",
            "Connections that were ended: too slow, too many, or no HTTP.",
            ("reason",),
            registry=self.registry,
        )
        self._body_bytes = Gauge(
            "memory_service_body_bytes",
            "Bytes of bodies that are on their way in, or belong to requests being worked on.",
            registry=self.registry,
        )
        self._bodies_refused = Counter(
            "memory_service_bodies_refused_total",
            "Bodies for which there was no room, or that were too slow.",
            ("reason",),
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

        self._turn = Histogram(
            "memory_service_request_wait_seconds",
            "Time that a request waited to be worked on.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self._given_up = Counter(
            "memory_service_requests_given_up_total",
            "Requests whose client left (disconnect) or whose time was up (timeout).",
            ("reason", "begun"),
            registry=self.registry,
        )
        self._encode_seconds = Histogram(
            "memory_service_batch_encode_seconds",
            "Time to encode the items of one batch.",
            ("modality",),
            buckets=SECONDS,
            registry=self.registry,
        )

        self._group = Histogram(
            "memory_service_commit_group_episodes",
            "Episodes that were stored by one transaction.",
            buckets=ITEMS,
            registry=self.registry,
        )
        self._write_seconds = Histogram(
            "memory_service_catalog_write_seconds",
            "Time of one transaction of the catalog, from its begin until it is on the disk.",
            ("what",),
            buckets=SECONDS,
            registry=self.registry,
        )
        # To look a child up takes longer than to count.
        self._requests_of = cache(self._requests.labels)
        self._seconds_of = cache(self._seconds.labels)
        self._stages_of = cache(self._stages.labels)
        self._write_seconds_of = cache(self._write_seconds.labels)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        method = method if method in METHODS else "other"  # callers can invent any number of them
        self._requests_of(method, route, str(status)).inc()
        self._seconds_of(method, route).observe(seconds)

    def stages(self, call: str, timings_ms: Mapping[str, float]) -> None:
        for stage, milliseconds in timings_ms.items():
            self._stages_of(call, stage).observe(milliseconds / 1e3)

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

    def watch_bodies(self, taken: Callable[[], int]) -> None:
        self._body_bytes.set_function(taken)

    def body_refused(self, reason: str) -> None:
        self._bodies_refused.labels(reason).inc()

    def connection_refused(self, reason: str) -> None:
        self._connections_refused.labels(reason).inc()

    def watch_waiting(self, waiting: Callable[[], int]) -> None:
        self._waiting.set_function(waiting)

    def got_turn(self, seconds: float) -> None:
        self._turn.observe(seconds)

    def given_up(self, reason: str, begun: bool) -> None:
        self._given_up.labels(reason, "yes" if begun else "no").inc()

    def computed(self, modality: str, items: int, seconds: float) -> None:
        self._encode_seconds.labels(modality).observe(seconds)

    def grouped(self, episodes: int, size_bytes: int) -> None:
        self._group.observe(episodes)

    def committed(self, doing: str, seconds: float) -> None:
        self._write_seconds_of(doing).observe(seconds)

    def watch(self, application: Application) -> None:
        """Tell the sizes of what the application holds whenever somebody asks."""
        self.registry.register(_Sizes(application))

    def text(self) -> bytes:
        return generate_latest(self.registry)


class _Sizes(Collector):
    """Read when they are asked for. What cannot be read is left out: the rest still tells."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def collect(self) -> Iterable[GaugeMetricFamily]:
        every = (
            self._memories,
            self._indexes,
            self._disk,
            self._full,
            self._jobs,
            self._decoders,
        )
        for read in every:
            try:
                yield from read()
            except (MemoryServiceError, OSError):
                log.exception("a metric could not be read")

    def _memories(self) -> Iterable[GaugeMetricFamily]:
        gauge = GaugeMetricFamily(
            "memory_service_memories", "Memories stored.", labels=INDEX_LABELS
        )
        for each in self._application.memory.stats():
            gauge.add_metric((each.namespace, each.modality, each.space_id), each.count)
        return (gauge,)

    def _indexes(self) -> Iterable[GaugeMetricFamily]:
        """Both from one reading, which visits every index."""
        vectors = GaugeMetricFamily(
            "memory_service_index_vectors",
            "Vectors that are searched, those of segments of long sounds among them.",
            labels=INDEX_LABELS,
        )
        size = GaugeMetricFamily(
            "memory_service_index_bytes",
            "What vectors, codes and links of indexes take, in memory or mapped from files.",
            labels=INDEX_LABELS,
        )
        for names, count, size_bytes in self._application.index_sizes():
            vectors.add_metric(names, count)
            size.add_metric(names, size_bytes)
        return vectors, size

    def _disk(self) -> Iterable[GaugeMetricFamily]:
        gauge = GaugeMetricFamily(
            "memory_service_disk_bytes", "Of the disk of the data folder.", labels=("what",)
        )
        usage = shutil.disk_usage(self._application.settings.data_dir)
        for what, size in (("free", usage.free), ("total", usage.total)):
            gauge.add_metric((what,), size)
        return (gauge,)

    def _full(self) -> Iterable[GaugeMetricFamily]:
        gauge = GaugeMetricFamily(
            "memory_service_storage_full",
            "1 while the disk is full and writes are refused.",
            value=float(self._application.full()),
        )
        return (gauge,)

    def _jobs(self) -> Iterable[GaugeMetricFamily]:
        gauge = GaugeMetricFamily(
            "memory_service_jobs_running", "Jobs that run now.", labels=("kind",)
        )
        for kind, count in Counts(self._application.jobs.running()).items():
            gauge.add_metric((kind,), count)
        return (gauge,)

    def _decoders(self) -> Iterable[GaugeMetricFamily]:
        gauge = GaugeMetricFamily(
            "memory_service_decoders_lost",
            "Decoding workers that crashed or hung, and were replaced.",
            value=self._application.decoders.lost,
        )
        return (gauge,)

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return []
