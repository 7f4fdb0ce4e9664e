"""Build the vocabulary of tags, and measure them: `python -m generator.training.tags`.

Words are tags of the train split that at least three concepts bear; they are committed with their
vectors. Measured on pictures of the test split: precision, recall and F1 of the tags against those
that people gave, with and without a memory of tagged pictures of other concepts.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table
from safetensors.numpy import save

from encoders.base import Encoder, Vectors
from encoders.media import on_white
from encoders.registry import load_profile
from encoders.training.data.records import Item, load_collection
from generator.base import Condition, Neighbour
from generator.fusion import fuse
from generator.registry import WEIGHTS
from generator.tags import TagGenerator, load_vocabulary

CONCEPTS = 3  # that bear a tag
SOURCES = ("emoji", "openclipart", "stamps")  # whose tags people gave with care
# Names of themes and folders, and chat slang: no words for what is seen.
_DROPPED = """
aiga symbols, arttools, big cats, bodypart, callouts, cardbacks, connectors, e mail, filesystems,
etiquette theme, flat theme, lemon theme, icons, ideograph, index, input, map symbols, masstransit,
mimetypes, naturalforces, not, o clock, over, stuck out, symbols, adorbs, babe, bae, bff, bro,
chick, crazy, haha, hehe, homie, ily, lmao, lol, meh, mwah, omg, rofl, sexy, tbt, ugh, whatever,
whoa, wow, xoxo, yolo, you, zzz
"""
DROPPED = frozenset(each.strip() for each in _DROPPED.split(","))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="tags", description=__doc__)
    parser.add_argument("--collection", type=Path, default=Path("collection"))
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--count", type=int, default=250, help="pictures that are measured")
    parser.add_argument("--memory", type=int, default=1500, help="pictures that are remembered")
    parser.add_argument("--measure-only", action="store_true")
    args = parser.parse_args(argv)
    items = [each for each in load_collection(args.collection) if each.modality == "image"]
    encoders = load_profile("bundled").encoders
    if not args.measure_only:
        write(vocabulary(items), encoders["text"], args.weights)
    study = Study(args.collection, encoders["text"], encoders["image"], args.weights)
    remembered = study.drawn(items, "train", args.memory)
    table = Table("pictures of", "memory", "precision", "recall", "F1", "tags per picture")
    for split in ("validation", "test"):
        asked = study.drawn(items, split, args.count)
        for k in (0, 4):
            figures = study.measure(asked, remembered, k)
            table.add_row(split, f"k = {k}", *(f"{each:.2f}" for each in figures))
    Console().print(table)


def vocabulary(items: Sequence[Item]) -> list[str]:
    concepts = defaultdict(set)
    for item in items:
        if item.split == "train":
            for tag in tags_of(item):
                concepts[tag].add(item.concept)
    return sorted(tag for tag, bearing in concepts.items() if len(bearing) >= CONCEPTS)


def tags_of(item: Item) -> set[str]:
    """Those that are words, one or two of them."""
    cleaned = {" ".join(re.sub(r"[^a-z]+", " ", tag.lower()).split()) for tag in item.tags}
    return {
        tag
        for tag in cleaned
        if 2 < len(tag) <= 24 and len(tag.split()) <= 2 and tag not in DROPPED
    }


def write(words: Sequence[str], encoder: Encoder, folder: Path) -> None:
    vectors = np.concatenate([encoder.encode(list(part)) for part in parts(words, 64)])
    (folder / "tags.json").write_text(json.dumps(words, indent=0) + "\n", "utf-8")
    (folder / "tags.safetensors").write_bytes(save({"vectors": vectors.astype(np.float16)}))


def parts(values: Sequence[object], size: int) -> Iterator[Sequence[object]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


class Study:
    """The generator of tags over pictures of a collection."""

    def __init__(self, folder: Path, texts: Encoder, pictures: Encoder, weights: Path) -> None:
        self._folder = folder
        self._pictures = pictures
        self._words = load_vocabulary(weights)
        self._generator = TagGenerator(texts, self._words)

    def drawn(self, items: Sequence[Item], split: str, count: int) -> list[tuple[Item, Vectors]]:
        """Pictures with at least three tags of the vocabulary, and their vectors."""
        known = set(self._words.words)
        fitting = [
            each
            for each in items
            if each.split == split and each.source in SOURCES and len(tags_of(each) & known) >= 3
        ]
        chosen = random.Random(0).sample(fitting, min(count, len(fitting)))
        rows: list[Vectors] = []
        for part in parts(chosen, 16):
            opened = [on_white(Image.open(self._folder / each.path)) for each in part]  # type: ignore[attr-defined]
            rows.extend(self._pictures.encode(opened))
        return list(zip(chosen, rows, strict=True))

    def measure(
        self,
        asked: Sequence[tuple[Item, Vectors]],
        remembered: Sequence[tuple[Item, Vectors]],
        k: int,
    ) -> tuple[float, float, float, float]:
        """Precision, recall and F1 over all tags of all pictures, and tags per picture."""
        memory = np.stack([vector for _, vector in remembered])
        hits = made = wanted = 0
        for item, vector in asked:
            nearest = np.argsort(-(memory @ vector))[:k]
            fused, weights = fuse(vector, memory[nearest], "attention")
            neighbours = tuple(
                Neighbour(str(row), "image", memory[row], None, tuple(tags_of(remembered[row][0])))
                for row in nearest
            )
            condition = Condition(vector, fused, neighbours, weights)
            details = self._generator.generate(condition, seed=0, creativity=0).details
            given = {each["tag"] for each in details["tags"]}
            gold = tags_of(item) & set(self._words.words)
            hits += len(given & gold)
            made += len(given)
            wanted += len(gold)
        precision, recall = hits / max(made, 1), hits / max(wanted, 1)
        f1 = 2 * precision * recall / max(precision + recall, 1e-9)
        return precision, recall, f1, made / len(asked)


if __name__ == "__main__":
    main()
