"""`make bench`: what the service adds on top of the limits it is built on.

Queries: HTTP and in-process retrieval beside a raw FAISS search over the same vectors.
Stores: one episode per transaction beside bare SQLite (WAL, synchronous=FULL) with one fsynced
file per row. Ratios are what to read; times depend on the machine and its other work.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
from fastapi.testclient import TestClient
from rich.console import Console
from rich.table import Table

from memory_service.api import create_app
from memory_service.app import Application
from memory_service.bootstrap import build
from memory_service.records import QueryPart, Upload
from memory_service.settings import Settings

REPEATS = 200


def dimension_of(application: Application) -> int:
    """Of the space that texts are stored in."""
    return next(each.dimension for each in application.profile.encoders if each.modality == "text")


def median_ms(call: Callable[[], object], repeats: int = REPEATS) -> float:
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def durable_store_limit(folder: Path, texts: list[str], dimension: int) -> float:
    """Seconds that the bare durable writes of these texts take."""
    blobs = folder / "blobs"
    blobs.mkdir()
    connection = sqlite3.connect(folder / "limit.sqlite", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, text TEXT, vector BLOB)")
    vector = np.zeros(dimension, np.float32).tobytes()
    start = time.perf_counter()
    for number, text in enumerate(texts):
        descriptor = os.open(blobs / str(number), os.O_WRONLY | os.O_CREAT)
        os.write(descriptor, text.encode())
        os.fsync(descriptor)
        os.close(descriptor)
        connection.execute("INSERT INTO rows (text, vector) VALUES (?, ?)", (text, vector))
    seconds = time.perf_counter() - start
    connection.close()
    return seconds


def store_all(application: Application, texts: list[str]) -> float:
    start = time.perf_counter()
    for text in texts:
        application.memory.store([Upload("text", text.encode(), "text/plain")])
    return time.perf_counter() - start


def measure_queries(application: Application, settings: Settings, count: int) -> dict[str, float]:
    generator = np.random.default_rng(0)
    dimension = dimension_of(application)
    vectors = generator.standard_normal((count, dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    raw = faiss.IndexScalarQuantizer(
        dimension, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    raw.train(vectors)
    raw.add(vectors)
    query = vectors[0]
    faiss.omp_set_num_threads(1)  # as the service searches
    part = [QueryPart(vector=query)]
    with TestClient(create_app(application, settings)) as client:
        body = {"query": {"vector": query.tolist()}, "modalities": ["text"], "mode": "direct"}
        return {
            "raw FAISS": median_ms(lambda: raw.search(query[None], 10)),
            "in process": median_ms(
                lambda: application.retriever.retrieve(part, modalities=["text"], mode="direct")
            ),
            "HTTP (ASGI, JSON list)": median_ms(lambda: client.post("/retrieve", json=body)),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=3000, help="texts stored and searched")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    texts = [f"memory number {number}" for number in range(arguments.count)]
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder) / "data", profile="fake")
        application = build(settings)
        try:
            limit = durable_store_limit(Path(folder), texts, dimension_of(application))
            stored = store_all(application, texts)
            queries = measure_queries(application, settings, arguments.count)
        finally:
            application.close()
    table = Table("what", "figure", "ratio to the limit", title=f"{arguments.count} texts")
    table.add_row("bare SQLite FULL + fsynced file", f"{arguments.count / limit:.0f}/s", "1.00")
    table.add_row("store", f"{arguments.count / stored:.0f}/s", f"{limit / stored:.2f}")
    for name, value in queries.items():
        table.add_row(f"query, {name}", f"{value:.3f} ms", f"{value / queries['raw FAISS']:.1f}")
    Console().print(table)
    if arguments.json:
        figures = {"stores_per_s": arguments.count / stored, "limit_per_s": arguments.count / limit}
        arguments.json.write_text(json.dumps(figures | {"query_ms": queries}, indent=2))


if __name__ == "__main__":
    main()
