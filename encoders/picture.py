"""Pictures as an image tower wants them: on white, the whole of them on a square, normalised.

Pillow and numpy only: the same values as open_clip's transform with `resize_mode` longest, which
training uses. Knows nothing about models.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

MAX_ASPECT = 64  # a thinner picture is padded first: resizing it would leave no pixel

Floats = npt.NDArray[np.float32]


def on_white(picture: Image.Image) -> Image.Image:
    """RGB; transparency shows white, since drawings and stamps are made for a white page."""
    if picture.mode != "RGB":
        picture = picture.convert("RGBA")
        canvas = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(canvas, picture).convert("RGB")
    width, height = picture.size
    thinnest = -(-max(width, height) // MAX_ASPECT)
    if min(width, height) >= thinnest:
        return picture
    padded = Image.new("RGB", (max(width, thinnest), max(height, thinnest)), "white")
    padded.paste(picture, ((padded.width - width) // 2, (padded.height - height) // 2))
    return padded


@dataclass(frozen=True)
class Preparation:
    """What `open_clip_config.json` says about the input of the image tower."""

    side_px: int
    mean: tuple[float, ...]  # per channel, of values in [0, 1]
    std: tuple[float, ...]
    fill: int  # grey level beside a picture that is not square

    @classmethod
    def of(cls, folder: Path) -> Preparation:
        """Raises ValueError when the configuration asks for another kind of resizing."""
        config = json.loads((folder / "open_clip_config.json").read_text(encoding="utf-8"))
        given = config["preprocess_cfg"]
        if (given["resize_mode"], given["interpolation"]) != ("longest", "bicubic"):
            raise ValueError(f"{folder}: pictures are resized by longest side, bicubic, or not")
        return cls(
            side_px=config["model_cfg"]["vision_cfg"]["image_size"],
            mean=tuple(given["mean"]),
            std=tuple(given["std"]),
            fill=given["fill_color"],
        )

    def pixels(self, picture: Image.Image) -> Floats:
        """(3, H, W) of a picture of any mode."""
        rgb = on_white(picture)
        ratio = max(rgb.size) / self.side_px
        width, height = (round(length / ratio) for length in rgb.size)
        resized = rgb.resize((width, height), Image.Resampling.BICUBIC)
        page = Image.new("RGB", (self.side_px, self.side_px), (self.fill,) * 3)
        page.paste(resized, ((self.side_px - width) // 2, (self.side_px - height) // 2))
        channels = np.asarray(page).transpose(2, 0, 1)
        return np.stack([levels[c] for levels, c in zip(self._levels, channels, strict=True)])

    @cached_property
    def _levels(self) -> Floats:
        """(3, 256): of each byte value, per channel. A table is twice as fast as the formula."""
        scaled = np.arange(256, dtype=np.float32) / np.float32(255)
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        return np.asarray((scaled - mean[:, None]) / std[:, None], np.float32)
