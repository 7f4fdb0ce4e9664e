"""Graphs of the networks of pictures and sounds for serving, from the torch modules.

    python -m generator.training.export_onnx

They hold no weights (see `encoders.training.export_onnx`): needed again where names or shapes of
tensors change, not where values do. Needs the extra `training`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from encoders.graphs import layout
from encoders.log_mel import N_MELS
from encoders.training.export_onnx import graph_of, outward
from generator.audio import SoundGenerator
from generator.image import PictureGenerator
from generator.networks import LAYOUTS, PARTS, graph_path, weights_path
from generator.registry import WEIGHTS

Latent = PictureGenerator | SoundGenerator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of the weights")
    export(parser.parse_args().weights)


def export(folder: Path) -> None:
    """Write the graphs and `layouts.json` beside the weights in `folder`."""
    layouts = {}
    for generator in (
        PictureGenerator(folder, runtime="torch"),
        SoundGenerator(folder, runtime="torch"),
    ):
        for part in PARTS:
            weights = weights_path(folder, generator.modality, part)
            model = outward(traced(generator, part), weights, weights.name)
            path = graph_path(folder, generator.modality, part)
            path.write_bytes(model.SerializeToString(deterministic=True))
            layouts[path.stem] = layout(weights)
            print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB")
    text = json.dumps(layouts, indent=1, sort_keys=True) + "\n"
    (folder / LAYOUTS).write_text(text, encoding="utf-8")


def traced(generator: Latent, part: str) -> Any:
    """The ONNX model of a part, for batches of any size, and sounds of any length."""
    module, method, inputs, output = _parts(generator)[part]
    module.forward = method  # so that parameters keep the names that they have in the module
    try:
        long = {3: "length"} if generator.modality == "audio" else {}
        axes = {
            name: {0: "batch"} | (long if each.ndim == 4 else {}) for name, each in inputs.items()
        }
        return graph_of(module, inputs, axes, output)
    finally:
        del module.forward


def _parts(generator: Latent) -> dict[str, tuple[Any, Any, dict[str, torch.Tensor], str]]:
    """By part: module, what it computes, inputs to follow through it, and the output's name."""
    autoencoder, flow = generator.autoencoder, generator.flow
    settings = flow.settings
    latents = torch.zeros(2, settings.latent_channels, *settings.grid)
    known = 2 + settings.neighbours
    conditions = {
        "noised": latents,
        "time": torch.full((2,), 0.5),
        "tokens": torch.ones(2, known, settings.token_width),
        "memory": torch.zeros(2, settings.slots * (settings.latent_channels + 1), *settings.grid),
    }
    media = {"media": _media(generator)}
    return {
        "encoder": (autoencoder, lambda media: autoencoder.posterior(media).mode(), media, "mode"),
        "decoder": (autoencoder, autoencoder.decode, {"latents": latents}, "media"),
        "flow": (flow, flow.forward, conditions, "velocity"),
    }


def _media(generator: Latent) -> torch.Tensor:
    if isinstance(generator, PictureGenerator):
        return torch.zeros(2, 3, generator.settings.side_px, generator.settings.side_px)
    return torch.zeros(2, 1, N_MELS, generator.settings.frames)


if __name__ == "__main__":
    main()
