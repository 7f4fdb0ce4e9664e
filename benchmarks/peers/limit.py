"""The limit: FAISS in this process, the fastest index that finds as much."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import faiss
import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Truth = npt.NDArray[np.int64]  # (Q, K)


@dataclass(frozen=True)
class Raw:
    name: str
    recall: float
    p50_ms: float


def exact(vectors: Vectors, queries: Vectors, k: int) -> Truth:
    """The rows of the k nearest of each query, (Q, k)."""
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return np.asarray(index.search(queries, k)[1])


def recall(found: list[list[int]], truth: Truth) -> float:
    """Of the true neighbours, the share that was found: recall@k."""
    hits = sum(len(set(a) & set(b)) for a, b in zip(found, truth.tolist(), strict=True))
    return hits / truth.size


def raw(vectors: Vectors, queries: Vectors, truth: Truth) -> list[Raw]:
    """Exact fp16 search, and HNSW at several depths, each query on its own, one thread."""
    faiss.omp_set_num_threads(1)
    dimension, k = vectors.shape[1], truth.shape[1]
    flat = faiss.IndexScalarQuantizer(
        dimension, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    flat.train(vectors)
    flat.add(vectors)
    measured = [_measure("exact fp16", flat, queries, truth)]
    graph = faiss.IndexHNSWFlat(dimension, 32, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = 40
    graph.add(vectors)
    for depth in (16, 32, 64, 128, 256):
        graph.hnsw.efSearch = max(depth, k)
        measured.append(_measure(f"HNSW32 ef {depth}", graph, queries, truth))
    return measured


def fastest(measured: list[Raw], least_recall: float) -> Raw:
    """Of those that find as much, else the one that finds most."""
    enough = [each for each in measured if each.recall >= least_recall]
    return min(enough, key=lambda each: each.p50_ms, default=max(measured, key=lambda r: r.recall))


def _measure(name: str, index: faiss.Index, queries: Vectors, truth: Truth) -> Raw:
    found, seconds = [], []
    for query in queries:
        start = time.perf_counter()
        rows = index.search(query[None], truth.shape[1])[1]
        seconds.append(time.perf_counter() - start)
        found.append(rows[0].tolist())
    return Raw(name, recall(found, truth), statistics.median(seconds) * 1e3)
