"""How deep a segment has to be searched is measured on its own rows while they are encoded."""

import os
import subprocess
import sys

import numpy as np
import pytest
from clustered import clustered

from memory_service.storage.vectors import sealed


@pytest.mark.parametrize("at_once", [7, 300, 4096])
def test_neighbours_are_those_of_a_comparison_with_all(at_once: int) -> None:
    rows = clustered(1000, 32)
    queries = rows[::50]
    neighbours = sealed._Neighbours(queries)
    for start in range(0, len(rows), at_once):
        neighbours.look(rows[start : start + at_once])
    wanted = np.argsort(-(queries @ rows.T), axis=1)[:, : sealed.PROBE_NEIGHBOURS + 1]
    assert np.sort(neighbours.rows).tolist() == np.sort(wanted).tolist()


TWO_THREADS = """
import time
import faiss
import numpy as np
from memory_service.storage.vectors import sealed

faiss.omp_set_num_threads(1)
rows = np.random.default_rng(0).standard_normal((4096, 256), np.float32)
neighbours = sealed._Neighbours(rows[:128])
neighbours.look(rows)
every, own = time.process_time(), time.thread_time()
for _ in range(10):
    neighbours.look(rows)
print((time.process_time() - every) / (time.thread_time() - own))
"""


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two processors")
def test_neighbours_are_looked_for_by_as_many_threads_as_are_set() -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    ran = subprocess.run(
        [sys.executable, "-c", TWO_THREADS],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert float(ran.stdout) < 1.05
