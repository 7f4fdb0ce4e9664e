"""How deep a segment has to be searched is measured on its own rows while they are encoded."""

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
