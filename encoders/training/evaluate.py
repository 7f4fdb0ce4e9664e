"""Recall across modalities on the test split, and the calibration of scores.

    python -m encoders.training.evaluate [--collection collection] [--out runs/encoders]
    python -m encoders.training.evaluate --calibrate     also refit the committed calibration.json

A query counts as answered when one of the k nearest candidates is of its concept. Candidates are
all test items of the source and style; texts are one caption per concept. Concepts of the test
split were never trained on, in any modality. The rows "new voice" and "human voice" are spoken
words of the train split in voices that were never trained on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
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
from encoders.training.data import Item, load_collection
from encoders.training.features import picture_vectors_from_cache


@dataclass(frozen=True)
class Row:
    """One direction on one source."""

    direction: str
    source: str
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
        encoders, _ = load()
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
    source: str,
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
    return Row(direction, source, *sizes, at_1, at_5, at_10, chance)


def all_rows(known: Vectorised) -> list[Row]:
    pictures, sounds = known.select("image", "test"), known.select("audio", "test")
    rows = []
    for source, items in {**pictures, **sounds}.items():
        modality = items[0].modality
        rows += text_rows(known, source, items, modality)
    for source, items in voices(known).items():
        rows += text_rows(known, source, items, "audio")
    every_picture = [item for items in pictures.values() for item in items]
    for source, items in sounds.items():
        seen = {item.concept for item in every_picture}
        heard = [item for item in items if item.concept in seen]
        if not heard:
            continue
        asked = known.of(heard)
        shown = known.of(every_picture)
        rows.append(measure("audio>image", source, (heard, asked), (every_picture, shown)))
        audible = {item.concept for item in heard}
        queries = [item for item in every_picture if item.concept in audible]
        pairs = (queries, known.of(queries)), (items, known.of(items))
        rows.append(measure("image>audio", source, *pairs))
    return sorted(rows, key=lambda row: row.direction)


def text_rows(known: Vectorised, source: str, items: Sequence[Item], modality: str) -> list[Row]:
    """Both directions between the items and their captions, one per concept."""
    asked = one_per_concept(items)
    media, texts = (items, known.of(items)), (asked, known.captions(asked))
    return [
        measure(f"text>{modality}", source, texts, media),
        measure(f"{modality}>text", source, media, texts),
    ]


def voices(known: Vectorised) -> dict[str, list[Item]]:
    """Spoken words of train concepts, in voices that were never trained on."""
    groups: dict[str, list[Item]] = {}
    for item in known.items:
        if item.modality == "audio" and item.split == "train" and item.id in known.vector:
            name = "human voice, known words" if item.style == HUMAN else "new voice, known words"
            groups.setdefault(name, []).append(item)
    return groups


def show(rows: Sequence[Row]) -> None:
    table = Table("direction", "source", "queries", "of", "R@1", "R@5", "R@10", "chance@10")
    for row in rows:
        table.add_row(*(str(value) for value in asdict(row).values()))
    Console(width=110).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--collection", type=Path, default=Path("collection"))
    parser.add_argument("--out", type=Path, default=Path("runs/encoders"))
    parser.add_argument("--calibrate", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    known = Vectorised(arguments.collection, arguments.out)
    rows = all_rows(known)
    show(rows)
    target = arguments.out / "evaluation.json"
    target.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    print(f"written to {target}")
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
