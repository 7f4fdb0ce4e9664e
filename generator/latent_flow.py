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

SOONEST = 0.05  # time before which a way back would be too short to divide by
LATE_SHARE, LATE_FROM = 0.2, 0.85
# Mean and deviation of the times' logits; the second where latents differ in prominence, the fine
# ones of which are drawn out of little noise.
TIMES, TIMES_WITH_SPREAD = (0.0, 1.0), (-0.5, 1.2)


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
    lead_until: float = 0.0  # time up to which the last lead of guidance is kept
    # Standard deviation of each latent. With it, a linear guess of the velocity is given, and the
    # network learns what it lacks, and where the best memory is to come back as it is; empty: the
    # network is to know all by itself.
    spread: tuple[float, ...] = ()


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
            out_channels=settings.latent_channels + bool(settings.spread),
            down_block_types=("CrossAttnDownBlock2D",) * len(channels),
            mid_block_type="UNetMidBlock2DCrossAttn",
            up_block_types=("CrossAttnUpBlock2D",) * len(channels),
            block_out_channels=channels,
            layers_per_block=1,
            cross_attention_dim=settings.token_width,
            attention_head_dim=4,  # in diffusers' UNet this is the number of heads
            norm_num_groups=16,
        )
        self.spread: torch.Tensor | None = None  # (C,)
        if settings.spread:
            del self.spread
            # Kept with the weights, so that a graph made from them holds none of its values.
            self.register_buffer("spread", torch.tensor(settings.spread))

    def forward(
        self, noised: torch.Tensor, time: torch.Tensor, tokens: torch.Tensor, memory: torch.Tensor
    ) -> torch.Tensor:
        """noised (B, C, H, W), time (B,), memory (B, S (C + 1), H, W) -> velocity (B, C, H, W).

        With `spread`, the best linear guess by the noised latents is added, and all that goes in
        and out has unit variance (Karras et al. 2022, EDM). Then one channel more says of each
        place how much it is the best memory's, from 0 to 1: see `towards_memory`.
        """
        if self.spread is None:
            return self._network(noised, time, tokens, memory)
        channels = self.settings.latent_channels
        of_data = self.spread[:, None, None].square()
        late = time[:, None, None, None]
        variance = (1 - late) ** 2 * of_data + late**2
        guess = (late - (1 - late) * of_data) / variance * noised
        made = self._network(
            noised / variance.sqrt(), time, tokens, memory / self._spread_of_memory(self.spread)
        )
        velocity = guess + (of_data / variance).sqrt() * made[:, :channels]
        recalled = made[:, channels:].sigmoid() * memory[:, channels : channels + 1]
        return torch.cat([velocity, recalled], 1)

    def _network(
        self, noised: torch.Tensor, time: torch.Tensor, tokens: torch.Tensor, memory: torch.Tensor
    ) -> torch.Tensor:
        made: torch.Tensor = self.unet(
            torch.cat([noised, memory], 1), time * 1000, encoder_hidden_states=tokens
        ).sample
        return made

    def _spread_of_memory(self, spread: torch.Tensor) -> torch.Tensor:
        """(S (C + 1), 1, 1); the mark of a slot stays as it is."""
        slot = torch.cat([spread, torch.ones_like(spread[:1])])
        return slot.repeat(self.settings.slots)[:, None, None]


def towards_memory(
    said: torch.Tensor,
    velocity: torch.Tensor,
    noised: torch.Tensor,
    time: torch.Tensor,
    memory: torch.Tensor,
) -> torch.Tensor:
    """The velocity (B, C, H, W), led to the best memory as far as the flow `said` that it is it.

    All else as in `LatentFlow.forward`, whose answer `said` is.
    """
    channels = velocity.shape[1]
    if said.shape[1] == channels:
        return velocity
    best = (noised - memory[:, :channels]) / time.clamp_min(SOONEST)[:, None, None, None]
    return velocity + said[:, channels:] * (best - velocity)


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
    centre, width = TIMES_WITH_SPREAD if flow.settings.spread else TIMES
    time = torch.sigmoid(centre + width * torch.randn(len(latents), device=latents.device))
    late = torch.rand_like(time) < LATE_SHARE
    time = torch.where(late, LATE_FROM + (1 - LATE_FROM) * torch.rand_like(time), time)
    share = time[:, None, None, None]
    noised = (1 - share) * latents + share * noise
    said = flow(noised, time, flow.tokens(vectors, shares), memory).float()
    velocity = towards_memory(said, said[:, : latents.shape[1]], noised, time, memory)
    loss: torch.Tensor = (velocity - (noise - latents)).square().mean()
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

    Euler steps with classifier-free guidance (Ho & Salimans 2022), which needs each row twice. It
    leads nearly the same way at the next time, so late ones keep it, and compute each row once
    (Castillo et al. 2023, "Adaptive Guidance"). What is recalled as it is, is no direction to go
    further in: it comes after guidance.
    """
    settings, (count, channels) = flow.settings, latents.shape[:2]
    both = torch.cat([tokens, torch.zeros_like(tokens)])
    hidden = torch.cat([memory, torch.zeros_like(memory)])
    times = np.linspace(noise, 0.0, steps_for(settings, noise) + 1)
    lead: torch.Tensor | None = None
    for now, then in itertools.pairwise(times):
        time = torch.full((2 * count,), float(now))
        if lead is None or now > settings.lead_until:
            said = flow(torch.cat([latents, latents]), time, both, hidden)
            given, free = said[:, :channels].chunk(2)
            lead = (settings.guidance - 1) * (given - free)
            said = said[:count]
        else:
            said = flow(latents, time[:count], tokens, memory)
        velocity = said[:, :channels] + lead
        velocity = towards_memory(said, velocity, latents, time[:count], memory)
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


def per_channel(values: Sequence[float]) -> torch.Tensor:
    """(1, C, 1, 1)."""
    return torch.tensor(values, dtype=torch.float32)[None, :, None, None]
