"""Joins the query with what was retrieved: sum, weighted sum, attention. Knows only vectors."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from encoders.base import Vectors, normalize

FusionMethod = Literal["sum", "weighted", "attention"]
METHODS: tuple[FusionMethod, ...] = get_args(FusionMethod)
TEMPERATURE = 0.1


def fuse(
    query: Vectors, memories: Vectors, method: str, temperature: float = TEMPERATURE
) -> tuple[Vectors, Vectors]:
    """Return the fused vector (D,) of unit length and each memory's share (K,), summing to 1.

    `query` (D,), `memories` (K, D), all of unit length. With K = 0 the query is returned.

    - sum: F = q + sum_i m_i, the source document's F = e_I + e_T + e_A; shares are 1 / K.
    - weighted: F = q + sum_i w_i m_i, w_i = max(cos(q, m_i), 0) / sum; equal where all are 0.
    - attention: F = q + sum_i a_i m_i, a = softmax(q . m_i / temperature) (Vaswani et al. 2017,
      with keys = values = memories; the temperature takes the place of sqrt(D)).

    Raises ValueError for an unknown method.
    """
    if method not in METHODS:
        raise ValueError(f"unknown fusion {method!r}; known: {', '.join(METHODS)}")
    if len(memories) == 0:
        return normalize(query), np.empty(0, np.float32)
    weights = shares(memories @ query, method, temperature)
    scale = len(memories) if method == "sum" else 1.0
    fused = normalize(query + scale * (weights @ memories))
    # Memories that are the query's opposite cancel it out: then it stands alone.
    return (fused if fused.any() else normalize(query)), weights


def shares(cosines: Vectors, method: str, temperature: float) -> Vectors:
    """Each memory's share (K,), given its cosine to the query (K,)."""
    match method:
        case "sum":
            raw = np.ones_like(cosines)
        case "weighted":
            raw = np.maximum(cosines, 0)
        case _:
            raw = np.exp((cosines - cosines.max()) / temperature)
    if raw.sum() <= 0:
        raw = np.ones_like(cosines)
    return np.asarray(raw / raw.sum(), np.float32)
