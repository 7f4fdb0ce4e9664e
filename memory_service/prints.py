"""Pictures printed in two colours, so that a memory has a style, and how far colour carries over.

For memory swaps: what is made from a memory of prints is to look like a print. Knows no models.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from encoders.picture import on_white

# The colours that dark and light are printed in.
PRINTS = {"cyanotypes": ("#06265c", "#dfeaff"), "sepia prints": ("#2c1a0a", "#f0d9ae")}
SIDE_PX = 256  # of a print at most

Colour = npt.NDArray[np.float64]


def printed(picture: Image.Image, dark: str, light: str) -> Image.Image:
    """The picture on paper of the light colour, in the dark one."""
    drawn = picture.convert("RGBA")
    drawn.thumbnail((SIDE_PX, SIDE_PX))
    grey = ImageOps.autocontrast(on_white(drawn).convert("L"))
    return ImageOps.colorize(grey, dark, light)


def tint(picture: Image.Image) -> Colour:
    """Mean red, green and blue on white, less the grey in them, (3,)."""
    colour = np.asarray(on_white(picture), np.float64).reshape(-1, 3).mean(axis=0)
    found: Colour = colour - colour.mean()
    return found


def share_taken(made: tuple[Colour, Colour], sources: tuple[Colour, Colour]) -> float:
    """How much of the difference in tint of two memories is between what was made of them: 1 all
    of it, 0 none, below 0 the other way. 0 where the memories do not differ."""
    wanted = sources[0] - sources[1]
    length = float(wanted @ wanted)
    return float((made[0] - made[1]) @ wanted) / length if length > 1e-9 else 0.0
