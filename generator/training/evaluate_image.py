"""Measure the picture generator on the test split: `python -m generator.training.evaluate_image`.

Reconstruction (SSIM, PSNR), then generation with its own memory, others', random ones and none,
beside the real picture, the autoencoder and a copy of the nearest. A generated picture is encoded
again; recall@10 says how often its caption is among the ten nearest captions. The scoring encoder
is the one that conditions: figures of different rows compare, their level flatters.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from encoders.base import Vectors, normalize
from encoders.registry import load_profile
from encoders.training.data import Item, load_collection
from generator.base import Condition, Neighbour
from generator.fusion import fuse
from generator.image import Bytes, PictureGenerator, square
from generator.registry import WEIGHTS
from generator.training.image_data import embed

K = 4
Row = dict[str, str | float]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="evaluate_image", description=__doc__)
    parser.add_argument("--collection", type=Path, default=Path("collection"))
    parser.add_argument("--sources", nargs="+", default=["stamps", "emoji"])
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--count", type=int, default=120, help="queries per row")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/image"))
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    study = Study(args)
    rows = [*study.reference_rows(), *study.generated_rows()]
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "evaluation.json").write_text(json.dumps(rows, indent=1) + "\n")
    columns = ("what", "ssim", "psnr_db", "recall_at_10", "to_nearest_memory", "ms")
    table = Table(*columns, title=f"{len(study.items)} concepts of the test split")
    for row in rows:
        table.add_row(*(str(row.get(column, "")) for column in columns))
    Console().print(table)
    study.sheet().save(args.out / "evaluation.png")


class Study:
    """Test pictures, one per concept, their vectors, and the generator that is measured."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.generator = PictureGenerator(args.weights)
        self.encoders = load_profile("bundled").encoders
        self.random = np.random.default_rng(args.seed)
        self.items = self._one_per_concept(args)
        paths = [args.collection / item.path for item in self.items]
        self.originals = [Image.open(path).convert("RGBA") for path in paths]
        self.squares = [square(image, 64) for image in self.originals]
        self.captions = embed(self.encoders["text"], [item.caption for item in self.items])
        self.pictures = embed(self.encoders["image"], paths)
        others = np.argsort(-(self.captions @ self.captions.T), axis=1)
        self.others = np.stack([row[row != n][:K] for n, row in enumerate(others)])

    def _one_per_concept(self, args: argparse.Namespace) -> list[Item]:
        found = [
            item
            for item in load_collection(args.collection)
            if item.modality == "image" and item.split == "test" and item.source in args.sources
        ]
        by_concept = {found[n].concept: found[n] for n in self.random.permutation(len(found))}
        return list(by_concept.values())[: args.count]

    def reference_rows(self) -> list[Row]:
        """What no generator passes, and what one must beat."""
        recoded, start = [], time.perf_counter()
        for image in self.originals:
            recoded.append(self.generator.decode(self.generator.encode(image)))
        spent = (time.perf_counter() - start) / len(recoded) * 1e3
        copies = [self.squares[row[0]] for row in self.others]
        return [
            self._row("real picture, 64 px", self.squares),
            self._row("autoencoder", recoded) | {"ms": round(spent, 1)},
            self._row("copy of the nearest other", copies),
        ]

    def generated_rows(self) -> list[Row]:
        count = len(self.items)
        own = np.concatenate([np.arange(count)[:, None], self.others[:, : K - 1]], axis=1)
        strangers = self.random.integers(count, size=self.others.shape)
        rows = []
        for name, memory in (("own", own), ("other concepts", self.others), ("random", strangers)):
            for creativity in (0.0, 0.3, 0.6, 1.0):
                rows.append(self._generated(f"{name}, creativity {creativity}", memory, creativity))
        rows.append(self._generated("no memory", self.others[:, :0], 1.0))
        return rows

    def _generated(self, name: str, memory: npt.NDArray[np.int64], creativity: float) -> Row:
        start = time.perf_counter()
        made = [
            np.asarray(self.make(n, memory[n], creativity))
            for n in track(range(len(self.items)), description=name, transient=True)
        ]
        spent = (time.perf_counter() - start) / len(made) * 1e3
        row = self._row(name, made) | {"ms": round(spent, 1)}
        if memory.shape[1]:
            nearest = [self.squares[row[0]] for row in memory]
            row["to_nearest_memory"] = mean(likeness, made, nearest)
        return row

    def make(self, number: int, memory: npt.NDArray[np.int64], creativity: float) -> Image.Image:
        """A picture for the caption of a test item, from the pictures of `memory`."""
        vectors = self.pictures[memory]
        fused, weights = fuse(self.captions[number], vectors, "attention")
        if len(memory):  # the first is the one that retrieval by caption would put first
            weights = np.asarray(np.sort(weights)[::-1], np.float32)
        neighbours = tuple(
            Neighbour(self.items[m].id, "image", self.pictures[m], self.originals[m])
            for m in memory
        )
        condition = Condition(self.captions[number], fused, neighbours, weights)
        media: Image.Image = self.generator.generate(
            condition, seed=number, creativity=creativity
        ).media
        return media

    def _row(self, name: str, made: Sequence[Bytes]) -> Row:
        vectors = self.encoders["image"].encode([Image.fromarray(picture) for picture in made])
        return {
            "what": name,
            "ssim": mean(likeness, made, self.squares),
            "psnr_db": mean(psnr, made, self.squares),
            "recall_at_10": recall_at(10, normalize(vectors), self.captions),
        }

    def sheet(self, count: int = 12) -> Image.Image:
        """Columns: original, autoencoder, own and other memory at rising creativity."""
        lines = []
        for n in range(min(count, len(self.items))):
            cells = [
                self.squares[n],
                self.generator.decode(self.generator.encode(self.originals[n])),
            ]
            own = np.concatenate([[n], self.others[n][: K - 1]])
            for memory in (own, self.others[n]):
                cells.append(self.squares[memory[0]])
                for creativity in (0.3, 0.6, 1.0):
                    cells.append(np.asarray(self.make(n, memory, creativity)))
            lines.append(np.concatenate(cells, axis=1))
        return Image.fromarray(np.concatenate(lines))


def likeness(made: Bytes, target: Bytes) -> float:
    return float(structural_similarity(made, target, channel_axis=2))


def psnr(made: Bytes, target: Bytes) -> float:
    return float(min(60.0, peak_signal_noise_ratio(target, made)))


def mean(
    measure: Callable[[Bytes, Bytes], float], made: Sequence[Bytes], target: Sequence[Bytes]
) -> float:
    with np.errstate(divide="ignore"):
        return round(float(np.mean([measure(*pair) for pair in zip(made, target, strict=True)])), 3)


def recall_at(k: int, vectors: Vectors, captions: Vectors) -> float:
    """Share of rows whose own caption is among the k nearest."""
    cosines = vectors @ captions.T
    rank = (cosines > np.diag(cosines)[:, None]).sum(axis=1)
    return round(float((rank < k).mean()), 3)


if __name__ == "__main__":
    main()
