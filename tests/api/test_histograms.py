"""Histograms are told as the client library tells its own."""

import threading

import prometheus_client
from prometheus_client import CollectorRegistry, generate_latest

from memory_service.api.histograms import Histogram

BUCKETS = (0.001, 0.5, 1, 10)


def told(registry: CollectorRegistry) -> list[str]:
    lines = generate_latest(registry).decode().splitlines()
    return sorted(line for line in lines if "_created" not in line)


def test_text_is_that_of_the_client_library() -> None:
    own, other = CollectorRegistry(), CollectorRegistry()
    for registry, kind in ((own, Histogram), (other, prometheus_client.Histogram)):
        stages = kind(
            "stage_seconds", "Of one.", ("call", "stage"), buckets=BUCKETS, registry=registry
        )
        for value in (0.0, 0.001, 0.25, 1.0, 1.5, 10.0, 99.0):  # a bound is within
            stages.labels("store", "write").observe(value)
        stages.labels("store", 'a "quoted" one').observe(2.0)
        kind("never", "Without labels.", buckets=BUCKETS, registry=registry)
        kind("once", "Without labels.", buckets=BUCKETS, registry=registry).observe(0.5)
    assert told(own) == told(other)
    assert any(line.startswith("stage_seconds_bucket") for line in told(own))


def test_none_is_lost_among_threads() -> None:
    registry = CollectorRegistry()
    histogram = Histogram("many", "Of many.", ("kind",), buckets=BUCKETS, registry=registry)

    def count() -> None:
        for _ in range(2000):
            histogram.labels("a").observe(1.0)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert 'many_count{kind="a"} 8000.0' in told(registry)
    assert 'many_sum{kind="a"} 8000.0' in told(registry)
