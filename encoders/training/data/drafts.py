"""What a source yields, before concepts and splits are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Draft:
    """`concept_hint` replaces the caption as the origin of the concept where it says it better."""

    path: str  # relative to the collection; also the item's id
    source: str
    style: str
    modality: Literal["image", "audio"]
    caption: str
    tags: tuple[str, ...]
    episode: str
    licence: str
    concept_hint: str = ""
    # Another way to show what others show: never trained on, whatever its concept.
    independent: bool = False
