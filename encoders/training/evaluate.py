"""Recall across modalities on what was never trained on, and the calibration of scores.

    python -m encoders.training.evaluate [--collection collection] [--out docs/figures]
    python -m encoders.training.evaluate --calibrate     also refit the committed calibration.json

A query counts as answered when one of the k nearest candidates is of its concept. Candidates are
all items of the row; texts are one caption per concept. Rows by what was held out:

- `test`: concepts that no tower was ever trained on, in any modality.
- `new style`: such concepts in a style of emoji that was never trained on, either.
- `independent`: GCompris' photographs, drawings and recordings, of which none was trained on; their
  concepts may have been, by other items.
- `new voice`: spoken words of the train split in a voice that was never trained on. Those of people
  are few: they are also asked for among the words of another of these voices.

The figures are kept with digests of the weights and of the collection that they belong to.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
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
from encoders.training.data.records import MANIFEST, is_complete
from encoders.training.data.speech import TEST_VOICES
from encoders.training.features import picture_vectors_from_cache

RECORDED_VOICE = TEST_VOICES[-1]


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

    @property
    def error_at_10(self) -> float:
        """Standard error of recall@10: that of a share with one hit and one miss more."""
        share = (self.recall_at_10 * self.queries + 1) / (self.queries + 2)
        return math.sqrt(share * (1 - share) / (self.queries + 3))


@dataclass(frozen=True)
class Figures:
    """Rows, and what they were measured on: SHA-256 of each weight file and of the manifest."""

    weights: dict[str, str]
    collection: str
    items: int
    rows: list[Row]

    @classmethod
    def load(cls, path: Path) -> Figures:
        known = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**known, "rows": [Row(**row) for row in known["rows"]]})

    def save(self, path: Path) -> None:
        """One row per line, so that a difference can be read."""
        head = {"weights": self.weights, "collection": self.collection, "items": self.items}
        rows = ",\n".join(json.dumps(asdict(row)) for row in self.rows)
        path.write_text(f'{json.dumps(head, indent=1)[:-2]},\n "rows": [\n{rows}\n]}}\n')


def digests_of_weights(folder: Path = FOLDER) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("*.safetensors"))
    }


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
    rows += people_among_other_words(known)
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
        found[name, "new voice"] = words_in(known, voice)
    return {name: items for name, items in found.items() if items}


def words_in(known: Vectorised, voice: str) -> list[Item]:
    """The words of the train split in one voice that was never trained on."""
    return known.where("audio", lambda i: i.style == voice and i.split == "train")


def people_among_other_words(known: Vectorised) -> list[Row]:
    """Words by people -> text, among the words of another new voice, too, not these few alone."""
    people = words_in(known, HUMAN)
    if not people:
        return []
    said = one_per_concept(people + words_in(known, RECORDED_VOICE))
    heard, texts = (people, known.of(people)), (said, known.captions(said))
    name = f"stamps, human voice, with {RECORDED_VOICE}'s words"
    return [measure("audio>text", (name, "new voice"), heard, texts)]


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
        "direction", "source", "held out", "queries", "of", "R@1", "R@5", "R@10", "chance@10", "+-"
    )
    for row in rows:
        table.add_row(*(str(value) for value in asdict(row).values()), f"{row.error_at_10:.3f}")
    Console(width=120).print(table)


def as_markdown(rows: Sequence[Row]) -> str:
    """The table, with shares as `.123`."""
    lines = [
        "Made by `python -m encoders.training.evaluate`, see there and docs/experiments.md.",
        "±: standard error of R@10, by the number of queries.",
        "",
        "| direction | source | held out | queries | of | R@1 | R@5 | R@10 | chance@10 | ± |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [row.direction.replace(">", " -> "), row.source, row.held_out]
        cells += [str(row.queries), str(row.candidates)]
        shares = [row.recall_at_1, row.recall_at_5, row.recall_at_10, row.chance_at_10]
        shares.append(row.error_at_10)
        cells += [f"{share:.3f}".removeprefix("0") for share in shares]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def difference(before: Figures, now: Figures) -> str:
    """Whether the figures are those that were kept, and of the same things."""
    same = "the same"
    parts = [
        f"weights {same if before.weights == now.weights else 'others'}",
        f"collection {same if before.collection == now.collection else 'another'}",
    ]
    old = {(row.direction, row.source, row.held_out): row for row in before.rows}
    moved = sum(old.get((row.direction, row.source, row.held_out)) != row for row in now.rows)
    return f"beside the figures kept: {', '.join(parts)}; {moved} of {len(now.rows)} rows differ"


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
    if not is_complete(arguments.collection):
        parser.error(
            f"{arguments.collection} is not there or was built in part: "
            "python -m encoders.training.data goes on with it"
        )
    known = Vectorised(arguments.collection, arguments.cache)
    rows = all_rows(known)
    show(rows)
    arguments.out.mkdir(parents=True, exist_ok=True)
    target = arguments.out / "encoders.json"
    manifest = hashlib.sha256((arguments.collection / MANIFEST).read_bytes()).hexdigest()
    figures = Figures(digests_of_weights(), manifest, len(known.items), rows)
    if target.exists():
        print(difference(Figures.load(target), figures))
    figures.save(target)
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
