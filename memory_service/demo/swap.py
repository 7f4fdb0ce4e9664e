"""Memory swap: the same queries with two other memories in place of the sample.

The other memories hold what is nearest to the queries, printed in other colours, under a namespace
each. Nothing is trained in between: what changes in the pictures that are made comes from memory.
"""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from encoders.picture import on_white
from memory_service.client import Memory
from memory_service.demo.findings import Item, Made, Panel, Swap
from memory_service.demo.plan import SEED, SWAP_CREATIVITY
from memory_service.demo.service import DemoError
from memory_service.demo.walk import Walk

OWN = "the sample"
# Namespace of each other memory, and the colours that dark and light are printed in.
PRINTS = {"cyanotypes": ("#06265c", "#dfeaff"), "sepia-prints": ("#2c1a0a", "#f0d9ae")}
NEIGHBOURS = 8  # pictures for each query in each other memory
SIDE = 256  # of a print at most

Colour = npt.NDArray[np.float64]


def swap(walk: Walk, texts: tuple[str, ...], out: Path) -> tuple[Swap, ...]:
    """Makes the other memories, then asks all three for each text."""
    _print(walk, texts)
    return tuple(_swap(walk, text, out) for text in texts)


def printed(picture: bytes, dark: str, light: str) -> bytes:
    """A PNG of the picture on paper of the light colour, in the dark one."""
    with Image.open(io.BytesIO(picture)) as opened:
        drawn = opened.convert("RGBA")
    drawn.thumbnail((SIDE, SIDE))
    grey = ImageOps.autocontrast(on_white(drawn).convert("L"))
    print_ = ImageOps.colorize(grey, dark, light)
    buffer = io.BytesIO()
    print_.save(buffer, "PNG")
    return buffer.getvalue()


def _print(walk: Walk, texts: tuple[str, ...]) -> None:
    near: dict[str, Memory] = {}
    for text in texts:
        found = walk.client.retrieve(text=text, modalities=("image",), k=NEIGHBOURS)
        near |= {hit.memory.id: hit.memory for hit in found.hits["image"]}
    for namespace, colours in PRINTS.items():
        for memory in near.values():
            item = walk.item(memory)
            picture = printed(item.content, *colours)
            walk.client.store(image=picture, text=item.caption, namespace=namespace)


def _swap(walk: Walk, text: str, out: Path) -> Swap:
    panels = [_panel(walk, text, OWN, "default", out)]
    panels += [_panel(walk, text, name.replace("-", " "), name, out) for name in PRINTS]
    return Swap(text, tuple(panels), _followed(panels))


def _panel(walk: Walk, text: str, name: str, namespace: str, out: Path) -> Panel:
    made: list[Made] = []
    source: Item | None = None
    for creativity in SWAP_CREATIVITY:
        generation = walk.client.generate(
            text=text, output=("image",), namespace=namespace, creativity=creativity, seed=SEED
        )
        made += walk.made(f"{text} from {name}", generation, out)
        if source is None:
            pictures = [each for each in generation.memories if each.modality == "image"]
            if not pictures:
                raise DemoError(f"{text!r} was made from no picture of {name}")
            heaviest = max(pictures, key=lambda share: share.weight)
            source = walk.item(walk.client.memory(heaviest.memory_id))
    assert source is not None
    return Panel(name, source, tuple(made))


def _followed(panels: list[Panel]) -> tuple[int, int]:
    """Between how many pairs of pictures, made alike from two memories, colour changes the way that
    it does between what is remembered; of how many."""
    alike = [
        float((_tint(a.item) - _tint(b.item)) @ (_tint(one.source) - _tint(other.source))) > 0
        for one, other in itertools.combinations(panels, 2)
        for a, b in zip(one.made, other.made, strict=True)
    ]
    return sum(alike), len(alike)


def _tint(item: Item) -> Colour:
    """Mean red, green and blue on white, less the grey in them, (3,)."""
    with Image.open(io.BytesIO(item.content)) as opened:
        pixels = np.asarray(on_white(opened), np.float64)
    colour = pixels.reshape(-1, 3).mean(axis=0)
    tint: Colour = colour - colour.mean()
    return tint
