"""What computes the networks of a latent generator: compiled graphs, or the torch modules.

Graphs (`image_flow.onnx` and the like) lie beside the weights and hold none; new values of the same
tensors need no new graph. `python -m generator.training.export_onnx` makes them. Where they are
missing, or were made for other tensors, torch computes. Knows nothing about conditions.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import safe_open

from encoders.graphs import Graph, layout
from generator.latent_flow import Conditioning, Flow, FlowSettings, LatentFlow

LAYOUTS = "layouts.json"
# network: the safetensors file, without the modality's name, that it has its weights from
PARTS = {"encoder": "vae", "decoder": "vae", "flow": "flow"}
# In bfloat16, where there is hardware for it: a picture's levels differ by .03 of 255 in the mean
# where it is decoded (docs/experiments.md).
HALVED = frozenset({"image"})

log = logging.getLogger(__name__)


class Networks(Protocol):
    """Media are batches as the autoencoder takes them; latents (B, C, H, W) not standardised."""

    runtime: str
    precision: str  # in which it multiplies: "bf16" or "f32"; outputs differ with it
    flow: Flow

    def encode(self, media: torch.Tensor) -> torch.Tensor:
        """The mode of the latents."""

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Media."""


class InTorch:
    runtime = "torch"
    precision = "f32"

    def __init__(self, autoencoder: Any, flow: LatentFlow) -> None:
        self._autoencoder = autoencoder
        self.flow: Flow = flow

    def encode(self, media: torch.Tensor) -> torch.Tensor:
        mode: torch.Tensor = self._autoencoder.posterior(media).mode()
        return mode

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        decoded: torch.Tensor = self._autoencoder.decode(latents)
        return decoded


class InOpenVino:
    runtime = "openvino"

    def __init__(
        self,
        folder: Path,
        modality: str,
        settings: FlowSettings,
        threads: int,
        *,
        halved: bool = False,
    ) -> None:
        """`halved` as for `Graph`."""
        encoder, decoder, flow = (
            Graph(graph_path(folder, modality, part), threads, halved=halved) for part in PARTS
        )
        self._encoder, self._decoder = encoder, decoder
        self.precision = flow.precision  # of all three
        self.flow: Flow = ServedFlow(settings, flow, weights_path(folder, modality, "flow"))

    def encode(self, media: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self._encoder(media.numpy()))

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self._decoder(latents.numpy()))


class ServedFlow:
    def __init__(self, settings: FlowSettings, graph: Graph, weights: Path) -> None:
        self.settings = settings
        self._conditioning = Conditioning(settings).eval()
        with safe_open(weights, "pt") as file:
            names = self._conditioning.state_dict()
            self._conditioning.load_state_dict(
                {name: file.get_tensor(name).float() for name in names}
            )
        self._graph = graph

    def tokens(self, vectors: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        return self._conditioning.tokens(vectors, shares)

    def __call__(
        self, noised: torch.Tensor, time: torch.Tensor, tokens: torch.Tensor, memory: torch.Tensor
    ) -> torch.Tensor:
        inputs = (noised, time, tokens, memory)
        return torch.from_numpy(self._graph(*(each.numpy() for each in inputs)))


def open_networks(
    folder: Path,
    modality: str,
    settings: FlowSettings,
    modules: Callable[[], tuple[Any, LatentFlow]],
    *,
    runtime: str,
    threads: int,
) -> Networks:
    """Of `modality` in `folder`; `modules` builds autoencoder and flow, where they are needed."""
    if runtime == "openvino":
        if fits(folder, modality):
            return InOpenVino(folder, modality, settings, threads, halved=modality in HALVED)
        log.warning("no graphs fit the weights of %s in %s: torch computes", modality, folder)
    return InTorch(*modules())


def fits(folder: Path, modality: str) -> bool:
    """Whether all the graphs are there, and were made for the tensors that are there."""
    layouts = folder / LAYOUTS
    known = json.loads(layouts.read_text(encoding="utf-8")) if layouts.is_file() else {}
    return all(
        graph_path(folder, modality, part).is_file()
        and known.get(f"{modality}_{part}") == layout(weights_path(folder, modality, part))
        for part in PARTS
    )


def graph_path(folder: Path, modality: str, part: str) -> Path:
    return folder / f"{modality}_{part}.onnx"


def weights_path(folder: Path, modality: str, part: str) -> Path:
    return folder / f"{modality}_{PARTS[part]}.safetensors"
