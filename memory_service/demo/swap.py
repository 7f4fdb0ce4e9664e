"""Memory swap: the same queries with two other memories in place of the sample.

The other memories hold what is nearest to the queries, printed in other colours, under a namespace
each. Nothing is trained in between: what changes in the pictures that are made comes from memory.
"""

from __future__ import annotations

import io
import itertools
from pathlib import Path

from PIL import Image

from memory_service.client import Memory
from memory_service.demo.findings import Item, Made, Panel, Swap
from memory_service.demo.plan import SEED, SWAP_CREATIVITY
from memory_service.demo.service import DemoError
from memory_service.demo.walk import Walk
from memory_service.prints import PRINTS, Colour, printed, share_taken, tint

OWN = "the sample"
NEIGHBOURS = 8  # pictures for each query in each other memory


def swap(walk: Walk, texts: tuple[str, ...], out: Path) -> tuple[Swap, ...]:
    """Makes the other memories, then asks all three for each text."""
    _print(walk, texts)
    return tuple(_swap(walk, text, out) for text in texts)


def print_of(picture: bytes, dark: str, light: str) -> bytes:
    """A PNG of the picture on paper of the light colour, in the dark one."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(picture)) as opened:
        printed(opened, dark, light).save(buffer, "PNG")
    return buffer.getvalue()


def _namespace(name: str) -> str:
    return name.replace(" ", "-")


def _print(walk: Walk, texts: tuple[str, ...]) -> None:
    near: dict[str, Memory] = {}
    for text in texts:
        found = walk.client.retrieve(text=text, modalities=("image",), k=NEIGHBOURS)
        near |= {hit.memory.id: hit.memory for hit in found.hits["image"]}
    for name, colours in PRINTS.items():
        for memory in near.values():
            item = walk.item(memory)
            picture = print_of(item.content, *colours)
            walk.client.store(image=picture, text=item.caption, namespace=_namespace(name))


def _swap(walk: Walk, text: str, out: Path) -> Swap:
    panels = [_panel(walk, text, OWN, "default", out)]
    panels += [_panel(walk, text, name, _namespace(name), out) for name in PRINTS]
    return Swap(text, tuple(panels), _shares(panels))


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


def _shares(panels: list[Panel]) -> tuple[float, ...]:
    """Of each pair of pictures, made alike from two memories: the share that they take of the
    difference in colour between what is remembered."""
    return tuple(
        share_taken((_tint(a.item), _tint(b.item)), (_tint(one.source), _tint(other.source)))
        for one, other in itertools.combinations(panels, 2)
        for a, b in zip(one.made, other.made, strict=True)
    )


def _tint(item: Item) -> Colour:
    with Image.open(io.BytesIO(item.content)) as opened:
        return tint(opened)
