"""What is on a card, ready to be shown. Knows neither how, nor where it comes from."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from PIL import Image

from encoders.base import Waveform
from memory_service.records import Generation, GenerationOutput, MemoryShare
from memory_service.spectrogram import spectrogram

SIDE_PX = 192  # of thumbnails
MOST_CHARS = 400  # of a text on a card


@dataclass(frozen=True)
class Shown:
    """A picture, text or sound: `picture` is a thumbnail or a spectrogram."""

    modality: str
    picture: Image.Image | None = None
    text: str | None = None
    sound: bytes | None = None  # WAV, to be played


@dataclass(frozen=True)
class Remembered:
    share: MemoryShare
    shown: Shown
    caption: str


@dataclass(frozen=True)
class Output:
    record: GenerationOutput
    shown: Shown

    @property
    def facts(self) -> Mapping[str, str]:
        """Name and value, as they are told."""
        made = {"generator": self.record.generator, "seed": str(self.record.seed)}
        if self.record.novelty is not None:
            made["novelty"] = f"{self.record.novelty:.2f} (1 - cosine)"
        if self.record.media_novelty is not None:
            novelty = self.record.media_novelty
            made["to the nearest"] = f"{novelty.value:.2f} ({novelty.measure})"
        if self.record.draws:
            made["draws"] = str(len(self.record.draws))
            scores = [f"{each.score:.2f}" for each in self.record.draws if each.score is not None]
            if scores:
                made["how they fit"] = " ".join(scores)
        return made


@dataclass(frozen=True)
class Card:
    record: Generation
    memories: tuple[Remembered, ...]  # the heaviest first
    outputs: tuple[Output, ...]
    more: int  # memories that are left out

    @property
    def asked(self) -> list[str]:
        """The parts of the query in words."""
        parts = []
        for part in self.record.query:
            notes = [] if part.text is not None else ["not kept"]
            notes += [] if part.weight == 1 else [f"weight {part.weight:g}"]
            told = _named(part.modality) if part.text is None else f"“{shortened(part.text)}”"
            parts.append(f"{told} ({', '.join(notes)})" if notes else told)
        return parts or ["a query that was not recorded"]

    @property
    def date(self) -> str:
        return datetime.fromtimestamp(self.record.created_at, UTC).strftime("%Y-%m-%d %H:%M UTC")

    @property
    def explained(self) -> list[str]:
        """Modalities whose effects were measured."""
        return [
            output.record.modality
            for output in self.outputs
            if any(each.share.effects.get(output.record.modality) is not None
                   for each in self.memories)
        ]  # fmt: skip

    @property
    def scale(self) -> float:
        """The effect that a full bar stands for."""
        effects = [effect for each in self.memories for effect in each.share.effects.values()]
        return max([1.0, *effects])

    @property
    def settings(self) -> Mapping[str, str]:
        record = self.record
        return {
            "seed": str(record.seed),
            "creativity": f"{record.creativity:g}",
            "fusion": record.fusion,
            **{f"{modality} mode": mode for modality, mode in record.modes.items()},
            **{f"agreement {pair}": f"{each:.2f}" for pair, each in record.agreement.items()},
        }

    @property
    def fingerprints(self) -> Mapping[str, str]:
        told = {f"space {self.record.space_id}": self.record.space_fingerprint}
        if self.record.fusion_fingerprint is not None:
            told[f"fusion {self.record.fusion}"] = self.record.fusion_fingerprint
        for output in self.outputs:
            told[output.record.generator] = output.record.generator_fingerprint
        return told


def show(modality: str, media: Any, sound: bytes | None = None) -> Shown:
    """Decoded media as they are shown; what is neither picture, text nor sound has only a name."""
    if isinstance(media, Image.Image):
        picture = media.convert("RGB")
        if max(picture.size) > SIDE_PX:
            picture.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)
        return Shown(modality, picture)
    if isinstance(media, Waveform):
        drawn = spectrogram(media).resize((SIDE_PX, SIDE_PX // 2), Image.Resampling.BILINEAR)
        return Shown(modality, drawn, sound=sound)
    if isinstance(media, str):
        return Shown(modality, text=shortened(media))
    return Shown(modality)


def png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def shortened(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= MOST_CHARS else words[: MOST_CHARS - 1] + "…"


def _named(modality: str | None) -> str:
    names = {"image": "a picture", "audio": "a sound", "sensor": "a series"}
    return "a vector" if modality is None else names.get(modality, modality)
