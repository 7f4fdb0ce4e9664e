"""Graphs of the towers of `bundled` for the served runtime, from the torch models.

    python -m encoders.training.export_onnx

A graph (some hundred kB) holds no weights: each refers to its fp16 bytes within the tower's
safetensors file, and a cast that the runtime folds away. New values of the same tensors need no
new graph; new names or shapes do, and a test says so. Needs the extra `training`.
"""

from __future__ import annotations

import argparse
import json
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper

from encoders.audio import AudioEncoder
from encoders.bundled import FOLDER, text_and_image
from encoders.graphs import layout
from encoders.served import graph_path

OPSET = 17
LARGEST = 1024  # bytes of a constant within the graph: whatever is larger ought to be a weight


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FOLDER.parent, help="folder of the graphs")
    export(parser.parse_args().out)


def export(out: Path) -> None:
    """Write `bundled.<tower>.onnx` and `bundled.layouts.json`."""
    layouts = {}
    for name, (module, example, axes) in towers().items():
        weights = FOLDER / f"{name}.safetensors"
        graph = graph_of(module, {"input": example}, {"input": axes}, "vectors")
        model = outward(graph, weights, f"{weights.parent.name}/{weights.name}")
        path = out / graph_path(FOLDER, name).name
        path.write_bytes(model.SerializeToString(deterministic=True))
        layouts[name] = layout(weights)
        print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB")
    text = json.dumps(layouts, indent=1, sort_keys=True) + "\n"
    (out / f"{FOLDER.name}.layouts.json").write_text(text, encoding="utf-8")


Axes = dict[int, str]


def towers() -> dict[str, tuple[torch.nn.Module, torch.Tensor, Axes]]:
    """By name: module, an input to follow through it, and the input's axes of any length."""
    text, image = text_and_image()
    audio = AudioEncoder.open(FOLDER, text.space).tower
    # Plain products and softmax: the graph of fused attention guards against rows that are masked
    # whole, which no text has, and is a tenth slower for single texts.
    transformer: Any = text.model.text.transformer
    transformer.set_attn_implementation("eager")
    return {
        "visual": (image.model.visual, torch.zeros(2, 3, 224, 224), {0: "batch"}),
        "text": (text.model.text, torch.full((2, 12), 1000), {0: "batch", 1: "length"}),
        "audio": (audio, torch.zeros(2, 80, 128), {0: "batch", 2: "frames"}),
    }


def graph_of(
    module: torch.nn.Module,
    example: Mapping[str, torch.Tensor],
    axes: Mapping[str, Axes],
    output: str,
) -> Any:
    """The ONNX model of inputs by name, every parameter an initialiser under its own name."""
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        path = Path(folder) / "graph.onnx"
        # The exporter by tracing is deprecated; the one by torch.export renames and folds weights.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            tuple(example.values()),
            path,
            input_names=list(example),
            output_names=[output],
            dynamic_axes={**axes, output: {0: "batch"}},
            opset_version=OPSET,
            dynamo=False,
            do_constant_folding=False,
            training=torch.onnx.TrainingMode.PRESERVE,  # else norms melt into convolutions
        )
        return onnx.load(path)


def outward(model: Any, weights: Path, location: str) -> Any:
    """Weights become references into the safetensors file, which lies at `location` seen from the
    graph; ValueError when one is not there."""
    content = weights.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    casts = []
    for tensor in model.graph.initializer:
        if tensor.name not in header:
            if tensor.ByteSize() > LARGEST:
                raise ValueError(f"{tensor.name} of {weights.name} has no place in the file")
            continue
        place = header[tensor.name]
        if place["dtype"] != "F16" or place["shape"] != list(tensor.dims):
            raise ValueError(f"{tensor.name} of {weights.name} is not what the model has")
        first, end = place["data_offsets"]
        casts.append(helper.make_node("Cast", [f"{tensor.name}.f16"], [tensor.name], to=1))
        tensor.ClearField("raw_data")
        tensor.ClearField("float_data")
        tensor.data_type = TensorProto.FLOAT16
        tensor.name += ".f16"
        tensor.data_location = TensorProto.EXTERNAL
        where = {
            "location": location,
            "offset": 8 + size + first,
            "length": end - first,
        }
        for key, value in where.items():
            tensor.external_data.add(key=key, value=str(value))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    for node in model.graph.node:
        node.doc_string = ""
    return model


if __name__ == "__main__":
    main()
