"""What large indexes cost and find, beside raw FAISS over the same vectors in the same run.

    python -m benchmarks.large_index            # 10k, 100k and 1M x 512, 50k and 200k x 384
    python -m benchmarks.large_index --quick    # 20k and 60k x 384, under a minute

The vectors are synthetic, as embeddings lie: centres (one for each 200 vectors) lie around 64 main
directions, and vectors around centres. Queries are drawn like the vectors, and are none of them.
Uniformly random vectors have no near neighbours, and are hard for any index but an exact one; they
say nothing about embeddings. The limit is a flat fp16 index of FAISS (`IndexScalarQuantizer`), in
whose answers recall is counted, too.

Every size runs in a process of its own, so that memory is that of one index. All on one thread.
Times are those of the processor, and of the clock in brackets: on a machine that does other work,
too, only the first can be compared.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from memory_service.storage.vectors import Allowed, SubMemory, VectorIndex, VectorIndexes
from memory_service.storage.vectors.snapshots import Opening, Snapshots

Matrix = npt.NDArray[np.float32]
Times = tuple[float, float]  # processor, clock

K = 10
QUERIES = 200
CHUNK = 8192
SHARES = (0.5, 0.05, 0.01, 0.001)
FULL = ((10_000, 512), (100_000, 512), (1_000_000, 512), (50_000, 384), (200_000, 384))
QUICK = ((20_000, 384), (60_000, 384))


def chunks(count: int, dimension: int, seed: int = 0) -> Any:
    """Unit vectors (<= CHUNK, dimension), `count` in all, and QUERIES more at the end."""
    rng = np.random.default_rng(seed)
    main = unit(rng.standard_normal((64, dimension)).astype(np.float32))
    centres = main[rng.integers(64, size=count // 200 + 1)]
    centres = unit(centres + noise(rng, centres.shape, 1.0))
    for start in range(0, count + QUERIES, CHUNK):
        rows = min(CHUNK, count + QUERIES - start)
        near = centres[rng.integers(len(centres), size=rows)]
        yield unit(near + noise(rng, near.shape, 0.7))


def noise(rng: np.random.Generator, shape: tuple[int, ...], length: float) -> Matrix:
    return length * rng.standard_normal(shape, np.float32) / np.float32(np.sqrt(shape[1]))


def unit(rows: Matrix) -> Matrix:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class Stopwatch:
    """Seconds of the processor and of the clock since it was made."""

    def __init__(self) -> None:
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def read(self) -> Times:
        return time.process_time() - self._cpu, time.perf_counter() - self._wall


def milliseconds(search: Callable[[Matrix], Any], queries: Matrix) -> dict[str, float]:
    """p50 and p95 of one search by the processor, and p50 by the clock."""
    times = []
    for query in queries:
        watch = Stopwatch()
        search(query)
        times.append(watch.read())
    cpu, wall = np.array(times).T * 1e3
    return {
        "p50": float(np.median(cpu)),
        "p95": float(np.quantile(cpu, 0.95)),
        "wall": float(np.median(wall)),
    }


def resident_mb() -> float:
    """Of this process, files that are mapped among it."""
    with Path("/proc/self/status").open() as status:
        lines = dict(line.split(":", 1) for line in status)
    return int(lines["VmRSS"].split()[0]) / 1024


def measure(count: int, dimension: int) -> dict[str, Any]:
    faiss.omp_set_num_threads(1)
    sub_memory = SubMemory("default", "text", "synthetic", "1")
    with tempfile.TemporaryDirectory() as folder:
        snapshots = Snapshots(Path(folder), Opening("a", {"a": count + 1}))
        indexes = VectorIndexes(snapshots=snapshots)
        left = count
        before = resident_mb()
        queries = np.empty((0, dimension), np.float32)
        adding = (0.0, 0.0)
        for chunk in chunks(count, dimension):
            queries = np.concatenate([queries, chunk[left:]])[-QUERIES:]
            sequences = np.arange(count - left, count - left + len(chunk[:left])) + 1
            watch = Stopwatch()
            if len(sequences):
                indexes.add(sub_memory, sequences, chunk[:left])
            adding = (adding[0] + watch.read()[0], adding[1] + watch.read()[1])
            left -= len(sequences)
        index = indexes.get(sub_memory)
        assert index is not None
        watch = Stopwatch()
        index.compact()
        building = watch.read()
        watch = Stopwatch()
        index.link()
        linking = watch.read()
        del index
        indexes.close()
        del indexes
        gc.collect()
        watch = Stopwatch()
        reopened = VectorIndexes(snapshots=snapshots)
        index = reopened.restored(sub_memory, dimension)
        opening = watch.read()
        found = [index.search(query, K)[0] for query in queries]
        own = milliseconds(lambda query: index.search(query, K), queries)
        resident = resident_mb() - before
        flat = faiss.IndexScalarQuantizer(
            dimension, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        )
        for part in index.parts:
            # Rows in the order of their sequences: segments hold consecutive ones.
            flat.add_sa_codes(np.ascontiguousarray(part.codes[: part.count]))
        order = np.concatenate([part.ids[: part.count] for part in index.parts]) >> 20
        raw = milliseconds(lambda query: flat.search(query[None], K), queries[:50])
        filters = {
            share: filtered(index, flat, order, queries[:50], share, count) for share in SHARES
        }
        best = order[flat.search(queries, K)[1]]
        return {
            "count": count,
            "dimension": dimension,
            "recall": overlap(found, best),
            "ms": own,
            "flat_ms": raw,
            "add_s": adding,
            "build_s": building,
            "link_s": linking,
            "open_s": opening,
            "memory_x_fp16": resident / (count * dimension * 2 / 2**20),
            "parts": len(index.parts),
            "filters": filters,
        }


def filtered(
    index: VectorIndex, flat: Any, order: Any, queries: Matrix, share: float, count: int
) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    sequences = np.sort(rng.permutation(count)[: max(K, int(count * share))]) + 1
    allowed = Allowed(sequences)
    index.search(queries[0], K, allowed)  # as in the service, where sets are kept
    own = milliseconds(lambda query: index.search(query, K, allowed), queries)
    chosen = faiss.IDSelectorBatch(np.flatnonzero(np.isin(order, sequences)))
    parameters = faiss.SearchParameters(sel=chosen)  # type: ignore[call-arg]
    best = order[flat.search(queries, K, params=parameters)[1]]
    raw = milliseconds(lambda query: flat.search(query[None], K, params=parameters), queries[:10])
    found = [index.search(query, K, allowed)[0] for query in queries]
    return {"recall": overlap(found, best), "ms": own, "flat_ms": raw}


def overlap(found: Any, best: Any) -> float:
    return float(np.mean([len(np.intersect1d(a, b)) / K for a, b in zip(found, best, strict=True)]))


def show(results: list[dict[str, Any]]) -> None:
    console = Console()
    names = ["recall@10", "p50 ms", "p95 ms", "flat p50", "ratio", "add s", "build s", "link s"]
    names += ["open s"]
    table = Table("vectors", *names, "memory / fp16", title="One thread, beside flat fp16 FAISS")
    filters = Table("vectors", "allowed", "recall@10", "p50 ms", "flat p50", title="Under filters")
    for each in results:
        name = f"{each['count']:,} x {each['dimension']}"
        table.add_row(
            name,
            f"{each['recall']:.4f}",
            both(each["ms"]["p50"], each["ms"]["wall"]),
            f"{each['ms']['p95']:.2f}",
            both(each["flat_ms"]["p50"], each["flat_ms"]["wall"]),
            f"{each['flat_ms']['p50'] / each['ms']['p50']:.1f}x",
            both(*each["add_s"]),
            both(*each["build_s"]),
            both(*each["link_s"]),
            both(*each["open_s"]),
            f"{each['memory_x_fp16']:.2f}",
        )
        for share, found in each["filters"].items():
            filters.add_row(
                name,
                f"{float(share):.1%}",
                f"{found['recall']:.4f}",
                both(found["ms"]["p50"], found["ms"]["wall"]),
                both(found["flat_ms"]["p50"], found["flat_ms"]["wall"]),
            )
    console.print(table, filters)


def both(cpu: float, wall: float) -> str:
    return f"{cpu:.2f} ({wall:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two small sizes")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    parser.add_argument("--one", nargs=2, type=int, metavar=("COUNT", "DIMENSION"))
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(*arguments.one)))
        return
    results = []
    for size in QUICK if arguments.quick else FULL:
        command = [sys.executable, "-m", "benchmarks.large_index", "--one", *map(str, size)]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        results.append(json.loads(done.stdout))
        show(results[-1:])
    show(results)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
