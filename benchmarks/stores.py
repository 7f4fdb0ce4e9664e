"""What a durable store costs: alone, from many connections, in batches; and a query by its payload.

Vectors are given by the caller, so that no encoder is measured. The limit beside it is bare SQLite
(WAL, synchronous=FULL) with one row per transaction, in the same run on the same disk. The service
runs in a process of its own, and is asked over HTTP. Ratios are what to read.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import re
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

DIMENSION = 384
SPACE = "fake"
CONNECTIONS = 32
BATCH = 100
JSON = "application/json"
NDJSON = "application/x-ndjson"
RAW = "application/octet-stream"


@contextmanager
def service(folder: Path) -> Iterator[int]:
    """The port of a service over an empty folder."""
    command = [sys.executable, "-m", "memory_service.cli", "serve", "--port", "0"]
    options = ["--data-dir", str(folder), "--profile", "fake", "--log-level", "info"]
    log = folder.parent / "service.log"
    with log.open("w") as file, subprocess.Popen([*command, *options], stderr=file) as process:
        try:
            while not (found := re.search(r"running on http://127.0.0.1:(\d+)", log.read_text())):
                if process.poll() is not None:
                    raise RuntimeError(f"the service did not start: {log.read_text()}")
                time.sleep(0.05)
            yield int(found[1])
        finally:
            process.terminate()


class Connection:
    """Keeps one connection open; as little work as a client can do."""

    def __init__(self, port: int) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port)

    def post(self, path: str, body: bytes, kind: str) -> bytes:
        self._http.request("POST", path, body, {"Content-Type": kind})
        answer = self._http.getresponse()
        content = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{answer.status}: {content[:300]!r}")
        return content

    def close(self) -> None:
        self._http.close()


def line(number: int, vector: npt.NDArray[np.float32]) -> bytes:
    packed = base64.b64encode(vector.tobytes()).decode()
    item = {"modality": "text", "text": f"memory {number}", "vector": packed, "space": SPACE}
    return json.dumps({"items": [item]}).encode()


def bare_sqlite(folder: Path, vectors: Sequence[npt.NDArray[np.float32]]) -> float:
    """Rows per second, a transaction each."""
    with closing(sqlite3.connect(folder / "limit.sqlite", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, text TEXT, vector BLOB)")
        started = time.perf_counter()
        for number, vector in enumerate(vectors):
            values = (f"memory {number}", vector.tobytes())
            connection.execute("INSERT INTO rows (text, vector) VALUES (?, ?)", values)
        return len(vectors) / (time.perf_counter() - started)


def singles(port: int, lines: Sequence[bytes], connections: int) -> float:
    """Stores per second, one per request."""

    def work(own: Sequence[bytes]) -> None:
        with closing(Connection(port)) as connection:
            for each in own:
                connection.post("/store", each, JSON)

    started = time.perf_counter()
    with ThreadPoolExecutor(connections) as pool:
        list(pool.map(work, [lines[n::connections] for n in range(connections)]))
    return len(lines) / (time.perf_counter() - started)


def batches(port: int, lines: Sequence[bytes]) -> float:
    """Stores per second, BATCH per request, on one connection."""
    started = time.perf_counter()
    with closing(Connection(port)) as connection:
        for first in range(0, len(lines), BATCH):
            body = b"\n".join(lines[first : first + BATCH])
            answer = connection.post("/store/batch", body, NDJSON)
            assert answer.count(b'"status":201') == len(lines[first : first + BATCH])
    return len(lines) / (time.perf_counter() - started)


def payloads(port: int, vector: npt.NDArray[np.float32], repeats: int) -> dict[str, float]:
    """Median milliseconds of a vector query, by the way the vector is sent; taken in turn."""
    options = {"modalities": ["text"], "mode": "direct", "k": 1, "reinforce": False}
    packed = base64.b64encode(vector.tobytes()).decode()
    bodies = {
        "list of numbers": json.dumps({"query": {"vector": vector.tolist()}, **options}).encode(),
        "base64": json.dumps({"query": {"vector": packed}, **options}).encode(),
    }
    address = "/retrieve?modalities=text&mode=direct&k=1&reinforce=false"
    with closing(Connection(port)) as connection:
        ways: dict[str, Callable[[], bytes]] = {
            name: lambda body=body: connection.post("/retrieve", body, JSON)  # type: ignore[misc]
            for name, body in bodies.items()
        }
        ways["raw bytes"] = lambda: connection.post(address, vector.tobytes(), RAW)
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(repeats):
            for name, ask in ways.items():
                started = time.perf_counter()
                ask()
                times[name].append(time.perf_counter() - started)
    return {name: statistics.median(each) * 1e3 for name, each in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="stores of each kind")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    count = arguments.count
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((5 * count, DIMENSION)).astype("<f4")
    lines = [line(number, vector) for number, vector in enumerate(vectors)]
    with tempfile.TemporaryDirectory() as name, service(Path(name) / "data") as port:
        limit = bare_sqlite(Path(name), list(vectors[:count]))
        singles(port, lines[: count // 4], 1)  # warm
        rates = {
            "store, 1 connection": singles(port, lines[count : 2 * count], 1),
            f"store, {CONNECTIONS} connections": singles(
                port, lines[2 * count : 3 * count], CONNECTIONS
            ),
            f"store, batches of {BATCH}": batches(port, lines[3 * count :]),
        }
        queries = payloads(port, vectors[0], max(50, count // 10))
    table = Table("what", "figure", "ratio", title=f"{DIMENSION} dimensions, vectors given")
    table.add_row("bare SQLite FULL", f"{limit:.0f}/s", "1.00")
    for what, rate in rates.items():
        table.add_row(what, f"{rate:.0f}/s", f"{rate / limit:.2f}")
    for what, ms in queries.items():
        table.add_row(f"query, {what}", f"{ms:.2f} ms", f"{ms / queries['raw bytes']:.2f}")
    Console().print(table)
    if arguments.json:
        figures = {"bare_sqlite_per_s": limit, "per_s": rates, "query_ms": queries}
        arguments.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
