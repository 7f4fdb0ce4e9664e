"""Sound encoder: STFT -> log-mel -> small convolutions -> recurrent network -> attention -> vector.

Its vectors lie in the space of profile `bundled`. Knows nothing about the other towers; imports
torch.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from encoders.base import Encoder, Space, Vectors
from encoders.log_mel import N_MELS, Floats
from encoders.sound_windows import sound_vector


@dataclass(frozen=True)
class AudioConfig:
    """Sizes of the tower."""

    dimension: int = 384
    channels: tuple[int, int, int] = (16, 32, 48)  # of the convolutions
    frame: int = 160  # what the recurrent network sees of 64 ms
    hidden: int = 256  # of the recurrent network, each direction
    projection: int = 768  # hidden units of the projection


class AudioTower(nn.Module):
    """Levelled log-mel spectrograms (B, 80, T) -> vectors (B, D), not normalised."""

    def __init__(self, config: AudioConfig, dropout: float = 0.0) -> None:
        super().__init__()
        first, second, third = config.channels
        self.front = nn.Sequential(
            _convolution(1, first, (2, 2)),
            _convolution(first, second, (2, 2)),
            _convolution(second, third, (2, 1)),
        )
        self.frame = nn.Linear(third * N_MELS // 8, config.frame)
        self.recurrent = nn.GRU(config.frame, config.hidden, batch_first=True, bidirectional=True)
        self.attention = nn.Linear(2 * config.hidden, 1)
        self.dropout = nn.Dropout(dropout)
        self.projection = nn.Sequential(
            nn.Linear(2 * config.hidden, config.projection),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(config.projection, config.dimension),
        )

    def forward(self, spectrogram: torch.Tensor) -> torch.Tensor:
        maps = self.front(spectrogram[:, None])  # (B, C, 10, T / 4)
        frames = torch.relu(self.frame(maps.flatten(1, 2).transpose(1, 2)))  # (B, T / 4, F)
        states, _ = self.recurrent(self.dropout(frames))  # (B, T / 4, 2 H)
        shares = torch.softmax(self.attention(states), dim=1)
        pooled = (shares * states).sum(dim=1)  # (B, 2 H)
        return self.projection(self.dropout(pooled))  # type: ignore[no-any-return]


def _convolution(inputs: int, outputs: int, stride: tuple[int, int]) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class AudioEncoder(Encoder):
    """Sounds of any length and rate; safe to call from several threads."""

    modality = "audio"

    def __init__(self, tower: AudioTower, space: Space) -> None:
        self.tower = tower.eval().requires_grad_(False)
        self.space = space

    @classmethod
    def open(cls, folder: Path, space: Space) -> AudioEncoder:
        """Load `audio.json` and `audio.safetensors`."""
        sizes = json.loads((folder / "audio.json").read_text(encoding="utf-8"))
        sizes["channels"] = tuple(sizes["channels"])
        tower = AudioTower(AudioConfig(**sizes))
        tower.load_state_dict(load_file(folder / "audio.safetensors"))
        return cls(tower, space)

    def _encode(self, batch: Sequence[Any]) -> Vectors:
        return np.stack([sound_vector(sound, self._forward) for sound in batch])

    @torch.inference_mode()
    def _forward(self, spectrograms: Floats) -> Vectors:
        rows: Vectors = self.tower(torch.from_numpy(spectrograms)).numpy()
        return rows
