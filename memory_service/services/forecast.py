"""How long a re-embedding will take and how much room it needs, measured on a few memories."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

from memory_service.records import Memory
from memory_service.services.embedding_batches import BATCH, embed_batch
from memory_service.services.models import Models
from memory_service.storage.schema import migrate
from memory_service.storage.standby import Targets
from memory_service.storage.store import Store

SAMPLE = 32  # memories per modality, drawn evenly over the store
ROWS = 256  # of vectors written to measure the room that one takes
FAISS_BYTES = 2  # per value: fp16


def measure(
    store: Store, models: Models, targets: Targets, go_on: Callable[[], None]
) -> Mapping[str, Any]:
    """Predicts time, disk and memory by modality, and in all. Changes nothing.

    The sample is embedded in batches as the re-embedding does; the time to write is measured
    in memory, without waiting for a disk.
    """
    modalities = {}
    for modality, coverage in store.standby.coverage(targets).items():
        go_on()
        # What failed in a re-embedding before is tried again.
        count = coverage.memories - coverage.embedded
        modalities[modality] = (
            _modality(store, models, modality, targets, count)
            if modality in targets
            else {"to_embed": 0, "no_encoder": count}
        )
    total = {
        name: sum(each.get(name, 0) for each in modalities.values())
        for name in ("to_embed", "no_encoder", "seconds", "disk_bytes", "memory_bytes")
    }
    return {
        **total,
        "seconds": round(total["seconds"], 3),
        "disk_free_bytes": shutil.disk_usage(store.folder).free,
        "modalities": modalities,
    }


def _modality(
    store: Store, models: Models, modality: str, targets: Targets, count: int
) -> dict[str, Any]:
    sample = _sample(store, modality, targets, count)
    if not sample:
        return {"to_embed": 0, "seconds": 0.0, "disk_bytes": 0, "memory_bytes": 0}
    embed_batch(store, models, sample[:1])  # what is loaded at first use is no part of the pace
    started = time.perf_counter()
    found, failed = embed_batch(store, models, sample)
    each_s = (time.perf_counter() - started) / len(sample)
    vectors = [len(embeddings) for embeddings in found.values()]
    per_memory = sum(vectors) / len(vectors) if vectors else 1.0
    disk = memory = 0.0
    write_s = 0.0
    for dimension in targets[modality].values():
        room, seconds = _row(dimension)
        share = per_memory / len(targets[modality]) * count
        disk += share * room
        memory += share * (dimension * FAISS_BYTES + 8)  # and its sequence
        write_s += share * seconds
    return {
        "to_embed": count,
        "sampled": len(sample),
        "sampled_failed": len(failed),
        "seconds_per_memory": round(each_s, 5),
        "seconds": round(count * each_s + write_s, 3),
        "disk_bytes": int(disk),
        "memory_bytes": int(memory),
    }


def _sample(store: Store, modality: str, targets: Targets, count: int) -> list[Memory]:
    """Every n-th memory that lacks a vector, such that there are SAMPLE of them."""
    step = max(1, count // SAMPLE)
    chosen: list[Memory] = []
    seen = after = 0
    while len(chosen) < SAMPLE and (
        found := store.standby.lacking(modality, targets, after, 32 * BATCH)
    ):
        after = found[-1].sequence
        chosen += [memory for place, memory in enumerate(found, seen) if place % step == 0]
        seen += len(found)
    return chosen[:SAMPLE]


def _row(dimension: int) -> tuple[float, float]:
    """(bytes on disk, seconds to write) of one vector, in a catalog of its own in memory.

    Measured, since SQLite puts what is left of a long row on a page of its own.
    """
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection)

        def pages() -> int:
            (count,) = connection.execute("PRAGMA page_count").fetchone()
            return int(count)

        (page,) = connection.execute("PRAGMA page_size").fetchone()
        vector = bytes(4 * dimension)
        before, started = pages(), time.perf_counter()
        connection.executemany(
            "INSERT INTO vectors (sequence, space, vector) VALUES (?, 1, ?)",
            [(1_000_000 + number, vector) for number in range(ROWS)],
        )
        seconds = time.perf_counter() - started
        return (pages() - before) * page / ROWS, seconds / ROWS
