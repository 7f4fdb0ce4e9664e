"""Measure the caption decoder on the test split: `python -m generator.training.evaluate_text`.

Cosine of the written text's vector to the reference caption's, by the encoder that the vectors
come from (so it is no independent judge), with its own memory, others', random ones, and none.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from encoders.base import Vectors
from encoders.training.data import Item, load_collection
from generator.base import Condition, Neighbour
from generator.fusion import fuse
from generator.registry import WEIGHTS
from generator.text import TextGenerator
from generator.training.text import text_encoder
from generator.training.text_data import tidy_caption, vectors_of
from generator.wording import is_copy

Rows = npt.NDArray[np.int64]
K = 4


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="evaluate_text", description=__doc__)
    parser.add_argument("--collection", type=Path, default=Path("collection"))
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", action="store_true", help="pictures as queries, too")
    parser.add_argument("--out", type=Path, default=Path("runs/text/evaluation.json"))
    args = parser.parse_args(argv)
    report = evaluate(args)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    table = Table("memory", "creativity", "cosine", "copied", "distinct", "ms")
    for row in report:
        table.add_row(
            *(str(row[k]) for k in ("memory", "creativity", "cosine", "copied")),
            str(row["distinct"]),
            str(row["ms"]),
        )
    Console().print(table)


def evaluate(args: argparse.Namespace) -> list[dict[str, object]]:
    random = np.random.default_rng(args.seed)
    items = one_per_caption(load_collection(args.collection))
    texts = [tidy_caption(item.caption) for item in items]
    encode = text_encoder()
    vectors = vectors_of(texts, args.cache / "caption_vectors.npz", encode)
    concepts = np.array([item.concept for item in items])
    wanted = random.permutation(len(items))[: args.count]
    others = nearest(vectors, vectors, concepts)
    own = np.concatenate([np.arange(len(items))[:, None], others[:, : K - 1]], 1)
    strangers = random.integers(len(items), size=(len(items), K))
    nothing = np.zeros((len(items), 0), np.int64)
    generator = TextGenerator(args.weights)
    report: list[dict[str, object]] = []
    queries = {"": vectors}
    if args.pictures:
        queries["picture query, "] = picture_vectors(items, args.collection)
    for label, asked in queries.items():
        shown = wanted[np.abs(asked[wanted]).sum(1) > 0]  # sounds have no picture to ask with
        memories = {"own": own, "other concepts": others, "random": strangers, "none": nothing}
        for name, rows in memories.items():
            for creativity in (0.0, 0.5) if name != "random" else (0.0,):
                runner = Runner(generator, texts, vectors, rows, encode)
                report.append(
                    {"memory": label + name, "creativity": creativity}
                    | runner.run(asked, shown, creativity)
                )
    copied = [float(vectors[row] @ vectors[others[row, 0]]) for row in wanted]
    report.append(plain_row("copy of the nearest other", copied))
    chance = [float(vectors[row] @ vectors[strangers[row, 0]]) for row in wanted]
    report.append(plain_row("copy of a random one", chance))
    return report


def plain_row(name: str, cosines: Sequence[float]) -> dict[str, object]:
    cosine = round(float(np.mean(cosines)), 3)
    return {
        "memory": name,
        "creativity": "-",
        "cosine": cosine,
        "copied": 1.0,
        "distinct": "-",
        "ms": "-",
    }


class Runner:
    """Generates for many queries with one kind of memory, and scores."""

    def __init__(
        self,
        generator: TextGenerator,
        texts: Sequence[str],
        vectors: Vectors,
        memories: Rows,
        encode: Callable[[list[str]], Vectors],
    ) -> None:
        self.generator, self.texts, self.vectors = generator, texts, vectors
        self.memories, self.encode = memories, encode

    def run(self, queries: Vectors, wanted: Rows, creativity: float) -> dict[str, object]:
        written, copied, times = [], 0, []
        for row in wanted:
            found = self.memories[row]
            start = time.perf_counter()
            made = self.generator.generate(
                self.condition(queries[row], found), seed=int(row), creativity=creativity
            ).media
            times.append((time.perf_counter() - start) * 1000)
            written.append(made)
            copied += is_copy(made, [self.texts[i] for i in found])
        vectors = self.encode(written)
        cosines = (vectors * self.vectors[wanted]).sum(1)
        return {
            "cosine": round(float(cosines.mean()), 3),
            "copied": round(copied / len(wanted), 3),
            "distinct": round(len(set(written)) / len(written), 3),
            "ms": round(float(np.median(times))),
            "examples": [
                [self.texts[row], text] for row, text in zip(wanted[:12], written, strict=False)
            ],
        }

    def condition(self, query: Vectors, found: Rows) -> Condition:
        fused, weights = fuse(query, self.vectors[found], "attention")
        neighbours = tuple(Neighbour(str(i), "text", self.vectors[i], self.texts[i]) for i in found)
        return Condition(query, fused, neighbours, weights)


def one_per_caption(items: Sequence[Item]) -> list[Item]:
    """Test items, each caption once, a picture where there is one."""
    found: dict[str, Item] = {}
    for item in sorted(items, key=lambda i: (i.modality != "image", i.id)):
        if item.split == "test":
            found.setdefault(item.caption, item)
    return list(found.values())


def nearest(
    queries: Vectors, vectors: Vectors, concepts: npt.NDArray[np.str_], count: int = K
) -> Rows:
    """Rows (N, count) of the most similar items of other concepts."""
    scores = queries @ vectors.T
    scores[concepts[:, None] == concepts[None]] = -1
    return np.argsort(-scores, axis=1)[:, :count]


def picture_vectors(items: Sequence[Item], collection: Path) -> Vectors:
    """Vectors of the items' pictures; items that are sounds keep a row of zeros."""
    from PIL import Image

    from encoders.registry import load_profile

    tower = load_profile("bundled").encoders["image"]
    vectors = np.zeros((len(items), tower.space.dimension), np.float32)
    rows = [row for row, item in enumerate(items) if item.modality == "image"]
    for start in range(0, len(rows), 32):
        part = rows[start : start + 32]
        vectors[part] = tower.encode([Image.open(collection / items[r].path) for r in part])
    return vectors


if __name__ == "__main__":
    main()
