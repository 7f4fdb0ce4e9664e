"""How long training takes on this machine: one epoch over a few items, really computed.

The shipped networks' copies learn with the optimiser and the losses that the source names (Adam,
mean squared error) and the flow's own loss, and are thrown away. It tells a time, not how the
weights were made: that is `generator.training`. Knows nothing about encoders and storage.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from encoders.base import Vectors
from generator.audio import SoundGenerator, mel_window
from generator.base import Generator
from generator.image import PictureGenerator, square, to_tensor
from generator.latent_flow import flow_loss

LEARNING_RATE = 1e-3  # Adam's, of the source document
BATCH = 16


@dataclass(frozen=True)
class Epoch:
    """`losses`: the mean of the first and of the last quarter of the steps."""

    network: str
    device: str
    items: int
    steps: int
    seconds: float
    losses: tuple[float, float]


def devices() -> tuple[str, ...]:
    """Those present."""
    return ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)


def epochs(
    generator: Generator, media: Sequence[Any], vectors: Vectors, device: str, seed: int = 0
) -> list[Epoch]:
    """An epoch of the generator's autoencoder, and one of its flow; none for other generators.

    `vectors` (N, D) are those of the N media: the flow is conditioned on them.
    """
    if not isinstance(generator, PictureGenerator | SoundGenerator) or not len(media):
        return []
    inputs = _inputs(generator, media).to(device)
    torch.manual_seed(seed)
    return [
        _autoencoder(generator, inputs, device),
        _flow(
            generator, media, torch.from_numpy(np.asarray(vectors, np.float32)).to(device), device
        ),
    ]


def _inputs(generator: PictureGenerator | SoundGenerator, media: Sequence[Any]) -> torch.Tensor:
    """What the autoencoder reads: (N, 3, S, S) in [-1, 1], or scaled log-mels (N, 1, M, T)."""
    if isinstance(generator, PictureGenerator):
        return to_tensor(np.stack([square(each, generator.settings.side_px) for each in media]))
    settings = generator.settings
    mels = np.stack([mel_window(each, settings) for each in media])
    return (torch.from_numpy(mels)[:, None] - settings.mel_mean) / settings.mel_scale


def _autoencoder(
    generator: PictureGenerator | SoundGenerator, inputs: torch.Tensor, device: str
) -> Epoch:
    network = copy.deepcopy(generator.autoencoder).to(device).train()

    def loss(rows: torch.Tensor) -> torch.Tensor:
        made = network.decode(network.posterior(inputs[rows]).mode())
        return nn.functional.mse_loss(made, inputs[rows])

    return _epoch("autoencoder", network, loss, len(inputs), device)


def _flow(
    generator: PictureGenerator | SoundGenerator,
    media: Sequence[Any],
    vectors: torch.Tensor,
    device: str,
) -> Epoch:
    network = copy.deepcopy(generator.flow).to(device).train()
    settings = network.settings
    seen = (
        [mel_window(m, generator.settings) for m in media]
        if isinstance(generator, SoundGenerator)
        else media
    )
    latents = torch.cat([generator.encode(each).clone() for each in seen]).to(device)  # type: ignore[arg-type]
    # The item's own vector as fused vector and query, and no neighbours.
    known = torch.zeros(len(latents), 2 + settings.neighbours, settings.dimension, device=device)
    known[:, :2] = vectors[:, None]
    shares = torch.zeros(known.shape[:2], device=device)
    channels = settings.slots * (settings.latent_channels + 1)
    memory = torch.zeros(len(latents), channels, *settings.grid, device=device)

    def loss(rows: torch.Tensor) -> torch.Tensor:
        return flow_loss(network, latents[rows], known[rows], shares[rows], memory[rows])

    return _epoch("flow", network, loss, len(latents), device)


def _epoch(name: str, network: nn.Module, loss: Any, count: int, device: str) -> Epoch:
    optimiser = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    order = torch.randperm(count).to(device)
    losses = []
    start = time.perf_counter()
    for rows in torch.split(order, BATCH):
        optimiser.zero_grad()
        value = loss(rows)
        value.backward()
        optimiser.step()
        losses.append(float(value.detach()))  # also waits for the device
    seconds = time.perf_counter() - start
    quarter = max(1, len(losses) // 4)
    ends = float(np.mean(losses[:quarter])), float(np.mean(losses[-quarter:]))
    return Epoch(name, device, count, len(losses), seconds, ends)
