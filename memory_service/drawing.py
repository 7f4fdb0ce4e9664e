"""Words on pictures, in the face that Pillow carries."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import cache
from unicodedata import category, combining, normalize

from PIL import ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def paragraph(
    draw: ImageDraw.ImageDraw,
    at: tuple[int, int],
    text: str,
    face: Font,
    fill: str,
    width: int,
    lines: int,
) -> int:
    """Write at most `lines` lines, the last one shortened; returns where the next would start."""
    x, y = at
    wrapped = wrap(draw, drawable(text).split(), face, width)
    if len(wrapped) > lines:
        wrapped = [*wrapped[: lines - 1], " ".join(wrapped[lines - 1 :])]
    step = round(1.3 * (getattr(face, "size", 10)))
    for line in wrapped:
        draw.text((x, y), shorten(draw, line, face, width), fill, face)
        y += step
    return y


def drawable(text: str) -> str:
    """Without dashes and accents that the face has no glyph for."""
    return "".join(
        "-" if category(c) == "Pd" else c for c in normalize("NFKD", text) if not combining(c)
    )


def wrap(draw: ImageDraw.ImageDraw, words: Sequence[str], face: Font, width: int) -> list[str]:
    lines: list[str] = []
    for word in words:
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and draw.textlength(longer, face) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def shorten(draw: ImageDraw.ImageDraw, line: str, face: Font, width: int) -> str:
    if draw.textlength(line, face) <= width:
        return line
    # The first length that is too long: halving, since a line may have thousands of characters.
    most = bisect_left(
        range(len(line)), True, key=lambda n: draw.textlength(f"{line[:n]}…", face) > width
    )
    return f"{line[: max(most - 1, 0)].rstrip()}…"


@cache
def font(size: int) -> Font:
    """The face that Pillow carries: the same on every machine."""
    return ImageFont.load_default(size)
