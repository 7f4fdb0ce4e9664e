"""Compiled graphs without weights: OpenVINO reads these from the safetensors file they name.

Knows nothing about what a graph computes.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import deque
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from encoders.openvino_import import openvino

MAX_STREAMS = 2  # requests that one graph computes at once; each stream has working memory
# OpenVINO's Python binding sets itself up within the first call, and two first calls at once wait
# for each other for ever: one for Python's lock, which the other holds (seen with 2026.4.1).
FIRST_CALL = threading.Lock()

Floats = npt.NDArray[np.float32]


class Graph:
    """One compiled graph with one output; safe to call from several threads."""

    def __init__(self, path: Path, threads: int = 1, *, halved: bool = False) -> None:
        """`threads`: numeric threads of each call. `halved`: multiplies in bfloat16, where the
        processor does so in hardware."""
        self.precision = "bf16" if halved and multiplies_halves() else "f32"
        streams = min(MAX_STREAMS, max(1, _cores() // threads))
        self._compiled = core().compile_model(
            str(path),
            "CPU",
            {
                "INFERENCE_NUM_THREADS": threads * streams,
                "NUM_STREAMS": streams,
                "INFERENCE_PRECISION_HINT": self.precision,
                # A pinned thread waits for its core, even where another one is idle.
                "ENABLE_CPU_PINNING": False,
            },
        )
        # A request computes one input at a time, so callers take one each and give it back.
        self._idle: deque[Any] = deque()

    def __call__(self, *inputs: npt.NDArray[Any]) -> Floats:
        """The output, for inputs in the graph's order."""
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        found = np.array(request.infer(list(inputs))[0], np.float32)  # the next call overwrites it
        self._idle.append(request)
        return found


def multiplies_halves() -> bool:
    """Whether the processor has bfloat16 units."""
    return "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _cores() -> int:
    """Those that this process may run on, where the system tells."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def core() -> Any:
    return openvino.Core()


def layout(weights: Path) -> str:
    """Hash over names, types, shapes and places of a safetensors file's tensors.

    It stays the same when only values change: a graph then fits the new weights as well.
    """
    with weights.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        return hashlib.sha256(file.read(size)).hexdigest()
