"""Recall across modalities on what was never trained on, and the calibration of scores.

    python -m encoders.training.evaluate [--collection collection] [--out docs/figures]
    python -m encoders.training.evaluate --calibrate     also refit the committed calibration.json

A query counts as answered when one of the k nearest candidates is of its concept. Candidates are
all items of the row; texts are one caption per concept. Rows by what was held out:

- `test`: concepts that no tower was ever trained on, in any modality.
- `new style`: such concepts in a style of emoji that was never trained on, either.
- `independent`: GCompris' photographs, drawings and recordings, of which none was trained on; their
  concepts may have been, by other items.
- `new voice`: spoken words of the train split in a voice that was never trained on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from encoders.audio import AudioEncoder
from encoders.base import Vectors, normalize
from encoders.bundled import FOLDER, load
from encoders.training import contrastive
from encoders.training.audio import vectors_of
from encoders.training.audio_data import HUMAN, is_held_out, spectrograms
from encoders.training.calibrate import fit
from encoders.training.contrastive import TextVectors, one_per_concept, same_concept
from encoders.training.data import Item, load_collection, split_of
from encoders.training.data.emoji import HELD_OUT_STYLE
from encoders.training.data.speech import TEST_VOICES
from encoders.training.features import picture_vectors_from_cache


@dataclass(frozen=True)
class Row:
    """One direction on one source."""

    direction: str
    source: str
    held_out: str
    queries: int
    candidates: int
    recall_at_1: float
    recall_at_5: float
    recall_at_10: float
    chance_at_10: float


class Vectorised:
    """Items with the vector of each, and their captions' vectors."""

    def __init__(self, collection: Path, cache: Path) -> None:
        self.items = load_collection(collection)
        encoders, _ = load(runtime="torch")  # the sound tower itself is asked
        by_modality = {encoder.modality: encoder for encoder in encoders}
        self.texts = TextVectors(by_modality["text"], cache / "texts.npz")
        self.vector = picture_vectors_from_cache(self.items, collection, cache / "features")
        audio = by_modality.get("audio")
        if isinstance(audio, AudioEncoder):
            sounds = [i for i in self.items if i.modality == "audio"]
            sounds = [i for i in sounds if i.split != "train" or is_held_out(i)]
            heard = spectrograms(sounds, collection, cache / "log_mel.npz")
            rows = vectors_of(audio.tower, sounds, heard)
            self.vector.update(zip((item.id for item in sounds), rows, strict=True))

    def where(self, modality: str, holds: Callable[[Item], bool]) -> list[Item]:
        """The items of a modality that have a vector and of which `holds` is true."""
        return [
            i for i in self.items if i.modality == modality and i.id in self.vector and holds(i)
        ]

    def of(self, items: Sequence[Item]) -> Vectors:
        """(N, D)."""
        return np.stack([self.vector[item.id] for item in items])

    def captions(self, items: Sequence[Item]) -> Vectors:
        """(N, D)."""
        return normalize(self.texts.of(item.caption for item in items))

    def select(self, modality: str, split: str) -> dict[str, list[Item]]:
        """Source and style -> items that have a vector."""
        groups: dict[str, list[Item]] = {}
        for item in self.items:
            if item.modality == modality and item.split == split and item.id in self.vector:
                style = "" if item.source == "speech" else item.style
                groups.setdefault(f"{item.source} {style}".strip(), []).append(item)
        return groups


def measure(
    direction: str,
    source: tuple[str, str],
    queries: tuple[Sequence[Item], Vectors],
    candidates: tuple[Sequence[Item], Vectors],
) -> Row:
    relevant = same_concept(queries[0], candidates[0])
    at_1, at_5, at_10 = (
        round(contrastive.recall_at_k(queries[1], candidates[1], relevant, k), 3)
        for k in (1, 5, 10)
    )
    chance = round(contrastive.chance_at_k(relevant, 10), 3)
    sizes = len(queries[0]), len(candidates[0])
    return Row(direction, *source, *sizes, at_1, at_5, at_10, chance)


def all_rows(known: Vectorised) -> list[Row]:
    pictures, sounds = known.select("image", "test"), known.select("audio", "test")
    rows = []
    for source, items in {**pictures, **sounds}.items():
        rows += text_rows(known, (source, "test"), items)
    for name, items in others(known).items():
        rows += text_rows(known, name, items)
    every_picture = [item for items in pictures.values() for item in items]
    rows += sound_and_picture(known, "test", sounds, every_picture)
    recordings = {"gcompris recording": known.where("audio", lambda i: i.source == "gcompris")}
    shown = known.where("image", lambda i: i.source == "gcompris")
    rows += sound_and_picture(known, "independent", recordings, shown)
    return sorted(rows, key=lambda row: row.direction)


