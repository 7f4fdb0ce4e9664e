"""Fusion that was learnt: attention over query and memories, its projections trained by us.

Starts out as the formula of `attention` (softmax over cosines) and adds to it what training found:
several heads that look at projections of query and memories, and a small network that moves the
fused vector to where the thing that is meant is likely to be. Trained by
`python -m generator.training.train fusion`; computed in numpy, so that torch is not needed.
Knows only vectors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load

from encoders.base import Vectors, normalize

FOLDER = Path(__file__).parent / "weights"
FILES = ("fusion.json", "fusion.safetensors")
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class FusionSettings:
    """Sizes, and the space whose vectors it was trained on."""

    dimension: int = 384
    heads: int = 4
    head_width: int = 32
    hidden: int = 256
    space_id: str = "bundled"


class LearnedFusion:
    """`state` holds the arrays of `generator.training.fusion.FusionNetwork`, by their names."""

    def __init__(
        self, settings: FusionSettings, state: Mapping[str, Any], fingerprint: str = ""
    ) -> None:
        self.settings, self.fingerprint = settings, fingerprint
        self._state = {name: np.asarray(values, np.float32) for name, values in state.items()}

    @classmethod
    def load(cls, folder: Path) -> LearnedFusion:
        settings, weights = ((folder / name).read_bytes() for name in FILES)
        version = hashlib.sha256(settings + weights).hexdigest()
        return cls(FusionSettings(**json.loads(settings)), load(weights), version)

    def fuse(self, query: Vectors, memories: Vectors) -> tuple[Vectors, Vectors]:
        """As `generator.fusion.fuse`: the fused vector (D,) and each memory's share (K,).

        Without memories the query is moved, too: a picture's vector towards what it shows.
        """
        weights = self._attention(query, memories)  # (H, K)
        shares = weights.mean(0)
        plain = normalize(query + shares @ memories)
        heard = self._heads("value", memories)  # (H, K, W)
        context = np.einsum("hk,hkw->hw", weights, heard).reshape(-1)
        scale = np.float32(self.settings.dimension**0.5)
        told = np.concatenate([plain * scale, query * scale, context])
        hidden = _gelu(self._linear("inner", told))
        fused = normalize(plain + self._linear("outer", hidden))
        return (fused if fused.any() else normalize(query)), np.asarray(shares, np.float32)

    def _attention(self, query: Vectors, memories: Vectors) -> Floats:
        """(H, K): softmax over what each head makes of the cosines and of its projections."""
        if not len(memories):
            return np.zeros((self.settings.heads, 0), np.float32)
        asked, known = self._heads("query", query[None]), self._heads("key", memories)
        scores = np.einsum("hqw,hkw->hk", asked, known) / self.settings.head_width**0.5
        scores += np.exp(self._state["sharpness"])[:, None] * (memories @ query)
        raw = np.exp(scores - scores.max(1, keepdims=True))
        return np.asarray(raw / raw.sum(1, keepdims=True), np.float32)

    def _heads(self, name: str, vectors: Vectors) -> Floats:
        """(H, N, W) of vectors (N, D)."""
        made = self._linear(name, vectors * np.float32(self.settings.dimension**0.5))
        split = made.reshape(len(vectors), self.settings.heads, self.settings.head_width)
        return np.asarray(split.swapaxes(0, 1))

    def _linear(self, name: str, values: Floats) -> Floats:
        made = values @ self._state[f"{name}.weight"].T + self._state[f"{name}.bias"]
        return np.asarray(made, np.float32)


def _gelu(values: Floats) -> Floats:
    """By tanh, as torch's `gelu(approximate="tanh")`."""
    inner = np.sqrt(2 / np.pi) * (values + 0.044715 * values**3)
    return np.asarray(0.5 * values * (1 + np.tanh(inner)), np.float32)


def stored(space_id: str) -> LearnedFusion | None:
    """That whose weights are here, None where there are none, or they are of another space."""
    if not all((FOLDER / name).is_file() for name in FILES):
        return None
    found = _loaded(FOLDER)
    return found if found.settings.space_id == space_id else None


@cache
def _loaded(folder: Path) -> LearnedFusion:
    return LearnedFusion.load(folder)
