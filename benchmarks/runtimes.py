"""The choice of a runtime for the encoders: milliseconds per item, on one core, in one run.

    pip install onnxruntime; python -m benchmarks.runtimes

torch and OpenVINO in fp32 and bf16, and ONNX Runtime where it is installed (nothing else needs it),
all over the same graphs, weights and preparation of the media. Passes in turns; medians. `least
cosine` is with torch in fp32.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.encoders import BATCHES, Encoders, by_modality, compared, media, parts_of
from encoders import served
from encoders.base import Vectors
from encoders.bundled import FOLDER

TOWERS = {"image": "visual", "text": "text", "audio": "audio"}
PRECISIONS = ("fp32", "bf16")
TORCH = "torch fp32"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="repetitions of each batch")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    runtimes = all_runtimes()
    rows = []
    for modality, items in media().items():
        for batch in BATCHES:
            encode = {name: each[modality].encode for name, each in runtimes.items()}
            timed = compared(encode, parts_of(items, batch), arguments.rounds, beside=TORCH)
            figures = {
                name: {"ms": each.seconds * 1000, "least_cosine": each.least_cosine}
                for name, each in timed.items()
            }
            rows.append({"modality": modality, "batch": batch, "runtimes": figures})
    show(rows, list(runtimes))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


def all_runtimes() -> dict[str, Encoders]:
    """Every runtime that is installed, and precision that the processor has units for."""
    found: dict[str, Encoders] = {TORCH: by_modality("torch")}
    if find_spec("onnxruntime"):
        found["ONNX Runtime fp32"] = _with_onnx_runtime(by_modality("openvino"))
    else:
        Console().print("onnxruntime is not installed: it is left out")
    bf16 = "BF16" in served._core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    for precision in PRECISIONS if bf16 else PRECISIONS[:1]:
        halved = frozenset(TOWERS.values()) if precision == "bf16" else frozenset()
        kept, served.HALVED = served.HALVED, halved
        found[f"OpenVINO {precision}"] = by_modality("openvino")
        served.HALVED = kept
    return found


def _with_onnx_runtime(encoders: Encoders) -> Encoders:
    """The same encoders, their towers computed by ONNX Runtime."""
    for modality, name in TOWERS.items():
        encoders[modality]._tower = _session(name)  # type: ignore[attr-defined]
    return encoders


def _session(name: str) -> Callable[[Any], Vectors]:
    import onnxruntime  # type: ignore[import-not-found]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    path = served.graph_path(FOLDER, name)
    session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    [entry] = session.get_inputs()
    return lambda inputs: np.asarray(session.run(None, {entry.name: inputs})[0], np.float32)


def show(rows: list[dict[str, Any]], runtimes: list[str]) -> None:
    table = Table("encoder", "batch", *(f"{name}: ms (least cosine)" for name in runtimes))
    for row in rows:
        cells = [
            f"{each['ms']:.1f} ({each['least_cosine']:.5f})" for each in row["runtimes"].values()
        ]
        table.add_row(row["modality"], str(row["batch"]), *cells)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
