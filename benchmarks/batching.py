"""`python -m benchmarks.batching`: requests per second with and without encoding items together.

Two services of the bundled profile, one with batches and one without, are asked in turns over
kept-alive connections, so that other work of the machine hits both alike. The ratio is what to
read. Knows the service by its HTTP API alone.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch
from urllib.parse import urlsplit

import httpx
import numpy as np
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table

from memory_service.client import Client
from memory_service.demo.service import running_service

THINGS = ("tiger", "cow", "owl", "violin", "apple", "kettle", "bus", "snake", "lamp", "fish")
PLACES = ("farm", "forest", "kitchen", "street", "river", "desert", "garden", "station")
WAYS = ("a {} in the {}", "two small {}s beside a {}", "what does the {} near the {} sound like")
TEXTS = [way.format(thing, place) for thing in THINGS for place in PLACES for way in WAYS]
HEADERS = {"Content-Type": "application/json"}


@contextmanager
def service(folder: Path, batch_items: int) -> Iterator[str]:
    """The URL of a service that holds the texts."""
    folder.mkdir()
    with (
        patch.dict(os.environ, {"MEMORY_SERVICE_BATCH_ITEMS": str(batch_items)}),
        running_service(folder / "data", folder / "log", profile="bundled") as running,
    ):
        with Client(running.url) as client:
            for text in TEXTS:
                client.store(text=text)
        yield running.url


def requests_per_s(url: str, connections: int, seconds: float) -> float:
    """Text queries answered per second; each connection asks again when it is answered."""
    end = time.monotonic() + seconds

    def ask(number: int) -> int:
        connection = http.client.HTTPConnection(urlsplit(url).netloc)
        answered = 0
        while time.monotonic() < end:
            text = TEXTS[(number * 37 + answered) % len(TEXTS)]
            body = json.dumps({"query": {"text": f"{text}, {answered}"}, "mode": "direct", "k": 5})
            connection.request("POST", "/retrieve", body, HEADERS)
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{answer.status}: {content[:200]!r}")
            answered += 1
        connection.close()
        return answered

    started = time.monotonic()
    with ThreadPoolExecutor(connections) as pool:
        answered = sum(pool.map(ask, range(connections)))
    return answered / (time.monotonic() - started)


def batches(url: str) -> tuple[float, float]:
    """Text items and batches of them so far, from /metrics."""
    metrics = httpx.get(f"{url}/metrics", trust_env=False).text
    values = {
        sample.name: sample.value
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if sample.labels.get("modality") == "text"
    }
    return values["memory_service_batch_items_sum"], values["memory_service_batch_items_count"]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each round and service")
    given = parser.parse_args(arguments)
    columns = ("connections", "one by one", "together", "ratio", "items in a batch")
    table = Table(*columns, title="text queries per second")
    with (
        tempfile.TemporaryDirectory() as folder,
        service(Path(folder, "alone"), 1) as alone,
        service(Path(folder, "batched"), 32) as batched,
    ):
        for connections in given.connections:
            before = batches(batched)
            rates = [
                tuple(requests_per_s(url, connections, given.seconds) for url in (alone, batched))
                for _ in range(given.rounds)
            ]
            items, count = np.subtract(batches(batched), before)
            one, together = (statistics.median(each) for each in zip(*rates, strict=True))
            ratio = statistics.median(each[1] / each[0] for each in rates)
            figures = (f"{one:.0f}", f"{together:.0f}", f"{ratio:.2f}", f"{items / count:.1f}")
            table.add_row(str(connections), *figures)
    Console().print(table)


if __name__ == "__main__":
    main()