def others(known: Vectorised) -> dict[tuple[str, str], list[Item]]:
    """(name, what was held out) -> items that are held out otherwise than by concept."""
    found = {
        (f"emoji {HELD_OUT_STYLE}", "new style"): known.where(
            "image", lambda i: i.style == HELD_OUT_STYLE and split_of(i.concept) == "test"
        )
    }
    for style, modality in (("photograph", "image"), ("drawing", "image"), ("recording", "audio")):
        items = known.where(modality, lambda i, style=style: i.style == style)  # type: ignore[misc]
        found[f"gcompris {style}", "independent"] = items
    for voice in (HUMAN, *TEST_VOICES):
        name = "stamps, human voice" if voice == HUMAN else f"speech {voice}"
        items = known.where("audio", lambda i, voice=voice: i.style == voice and i.split == "train")  # type: ignore[misc]
        found[name, "new voice"] = items
    return {name: items for name, items in found.items() if items}


def sound_and_picture(
    known: Vectorised, held_out: str, sounds: dict[str, list[Item]], pictures: Sequence[Item]
) -> list[Row]:
    """Both directions between sounds and pictures of their concepts, among all `pictures`."""
    rows = []
    seen = {item.concept for item in pictures}
    for source, items in sounds.items():
        heard = [item for item in items if item.concept in seen]
        if not heard:
            continue
        asked, shown = (heard, known.of(heard)), (pictures, known.of(pictures))
        rows.append(measure("audio>image", (source, held_out), asked, shown))
        audible = {item.concept for item in heard}
        queries = [item for item in pictures if item.concept in audible]
        pairs = (queries, known.of(queries)), (items, known.of(items))
        rows.append(measure("image>audio", (source, held_out), *pairs))
    return rows


def text_rows(known: Vectorised, source: tuple[str, str], items: Sequence[Item]) -> list[Row]:
    """Both directions between the items and their captions, one per concept."""
    modality = items[0].modality
    asked = one_per_concept(items)
    media, texts = (items, known.of(items)), (asked, known.captions(asked))
    return [
        measure(f"text>{modality}", source, texts, media),
        measure(f"{modality}>text", source, media, texts),
    ]


def show(rows: Sequence[Row]) -> None:
    table = Table(
        "direction", "source", "held out", "queries", "of", "R@1", "R@5", "R@10", "chance@10"
    )
    for row in rows:
        table.add_row(*(str(value) for value in asdict(row).values()))
    Console(width=120).print(table)


def as_markdown(rows: Sequence[Row]) -> str:
    """The table, with shares as `.123`."""
    lines = [
        "Made by `python -m encoders.training.evaluate`, see there and docs/experiments.md.",
        "",
        "| direction | source | held out | queries | of | R@1 | R@5 | R@10 | chance@10 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [row.direction.replace(">", " -> "), row.source, row.held_out]
        cells += [str(row.queries), str(row.candidates)]
        shares = (row.recall_at_1, row.recall_at_5, row.recall_at_10, row.chance_at_10)
        cells += [f"{share:.3f}".removeprefix("0") for share in shares]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def plot(rows: Sequence[Row], target: Path) -> None:
    """Recall@1 and @10 of every row, beside chance."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    directions = list(dict.fromkeys(row.direction for row in rows))
    figure, every = pyplot.subplots(3, 2, figsize=(15, 13), layout="constrained")
    for axes, direction in zip(every.flat, directions, strict=False):
        shown = [row for row in rows if row.direction == direction][::-1]
        places = range(len(shown))
        axes.barh(places, [r.recall_at_10 for r in shown], color="#9ecae1", label="recall@10")
        axes.barh(places, [r.recall_at_1 for r in shown], 0.4, color="#3182bd", label="recall@1")
        chance = [r.chance_at_10 for r in shown]
        axes.plot(chance, places, "|", color="#d62728", markersize=9, label="chance@10")
        labels = [f"{r.source}, {r.held_out} ({r.queries} of {r.candidates})" for r in shown]
        axes.set_yticks(places, labels, fontsize=8)
        axes.set_xlim(0, 1)
        axes.grid(axis="x", alpha=0.3)
        axes.set_title(direction.replace(">", " to "))
    every.flat[0].legend(loc="lower right", fontsize=8)
    figure.savefig(target, dpi=80)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--collection", type=Path, default=Path("collection"))
    parser.add_argument("--cache", type=Path, default=Path("runs/encoders"))
    parser.add_argument("--out", type=Path, default=Path("docs/figures"))
    parser.add_argument("--calibrate", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    known = Vectorised(arguments.collection, arguments.cache)
    rows = all_rows(known)
    show(rows)
    arguments.out.mkdir(parents=True, exist_ok=True)
    target = arguments.out / "encoders.json"
    lines = ",\n".join(json.dumps(asdict(row)) for row in rows)
    target.write_text(f"[\n{lines}\n]\n")
    target.with_suffix(".md").write_text(as_markdown(rows), encoding="utf-8")
    plot(rows, target.with_suffix(".png"))
    print(f"written to {target}, with a table (.md) and a plot (.png) beside it")
    if arguments.calibrate:
        groups = {
            modality: [i for items in known.select(modality, "validation").values() for i in items]
            for modality in ("image", "audio")
        }
        vectors = {modality: known.of(items) for modality, items in groups.items() if items}
        fit(groups, vectors, known.texts).save(FOLDER / "calibration.json")
        print((FOLDER / "calibration.json").read_text())


if __name__ == "__main__":
    main()
