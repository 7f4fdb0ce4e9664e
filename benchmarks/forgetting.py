"""What forgetting a namespace costs per memory, by how many it has.

    python -m benchmarks.forgetting [--wait] [--jobs NUMBER] [--kept NUMBER] [COUNT ...]

Texts with random vectors of 384 numbers, put into the store without encoder. Tells processor time
and written bytes of this process, which depend on the machine less than seconds do. `--wait`:
until no file has anything of it. `--jobs`: so many have results of some 50 kB in the catalog.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.episodes import episode
from memory_service.ids import new_id
from memory_service.records import Job, Manner
from memory_service.storage import jobs
from memory_service.storage.store import Store

AT_ONCE = 1000  # episodes written together
DIMENSION = 384


def fill(store: Store, namespace: str, count: int) -> None:
    rng = np.random.default_rng(count)
    for first in range(0, count, AT_ONCE):
        vectors = rng.standard_normal((min(AT_ONCE, count - first), DIMENSION), np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        store.add_episodes(
            [
                episode(
                    f"a note of number {number} in namespace {namespace}",
                    vector,
                    ("benchmark", "0"),
                    namespace=namespace,
                    number=number,
                    created_at=time.time(),
                )
                for number, vector in enumerate(vectors, first)
            ]
        )


def written_bytes() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["wchar"])


def note_jobs(store: Store, number: int) -> None:
    """As a consolidation leaves them, of memories that are long gone."""
    listed = [{"prototype_id": new_id(), "members": 2, "cosine": 0.9} for _ in range(600)]
    with store.catalog.transaction("writing jobs") as connection:
        for each in range(number):
            job = Job(new_id(), "consolidate", "succeeded", each, each, {}, result={"l": listed})
            jobs.write(connection, job)
    if number:
        print(f"{number} jobs of {len(json.dumps(listed)) / 1e3:.0f} kB")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("counts", nargs="*", type=int, default=[5_000, 40_000])
    parser.add_argument("--wait", action="store_true")
    parser.add_argument("--kept", type=int, default=1000, help="memories that stay")
    parser.add_argument("--jobs", type=int, default=0)
    given = parser.parse_args()
    print("memories, ms of processor time each, seconds, MB written, MB of receipts")
    for count in given.counts:
        with tempfile.TemporaryDirectory() as folder, Store(Path(folder, "data")) as store:
            fill(store, "kept", given.kept)
            fill(store, "large", count)
            note_jobs(store, given.jobs)
            written, cpu, begun = written_bytes(), time.process_time(), time.perf_counter()
            receipt = store.removal.namespace("large", Manner(wait=given.wait))
            each_ms = (time.process_time() - cpu) / count * 1e3
            seconds, mb = time.perf_counter() - begun, (written_bytes() - written) / 1e6
            assert receipt.removed["memories"] == count
            catalog = store.catalog
            kept = catalog.select("SELECT SUM(LENGTH(lists)) FROM receipt_parts")[0][0]
            print(f"{count}, {each_ms:.3f}, {seconds:.1f}, {mb:.0f}, {kept / 1e6:.2f}", flush=True)


if __name__ == "__main__":
    main()
