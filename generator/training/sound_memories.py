"""What the sound flow learns from: sounds as latents, each with memories that it is made from.

Knows nothing about the flow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from generator.audio import SoundSettings
from generator.latent_flow import per_channel
from generator.training.sounds import Remembered, Sounds, mixture, remember, similar_sounds

# latents (B, C, H, W), vectors (B, 2 + N, D), shares (B, 2 + N), memory (B, C + 1, H, W)
Drawn = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
Encode = Callable[[npt.NDArray[Any]], torch.Tensor]  # log-mels to latents

VARIANTS = 3  # memories drawn for each sound, their mixtures encoded once
# Each is left out by itself, so that any subset of them is enough, and what is remembered does not
# stand for the query where there is nothing left of it but noise.
DROP_QUERY, DROP_FUSED, DROP_VECTORS, DROP_LATENTS = 0.1, 0.1, 0.1, 0.2
DROP_ALL = 0.1  # for classifier-free guidance


class SoundMemories:
    """Sounds of one split; mixtures of what is remembered are encoded at the start. `empty`: the
    same draws, and nothing that is remembered is given."""

    def __init__(
        self,
        encode: Encode,
        settings: SoundSettings,
        sounds: Sounds,
        seed: int,
        *,
        empty: bool = False,
    ) -> None:
        self._empty = empty
        random = np.random.default_rng(seed)
        self._sounds = sounds
        count = settings.flow.neighbours
        similar = similar_sounds(sounds, min(12, len(sounds) - 1), seed)
        self._memories = [
            [remember(row, sounds, similar, count, random) for row in range(len(sounds))]
            for _ in range(VARIANTS)
        ]
        mean, scale = per_channel(settings.latent_mean), per_channel(settings.latent_scale)
        self._latents = (encode(sounds.mels) - mean) / scale
        self._known = [
            self._channels((encode(self._mixtures(each)) - mean) / scale, each)
            for each in self._memories
        ]

    def _mixtures(self, memories: list[Remembered]) -> npt.NDArray[np.float16]:
        """(N, N_MELS, frames); silence where nothing is remembered."""
        mels = self._sounds.mels
        silence = np.zeros(mels.shape[1:], np.float32)
        made = [
            mixture(mels, each.rows, each.weights) if each.rows else silence for each in memories
        ]
        return np.stack(made).astype(np.float16)

    def _channels(self, latents: torch.Tensor, memories: list[Remembered]) -> torch.Tensor:
        """(N, C + 1, H, W): the last channel says whether anything is remembered."""
        there = torch.tensor([bool(each.rows) for each in memories])[:, None, None, None]
        return torch.cat([latents, torch.ones_like(latents[:, :1])], 1) * there

    def draw(self, random: np.random.Generator, size: int, *, whole: bool = False) -> Drawn:
        """Sounds with a memory each; unless `whole`, parts of query and memory are left out."""
        rows = random.choice(len(self._sounds), size, p=self._sounds.rates)
        variants = random.integers(VARIANTS, size=size)
        drawn = [self._memories[v][row] for v, row in zip(variants, rows, strict=True)]
        vectors = np.stack([each.vectors for each in drawn])
        shares = np.stack([each.shares for each in drawn])
        pairs = zip(variants, rows, strict=True)
        memory = torch.stack([self._known[v][row] for v, row in pairs])
        if self._empty:
            vectors[:, 0] = vectors[:, 1]  # nothing is joined with the query
            vectors[:, 2:] = shares[:, 2:] = 0
            memory = torch.zeros_like(memory)
        if not whole:
            left_out = random.random((4, size)) < np.array(
                [[DROP_FUSED], [DROP_QUERY], [DROP_VECTORS], [DROP_LATENTS]]
            )
            left_out |= random.random(size) < DROP_ALL
            vectors[:, 0] *= ~left_out[0, :, None]
            vectors[:, 1] *= ~left_out[1, :, None]
            vectors[:, 2:] *= ~left_out[2, :, None, None]
            shares[:, 2:] *= ~left_out[2, :, None]
            memory = memory * torch.from_numpy(~left_out[3])[:, None, None, None]
        return self._latents[rows], torch.from_numpy(vectors), torch.from_numpy(shares), memory
