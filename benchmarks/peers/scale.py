"""10,000, 100,000 and a million vectors of 512 dimensions: what a query costs, in the process and
over HTTP, what they take to store and to start, and how that grows.

The vectors are synthetic (`benchmarks.large_index`): there are not so many glosses. They are stored
by the store itself, durably, and a service is then started on its folder. What waits in blocks when
the load ends is sealed before, as a service does some ten seconds later; what a query costs until
then is told beside it.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import faiss
import numpy as np
import numpy.typing as npt

from benchmarks.episodes import episode
from benchmarks.large_index import QUERIES, chunks
from benchmarks.peers.databases import K
from benchmarks.peers.limit import recall
from benchmarks.peers.load import drive, request
from benchmarks.peers.measure import Row
from benchmarks.peers.servers import Server, started
from benchmarks.peers.wide import SPACE
from memory_service.demo.service import free_port
from memory_service.storage.intake import NewEpisode
from memory_service.storage.store import Store
from memory_service.storage.vectors import VectorIndex
from memory_service.storage.vectors.parts import Block

SIZES = (10_000, 100_000, 1_000_000)
SECONDS = 3.0
AT_ONCE = 4096  # stored in one transaction
FIGURE = Path("docs/figures/growth.png")
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Size:
    """Seconds, milliseconds (p50) and bytes."""

    count: int
    build_s: float  # until all is stored durably, and nothing more is built or would be at rest
    waiting: int  # vectors in blocks when the load ends, compared one by one
    loaded_ms: float  # with them, in the process
    start_s: float
    inside_ms: float
    http_ms: float
    recall: float
    resident: int  # beyond that of a service without memories

    @property
    def of_fp16(self) -> float:
        return self.resident / (2 * SPACE.dimension * self.count)


def measured(count: int, folder: Path) -> Size:
    vectors = np.empty((count + QUERIES, SPACE.dimension), np.float32)
    at = 0
    for chunk in chunks(count, SPACE.dimension):
        vectors[at : at + len(chunk)] = chunk
        at += len(chunk)
    vectors, queries = vectors[:count], vectors[count:]
    truth = faiss.knn(queries, vectors, K, metric=faiss.METRIC_INNER_PRODUCT)[1]
    with Store(folder / "wide") as store:
        watch = time.perf_counter()
        for start in range(0, count, AT_ONCE):
            rows = range(start, min(start + AT_ONCE, count))
            store.add_episodes([_episode(row, vectors[row]) for row in rows])
        build_s = time.perf_counter() - watch
        ((_, index),) = store.indexes()
        waiting = sum(part.count for part in index.parts if isinstance(part, Block))
        loaded_ms = _inside_ms(index, queries)
        watch = time.perf_counter()
        index.merge(calm=True)
        index.compact()
        while index.unlinked is not None:
            time.sleep(0.1)
        build_s += time.perf_counter() - watch
        found = [(index.search(query, K)[0] - 1).tolist() for query in queries]
        inside_ms = _inside_ms(index, queries)
    with served(folder / "empty") as server:
        empty = server.resident_bytes()
    watch = time.perf_counter()
    with served(folder / "wide") as server:
        start_s = time.perf_counter() - watch
        asked = [_query(query) for query in queries]
        answers = drive(server.port, itertools.cycle(asked), 1, seconds=SECONDS)
        resident = server.resident_bytes() - empty
    if answers.failed:
        raise RuntimeError(f"queries failed: {answers.errors[0]!r}")
    share = recall(found, truth)
    http_ms = answers.ms(50)
    return Size(count, build_s, waiting, loaded_ms, start_s, inside_ms, http_ms, share, resident)


def _inside_ms(index: VectorIndex, queries: Vectors) -> float:
    """p50, the second time: segments are mapped from files that were just written."""
    for query in queries:
        index.search(query, K)
    seconds = []
    for query in queries:
        watch = time.perf_counter()
        index.search(query, K)
        seconds.append(time.perf_counter() - watch)
    return statistics.median(seconds) * 1e3


@contextmanager
def served(folder: Path) -> Iterator[Server]:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.peers.wide", "serve", "--port", str(port)]
    command += ["--profile", "fake", "--data-dir", str(folder), "--log-level", "warning"]
    with started(command, port, "/readyz", folder.with_suffix(".log")) as server:
        yield server


def _episode(number: int, vector: Vectors) -> NewEpisode:
    space = SPACE.id, SPACE.fingerprint
    return episode(
        f"memory {number}", vector, space, namespace="wide", number=number, created_at=1e9
    )


def _query(vector: Vectors) -> bytes:
    given = {"namespace": "wide", "modalities": "text", "mode": "direct", "k": K}
    address = f"/retrieve?{urlencode(given | {'reinforce': 'false'})}"
    return request("POST", address, vector.tobytes(), "application/octet-stream")


def rows(sizes: Sequence[int] = SIZES) -> Iterator[Row]:
    """A row for each size, of the largest also what it takes, and the growth."""
    every = []
    for count in sizes:
        with tempfile.TemporaryDirectory() as folder:
            size = measured(count, Path(folder))
        every.append(size)
        what = f"{count:,} x {SPACE.dimension}"
        good = size.recall >= 0.97 and size.inside_ms <= 2.0
        note = f"recall@10 {size.recall:.4f}, synthetic; {size.loaded_ms:.2f} ms"
        note += f" just loaded, {size.waiting:,} waiting in blocks"
        inside = f"p50 {size.inside_ms:.2f} ms"
        yield Row(f"{what}, in process", inside, "", size.inside_ms, "<= 2 ms", good, note)
        good, http = size.http_ms <= 2.5, f"p50 {size.http_ms:.2f} ms"
        yield Row(f"{what}, over HTTP", http, "", size.http_ms, "<= 2.5 ms", good)
    last = every[-1]
    build = f"{last.build_s:.0f} s"
    what = f"{last.count:,} x {SPACE.dimension}"
    good = last.build_s <= 120
    yield Row(f"{what}, stored and built", build, "", last.build_s, "<= 120 s", good)
    started, resident = f"{last.start_s:.1f} s", f"{last.resident / 2**20:.0f} MB"
    yield Row(f"{what}, start", started, "", last.start_s, "<= 5 s", last.start_s <= 5)
    good = last.of_fp16 <= 1.3
    note = "beyond a service without memories; by what the vectors take in fp16"
    yield Row(f"{what}, resident", resident, "", last.of_fp16, "<= 1.3x", good, note)
    if len(every) > 1:
        cost = (last.http_ms / every[-2].http_ms) / (last.count / every[-2].count)
        what = f"growth of cost from {every[-2].count:,} to {last.count:,} by growth of n"
        yield Row(what, f"{cost:.2f}", "", cost, "below 1", cost < 1)
        plot(every, FIGURE)


def plot(every: Sequence[Size], path: Path) -> None:
    """Cost against n; left out where matplotlib (extra `evaluation`) is not there."""
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    counts = [each.count for each in every]
    figure, axes = pyplot.subplots(figsize=(5, 3.2), layout="constrained")
    axes.loglog(counts, [each.http_ms for each in every], "o-", label="over HTTP")
    axes.loglog(counts, [each.inside_ms for each in every], "s-", label="index, in process")
    first = every[0]
    line = [first.inside_ms * count / first.count for count in counts]
    axes.loglog(counts, line, ":", color="grey", label="in proportion to n")
    axes.set(xlabel=f"vectors of {SPACE.dimension} dimensions", ylabel="p50 of a query, ms")
    axes.legend()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
