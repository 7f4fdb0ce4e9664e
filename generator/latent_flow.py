"""Rectified flow over latents, conditioned on a memory: the network, its condition, its sampler.

Velocity of z_t = (1 - t) z + t noise (Liu et al. 2022, "Flow Straight and Fast"). What is
remembered enters twice: as latents on extra channels and as vectors that are attended to.
Knows nothing about modalities.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from generator.base import Condition

LATE_SHARE, LATE_FROM = 0.2, 0.85


@dataclass(frozen=True)
class FlowSettings:
    """Sizes of the network and how it is sampled."""

    grid: tuple[int, int]  # height and width of the latents
    latent_channels: int = 8
    channels: tuple[int, ...] = (96, 160)
    token_width: int = 128
    dimension: int = 384  # of the vectors' space
    neighbours: int = 4
    slots: int = 1  # remembered latents on channels, the heaviest first
    steps: int = 12
    guidance: float = 2.0


class Flow(Protocol):
    """What is sampled: `LatentFlow`, or what computes the same."""

    settings: FlowSettings

    def tokens(self, vectors: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        """As `Conditioning.tokens`."""

    def __call__(
        self, noised: torch.Tensor, time: torch.Tensor, tokens: torch.Tensor, memory: torch.Tensor
    ) -> Any:
        """As `LatentFlow.forward`."""


class Conditioning(nn.Module):
    """Vectors as tokens: the part of the flow that is the same at every step."""

    def __init__(self, settings: FlowSettings) -> None:
        super().__init__()
        self.settings = settings
        self.project = nn.Linear(settings.dimension, settings.token_width)
        self.kind = nn.Embedding(3, settings.token_width)  # fused, query, neighbour
        self.share = nn.Linear(1, settings.token_width, bias=False)

    def tokens(self, vectors: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        """(B, 2 + N, W) of vectors (B, 2 + N, D): fused, query, neighbours; shares (B, 2 + N)."""
        kinds = torch.arange(vectors.shape[1], device=vectors.device).clamp(max=2)
        scaled = self.project(vectors * self.settings.dimension**0.5)
        tokens: torch.Tensor = scaled + self.kind(kinds) + self.share(shares[..., None])
        # A neighbour that is not there is a row of zeros, and stays one.
        return tokens * vectors.abs().sum(-1, keepdim=True).ne(0)


class LatentFlow(Conditioning):
    """Velocity of latents between data (t = 0) and noise (t = 1), given the memory."""

    def __init__(self, settings: FlowSettings) -> None:
        from generator.diffusers_import import UNet2DConditionModel

        super().__init__(settings)
        channels = settings.channels
        self.unet = UNet2DConditionModel(
            sample_size=settings.grid,
            # Noised; per slot what is remembered, and whether anything is.
            in_channels=settings.latent_channels + settings.slots * (settings.latent_channels + 1),
            out_channels=settings.latent_channels,
            down_block_types=("CrossAttnDownBlock2D",) * len(channels),
            mid_block_type="UNetMidBlock2DCrossAttn",
            up_block_types=("CrossAttnUpBlock2D",) * len(channels),
            block_out_channels=channels,
            layers_per_block=1,
            cross_attention_dim=settings.token_width,
            attention_head_dim=4,  # in diffusers' UNet this is the number of heads
            norm_num_groups=16,
        )

    def forward(
        self, noised: torch.Tensor, time: torch.Tensor, tokens: torch.Tensor, memory: torch.Tensor
    ) -> torch.Tensor:
        """noised (B, C, H, W), time (B,), memory (B, S (C + 1), H, W) -> velocity (B, C, H, W)."""
        velocity: torch.Tensor = self.unet(
            torch.cat([noised, memory], 1), time * 1000, encoder_hidden_states=tokens
        ).sample
        return velocity


def flow_loss(
    flow: LatentFlow,
    latents: torch.Tensor,
    vectors: torch.Tensor,
    shares: torch.Tensor,
    memory: torch.Tensor,
) -> torch.Tensor:
    """Mean squared error of the velocity at logit-normal times (Esser et al. 2024).

    One time in LATE_SHARE is drawn from the latest instead, which hardly come else: there it is
    decided what a picture from noise alone will show.
    """
    noise = torch.randn_like(latents)
    time = torch.sigmoid(torch.randn(len(latents), device=latents.device))
    late = torch.rand_like(time) < LATE_SHARE
    time = torch.where(late, LATE_FROM + (1 - LATE_FROM) * torch.rand_like(time), time)
    share = time[:, None, None, None]
    noised = (1 - share) * latents + share * noise
    velocity = flow(noised, time, flow.tokens(vectors, shares), memory)
    loss: torch.Tensor = (velocity.float() - (noise - latents)).square().mean()
    return loss


@torch.inference_mode()
def sample(
    flow: Flow,
    conditions: Sequence[Condition],
    memories: Sequence[Sequence[torch.Tensor]],
    noise: float,
    seeds: Sequence[int],
) -> torch.Tensor:
    """Latents (B, C, H, W): the first memory noised to time `noise`, led back by Euler steps.

    `memories` of each condition are latents (1, C, H, W), the heaviest first, of all conditions
    of the same size; without any, the settings' grid. Noise 0 returns the first itself; 1 starts
    from noise alone (SDEdit, Meng et al. 2021), and has to where a condition has no memory. Each
    has the noise of its seed.
    """
    settings = flow.settings
    width = width_of(memories[0], settings)
    starts = [
        (1 - noise) * known[0] + noise * drawn if known else drawn
        for known, drawn in zip(
            memories, (draw_noise(settings, width, seed) for seed in seeds), strict=True
        )
    ]
    rows = [condition_rows(condition, settings) for condition in conditions]
    tokens = flow.tokens(*(torch.cat(each) for each in zip(*rows, strict=True)))
    hidden = torch.cat([memory_channels(known, settings, width) for known in memories])
    return led_back(flow, torch.cat(starts), tokens, hidden, noise)


def led_back(
    flow: Flow,
    latents: torch.Tensor,
    tokens: torch.Tensor,
    memory: torch.Tensor,
    noise: float,
) -> torch.Tensor:
    """Latents (B, C, H, W) of those at time `noise`; tokens (B, 2 + N, W), memory as in `forward`.

    Euler steps with classifier-free guidance (Ho & Salimans 2022).
    """
    both = torch.cat([tokens, torch.zeros_like(tokens)])
    hidden = torch.cat([memory, torch.zeros_like(memory)])
    times = np.linspace(noise, 0.0, steps_for(flow.settings, noise) + 1)
    for now, then in itertools.pairwise(times):
        time = torch.full((2 * len(latents),), float(now))
        given, free = flow(torch.cat([latents, latents]), time, both, hidden).chunk(2)
        velocity = free + flow.settings.guidance * (given - free)
        latents = latents + float(then - now) * velocity
    return latents


def sample_each(
    flow: Flow,
    conditions: Sequence[Condition],
    memories: Sequence[Sequence[torch.Tensor]],
    creativity: float,
    seeds: Sequence[int],
) -> list[torch.Tensor]:
    """Latents (1, C, H, W) of each condition from its seed, those of equal noise and size at
    once."""
    kinds = [(noise_for(creativity, each), width_of(each, flow.settings)) for each in memories]
    found: dict[int, torch.Tensor] = {}
    for kind in dict.fromkeys(kinds):
        rows, noise = [row for row, each in enumerate(kinds) if each == kind], kind[0]
        latents = sample(
            flow,
            [conditions[row] for row in rows],
            [memories[row] for row in rows],
            noise,
            [seeds[row] for row in rows],
        )
        found.update((row, latents[at : at + 1]) for at, row in enumerate(rows))
    return [found[row] for row in range(len(kinds))]


def width_of(memories: Sequence[torch.Tensor], settings: FlowSettings) -> int:
    """Columns of latents that are made: as many as what is remembered has."""
    return int(memories[0].shape[-1]) if memories else settings.grid[1]


def draw_noise(settings: FlowSettings, width: int, seed: int) -> torch.Tensor:
    """(1, C, H, width). Drawn a grid at a time, so that a longer one begins like a shorter one."""
    random = torch.Generator().manual_seed(seed % 2**63)
    size = (1, settings.latent_channels, *settings.grid)
    parts = [torch.randn(size, generator=random) for _ in range(-(-width // settings.grid[1]))]
    return torch.cat(parts, -1)[..., :width]


def noise_for(creativity: float, memories: Sequence[object]) -> float:
    """Without a memory there is nothing to start from but noise."""
    return creativity if memories else 1.0


def steps_for(settings: FlowSettings, noise: float) -> int:
    """Less noise needs fewer steps back."""
    return int(np.ceil(settings.steps * noise))


def condition_rows(
    condition: Condition, settings: FlowSettings
) -> tuple[torch.Tensor, torch.Tensor]:
    """Vectors (1, 2 + N, D) and shares (1, 2 + N): fused, query, the N heaviest neighbours."""
    order = np.argsort(-condition.weights, kind="stable")[: settings.neighbours]
    vectors = np.zeros((2 + settings.neighbours, settings.dimension), np.float32)
    shares = np.zeros(2 + settings.neighbours, np.float32)
    vectors[0], vectors[1] = condition.fused, condition.query
    for slot, index in enumerate(order, start=2):
        vectors[slot], shares[slot] = condition.neighbours[index].vector, condition.weights[index]
    return torch.from_numpy(vectors)[None], torch.from_numpy(shares)[None]


def memory_channels(
    memories: Sequence[torch.Tensor], settings: FlowSettings, width: int
) -> torch.Tensor:
    """(1, S (C + 1), H, width): latents (1, C, H, width) and ones, or zeros where nothing is
    remembered."""
    size = (settings.latent_channels + 1, settings.grid[0], width)
    channels = torch.zeros(1, settings.slots, *size)
    for slot, memory in enumerate(memories[: settings.slots]):
        channels[:, slot, :-1], channels[:, slot, -1] = memory, 1.0
    return channels.flatten(1, 2)
