"""One line of the collection's manifest, and the split by concept."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

Split = Literal["train", "validation", "test", "independent"]

MANIFEST, SUMMARY = "manifest.jsonl", "summary.json"
TRAIN_SHARE, VALIDATION_SHARE = 0.85, 0.05


@dataclass(frozen=True)
class Item:
    """One picture or sound, with the words that go with it.

    Items of one `episode` belong together; items of one `concept` mean the same thing, whatever
    their source, and are therefore in the same split, but for `independent` items: these are
    never trained on, and their concepts may be, by other items.
    """

    id: str
    source: str
    style: str
    concept: str
    split: Split
    modality: Literal["image", "audio"]
    path: str  # relative to the collection
    caption: str
    tags: tuple[str, ...]
    episode: str
    licence: str


_ARTICLES = re.compile(r"^(?:(?:a|an|the|some|two|three|four|five)\s+)+")
_NOT_WORDS = re.compile(r"[^a-z0-9]+")


def concept_of(text: str) -> str:
    """The key under which equal meanings meet: lower case, no article, simple singular."""
    words = _ARTICLES.sub("", _NOT_WORDS.sub(" ", text.lower().split("(")[0]).strip()).split()
    return " ".join(_singular(word) for word in words) or text.strip().lower()


def _singular(word: str) -> str:
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def split_of(concept: str, seed: int = 0) -> Split:
    """85 % train, 5 % validation, 10 % test, by hash: stable when concepts come or go."""
    digest = hashlib.sha256(f"{seed}:{concept}".encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    if position < TRAIN_SHARE:
        return "train"
    return "validation" if position < TRAIN_SHARE + VALIDATION_SHARE else "test"


def media_key(item: Item, folder: Path) -> str:
    """For caches of what was made of an item's file: another where the file is another."""
    return f"{item.id} {(folder / item.path).stat().st_size}"


def write_manifest(folder: Path, items: Iterable[Item]) -> None:
    lines = [
        json.dumps(asdict(item), ensure_ascii=False, sort_keys=True)
        for item in sorted(items, key=lambda item: item.id)
    ]
    (folder / MANIFEST).write_text("\n".join(lines) + "\n", encoding="utf-8")


def is_complete(folder: Path) -> bool:
    """Whether the manifest has all that the build came to: its summary is written last."""
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        with (folder / MANIFEST).open("rb") as lines:
            count = sum(1 for _ in lines)
    except FileNotFoundError:
        return False
    return count == sum(number for row in summary for number in row.values() if type(number) is int)


def load_collection(folder: Path | str) -> list[Item]:
    """Read the manifest.

    Raises FileNotFoundError, with the command that builds the collection, when there is none.
    """
    path = Path(folder) / MANIFEST
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: run python -m encoders.training.data")
    items = []
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            fields = json.loads(line)
            items.append(Item(**{**fields, "tags": tuple(fields["tags"])}))
    return items
