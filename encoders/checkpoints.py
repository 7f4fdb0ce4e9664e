"""Files of weights: how many they hold, and what reading a damaged or unsafe one raises."""

from __future__ import annotations

import math
from pathlib import Path
from pickle import UnpicklingError

from safetensors import SafetensorError, safe_open

LOADING_ERRORS = (  # whichever library reads it
    RuntimeError,
    ValueError,
    OSError,
    KeyError,
    TypeError,
    EOFError,
    UnpicklingError,
    SafetensorError,
)


def parameters_of(path: Path) -> int:
    """How many numbers a safetensors file holds; reads no more than its header."""
    with safe_open(path, "np") as file:
        return sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118
