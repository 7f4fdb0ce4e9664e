"""Memory swap: prints of pictures, and whether what is made follows them."""

import io

import pytest
from PIL import Image

from memory_service import prints
from memory_service.demo import swap
from memory_service.demo.findings import Item, Made, Panel


def png(*colours: str | tuple[int, ...]) -> bytes:
    """A row of squares."""
    picture = Image.new("RGBA", (8 * len(colours), 8))
    for number, colour in enumerate(colours):
        picture.paste(colour, (8 * number, 0, 8 * number + 8, 8))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def item(content: bytes) -> Item:
    return Item("image", content, "image/png", "")


def panel(name: str, source: bytes, *made: bytes) -> Panel:
    return Panel(name, item(source), tuple(Made(item(m), "", 0.5, None, "g") for m in made))


def test_a_print_is_in_its_two_colours_and_what_is_empty_is_paper() -> None:
    printed = swap.print_of(png("black", "white", (0, 0, 0, 0)), "#06265c", "#dfeaff")
    with Image.open(io.BytesIO(printed)) as opened:
        pixels = opened.convert("RGB")
    assert pixels.size == (24, 8)
    assert pixels.getpixel((2, 2)) == (0x06, 0x26, 0x5C)
    assert pixels.getpixel((10, 2)) == pixels.getpixel((20, 2)) == (0xDF, 0xEA, 0xFF)


def test_a_large_picture_is_made_small() -> None:
    printed = swap.print_of(png(*["red"] * 100), "#000000", "#ffffff")
    with Image.open(io.BytesIO(printed)) as opened:
        assert max(opened.size) == prints.SIDE_PX


def test_colour_follows_or_does_not() -> None:
    blue, brown = png("navy", "white"), png("sienna", "white")
    faint_blue, faint_brown = png("lightblue", "white"), png("beige", "white")
    whole = [panel("a", blue, blue, faint_blue), panel("b", brown, brown, faint_brown)]
    taken, faint = swap._shares(whole)
    assert taken == pytest.approx(1)
    assert 0 < faint < 0.9
    crossed = [panel("a", blue, brown), panel("b", brown, blue)]
    assert swap._shares(crossed) == pytest.approx((-1,))
    ignored = [panel("a", blue, png("gray")), panel("b", brown, png("gray"))]
    assert swap._shares(ignored) == pytest.approx((0,))
    assert swap._shares([panel("a", blue, blue), panel("b", blue, brown)]) == (0.0,)
