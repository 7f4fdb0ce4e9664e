"""How long a re-embedding will take and how much room it needs, measured on a few memories."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any

import numpy as np

from memory_service.records import Memory
from memory_service.services.embedding_batches import bounded, embed_batch
from memory_service.services.models import Models
from memory_service.services.workload import Group, Sizes, extrapolated, sizes_of
from memory_service.storage.schema import migrate
from memory_service.storage.standby import Targets
from memory_service.storage.store import Store

SAMPLE = 64  # memories per modality, drawn evenly over their sizes, the largest among them
TIMED = 16  # memories embedded at once and timed together: the fit needs several such groups
SAMPLE_S = 20.0  # of a modality: when it has taken so long, fewer groups have to do
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
            _modality(store, models, modality, targets, go_on)
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
    store: Store, models: Models, modality: str, targets: Targets, go_on: Callable[[], None]
) -> dict[str, Any]:
    sizes = sizes_of(store, modality, targets, go_on)
    groups = _timed(store, models, sizes, go_on)
    if not groups:
        return {"to_embed": 0, "seconds": 0.0, "disk_bytes": 0, "memory_bytes": 0}
    count, work = len(sizes.sequences), float(sizes.work.sum())
    seconds = _in_all(groups, [each.seconds for each in groups], count, work)
    # What cannot be embedded in the sample may be by then: it counts as one vector.
    vectors = _in_all(groups, [each.vectors + each.failed for each in groups], count, work)
    disk = memory = 0.0
    write_s = 0.0
    for dimension in targets[modality].values():
        room, row_s = _row(dimension)
        share = vectors / len(targets[modality])
        disk += share * room
        memory += share * (dimension * FAISS_BYTES + 8)  # and its sequence
        write_s += share * row_s
    return {
        "to_embed": count,
        "sampled": sum(each.memories for each in groups),
        "sampled_failed": sum(each.failed for each in groups),
        "seconds_per_memory": round(seconds / count, 5),
        "seconds": round(seconds + write_s, 3),
        "disk_bytes": round(disk),
        "memory_bytes": round(memory),
    }


def _timed(store: Store, models: Models, sizes: Sizes, go_on: Callable[[], None]) -> list[Group]:
    """Embeds the sample in groups of like size: the smallest, the largest, those in between."""
    work = dict(zip(sizes.sequences.tolist(), sizes.work.tolist(), strict=True))
    places = np.linspace(0, len(work) - 1, min(SAMPLE, len(work))).round().astype(int)
    chosen = sizes.sequences[places].tolist()
    alive = store.catalog.memories(chosen)
    sample = [alive[each] for each in chosen if each in alive]  # some may have been forgotten
    if not sample:
        return []
    embed_batch(store, models, sample[:1])  # what is loaded at first use is no part of the pace
    parts = [sample[at : at + TIMED] for at in range(0, len(sample), TIMED)]
    groups: list[Group] = []
    until = time.perf_counter() + SAMPLE_S
    for part in (parts[0], *reversed(parts[1:])):
        if len(groups) < 2 or time.perf_counter() < until:
            go_on()
            groups.append(_group(store, models, part, work, until))
    return groups


def _group(
    store: Store, models: Models, part: Sequence[Memory], work: Mapping[int, float], until: float
) -> Group:
    """As many of `part` as can be embedded `until` then, and one at least."""
    measured = vectors = failures = 0
    began = time.perf_counter()
    while measured < len(part) and (not measured or time.perf_counter() < until):
        batch = bounded(part[measured:])
        found, failed = embed_batch(store, models, batch)
        measured += len(batch)
        vectors += sum(len(embeddings) for embeddings in found.values())
        failures += len(failed)
    seconds = time.perf_counter() - began
    done = sum(work[each.sequence] for each in part[:measured])
    return Group(measured, done, seconds, vectors, failures)


def _in_all(groups: Sequence[Group], values: Sequence[float], memories: int, work: float) -> float:
    """`extrapolated`, or the sum where the sample is all there is."""
    if sum(each.memories for each in groups) == memories:
        return float(sum(values))
    return extrapolated(groups, values, memories, work)


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
