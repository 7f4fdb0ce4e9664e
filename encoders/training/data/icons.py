"""Icons with telling names, for concepts that emoji and clip art lack."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from encoders.training.data.drafts import Draft
from encoders.training.data.iconify import icon_files
from encoders.training.data.media import open_picture, save_picture

SOURCE = "icons"
SIDE_PX = 128
LICENCES = {
    "game-icons": "CC-BY-3.0",
    "streamline-ultimate-color": "CC-BY-4.0",
    "streamline-freehand-color": "CC-BY-4.0",
    "streamline-emojis": "CC-BY-4.0",
    "flat-color-icons": "MIT",
    "temaki": "CC0-1.0",
}
# Numbered and drawn-again variants bear the same name; "abstract-011" has none.
_VARIANT = re.compile(r"\b(?:\d+|abstract|alternate|flat|bold|circle)\b")


def drafts(out: Path, cache: Path) -> Iterator[Draft]:
    for style, licence in LICENCES.items():
        for name, source in icon_files(style, cache).items():
            caption = caption_of(name)
            if len(caption) < 3:
                continue
            path = f"{SOURCE}/{style}/{name}.png"
            if not (out / path).exists():
                save_picture(open_picture(source, SIDE_PX), out / path, SIDE_PX)
            yield Draft(
                path=path,
                source=SOURCE,
                style=style,
                modality="image",
                caption=caption,
                tags=(),
                episode=f"{SOURCE}/{style}/{name}",
                licence=licence,
            )


def caption_of(name: str) -> str:
    """The icon's name in words."""
    return " ".join(_VARIANT.sub(" ", name.replace("-", " ")).split())
