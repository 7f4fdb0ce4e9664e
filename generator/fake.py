"""Deterministic generators for tests: no weights, no torch; media are drawn from the condition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from encoders.base import Modality, Waveform
from generator.base import Condition, Generated, Generator

MODALITIES: tuple[Modality, ...] = ("image", "text", "audio")  # that it can make
SIDE_PX = 16
SAMPLE_RATE = 16_000


class FakeGenerator(Generator):
    """Output is a function of fused vector, neighbours' ids, seed and creativity."""

    def __init__(self, modality: Modality, space_id: str) -> None:
        self.name = f"fake-{modality}"
        self.modality = modality  # type: ignore[misc]  # one class serves all three
        self.space_id = space_id
        self.fingerprint = f"fake-{modality}-1"

    def generate(self, condition: Condition, *, seed: int, creativity: float) -> Generated:
        random = np.random.default_rng(seed)
        noise = random.standard_normal(condition.fused.shape) * creativity
        values = (condition.fused + noise).astype(np.float32)
        return Generated(self._media(values, condition), {"memories": len(condition.neighbours)})

    def recode(self, media: Sequence[Any]) -> Any | None:
        """The picture or sound as it is: the first one, in the size that is made."""
        if self.modality == "image":
            return media[0].convert("RGB").resize((SIDE_PX, SIDE_PX))
        return media[0] if self.modality == "audio" else None

    def _media(self, values: Any, condition: Condition) -> Any:
        match self.modality:
            case "image":
                pixels = np.resize((np.tanh(values) + 1) * 127.5, (SIDE_PX, SIDE_PX, 3))
                return Image.fromarray(pixels.astype(np.uint8))
            case "audio":
                time = np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
                tones = [
                    np.sin(2 * np.pi * (200 + 2000 * abs(float(v))) * time) for v in values[:4]
                ]
                return Waveform(np.mean(tones, axis=0).astype(np.float32), SAMPLE_RATE)
            case _:
                texts = [n.media for n in condition.neighbours if n.modality == "text"]
                code = int(abs(float(values[:8].sum())) * 1e6) % 10_000
                return " / ".join([*texts[:2], f"imagined {code}"])


def fake_generators(space_id: str) -> dict[Modality, Generator]:
    return {modality: FakeGenerator(modality, space_id) for modality in MODALITIES}
