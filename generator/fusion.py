"""Joins the query with what was retrieved: sum, weighted sum, attention, or as it was learnt.

Knows only vectors.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from encoders.base import Vectors, normalize
from generator import learned_fusion

FusionMethod = Literal["sum", "weighted", "attention", "learned"]
METHODS: tuple[FusionMethod, ...] = get_args(FusionMethod)
FORMULAS = METHODS[:3]  # those without weights
TEMPERATURE = 0.1


def methods_in(space_id: str) -> tuple[FusionMethod, ...]:
    """Those that vectors of the space can be fused by."""
    return FORMULAS if learned_fusion.stored(space_id) is None else METHODS


def fingerprint(method: str, space_id: str) -> str | None:
    """Hash over the weights that the method depends on; None for one without weights."""
    learned = learned_fusion.stored(space_id) if method == "learned" else None
    return None if learned is None else learned.fingerprint


def fuse(
    query: Vectors,
    memories: Vectors,
    method: str,
    temperature: float = TEMPERATURE,
    *,
    space_id: str = "",
) -> tuple[Vectors, Vectors]:
    """Return the fused vector (D,) of unit length and each memory's share (K,), summing to 1.

    `query` (D,), `memories` (K, D), all of unit length. With K = 0 the formulas return the query.

    - sum: F = q + sum_i m_i, the source document's F = e_I + e_T + e_A; shares are 1 / K.
    - weighted: F = q + sum_i w_i m_i, w_i = max(cos(q, m_i), 0) / sum; equal where all are 0.
    - attention: F = q + sum_i a_i m_i, a = softmax(q . m_i / temperature) (Vaswani et al. 2017,
      with keys = values = memories; the temperature takes the place of sqrt(D)).
    - learned: `generator.learned_fusion`, with the weights for the space named.

    Raises ValueError for a method that is not of `methods_in(space_id)`.
    """
    known = methods_in(space_id)
    if method not in known:
        raise ValueError(f"unknown fusion {method!r}; known: {', '.join(known)}")
    if method == "learned" and (learned := learned_fusion.stored(space_id)):
        return learned.fuse(query, memories)
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
