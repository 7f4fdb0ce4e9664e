"""Sound encoder: STFT -> log-mel -> small convolutions -> recurrent network -> attention -> vector.

Its vectors lie in the space of profile `bundled`. Knows nothing about the other towers; imports
torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from encoders.base import Encoder, Space, Vectors, Waveform, normalize
from encoders.log_mel import N_MELS, SAMPLE_RATE, Floats, log_mel, resample

DYNAMIC_RANGE = 8.0  # natural log units below the loudest point (70 dB); what is fainter is silence
WINDOW_S = 8.0  # a longer sound is heard in windows, whose vectors are averaged
MIN_FRAMES = 64  # a shorter sound is followed by silence: about one second
BATCH = 16  # windows per forward pass


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


def levelled(spectrogram: Floats) -> Floats:
    """Log-mel (80, T) -> [-1, 1], 1 the loudest point: the same for the same sound made louder.

    Silence is -1 everywhere. At least MIN_FRAMES long.
    """
    loudest = float(spectrogram.max())
    scaled = np.clip((spectrogram - loudest) / DYNAMIC_RANGE * 2 + 1, -1.0, 1.0)
    if loudest <= np.log(1e-4):  # nothing but rounding noise: there is no loudest point
        scaled = np.full_like(scaled, -1.0)
    missing = max(0, MIN_FRAMES - scaled.shape[1])
    return np.pad(scaled, ((0, 0), (0, missing)), constant_values=-1.0).astype(np.float32)


def windows(sound: Waveform) -> Iterator[Floats]:
    """Levelled spectrograms (80, T) of successive windows of at most WINDOW_S seconds.

    A rest of less than a quarter window belongs to the last window only if it is the only one.
    """
    samples = resample(sound)
    length = int(WINDOW_S * SAMPLE_RATE)
    starts = range(0, max(len(samples), 1), length)
    for start in starts:
        piece = samples[start : start + length]
        if start == 0 or len(piece) >= length // 4:
            yield levelled(log_mel(piece))


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
        return np.stack([self._one(sound) for sound in batch])

    @torch.inference_mode()
    def _one(self, sound: Waveform) -> Vectors:
        """(D,): the mean over windows. Sounds differ in length, so each is a batch of its own."""
        rows = []
        pending: list[Floats] = []
        for spectrogram in windows(sound):
            if (pending and spectrogram.shape != pending[0].shape) or len(pending) == BATCH:
                rows.append(self._forward(pending))
                pending = []
            pending.append(spectrogram)
        rows.append(self._forward(pending))
        return normalize(np.concatenate(rows)).mean(axis=0)  # type: ignore[no-any-return]

    def _forward(self, spectrograms: list[Floats]) -> Vectors:
        rows: Vectors = self.tower(torch.from_numpy(np.stack(spectrograms))).numpy()
        return rows
