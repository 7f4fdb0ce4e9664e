"""Vectors as embeddings lie: around centres, which lie around centres themselves."""

import numpy as np
import numpy.typing as npt

from memory_service.storage.vectors import Sequences, VectorIndex

Matrix = npt.NDArray[np.float32]


def clustered(count: int, dimension: int, seed: int = 0, centres: int = 50) -> Matrix:
    """Unit vectors (count, dimension); the same seed gives the same centres for every count."""
    rng = np.random.default_rng(seed)
    middle = rng.standard_normal((centres, dimension))
    nearby = np.repeat(middle, 8, axis=0) + 0.7 * rng.standard_normal((8 * centres, dimension))
    rows = nearby[rng.integers(8 * centres, size=count)]
    rows = rows + 0.7 * rng.standard_normal((count, dimension))
    return unit(rows)


def unit(rows: npt.NDArray[np.floating]) -> Matrix:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def recall_at_10(
    index: VectorIndex,
    rows: Matrix,
    queries: Matrix,
    sequences: Sequences,
    allowed: Sequences | None = None,
    *,
    within: float = 0.0,
) -> float:
    """Of the ten nearest of the allowed rows, the share that an index finds, over all queries.

    What is as near as the tenth, but for `within`, is as good.
    """
    chosen = (
        np.arange(len(rows)) if allowed is None else np.flatnonzero(np.isin(sequences, allowed))
    )
    found = 0.0
    for query in queries:
        cosines = rows[chosen] @ query
        tenth = np.sort(cosines)[::-1][:10][-1]
        good = sequences[chosen[cosines >= tenth - within]]
        found += np.isin(index.search(query, 10, allowed)[0], good).sum() / min(10, len(chosen))
    return found / len(queries)
