"""Pictures and sounds of the collection's captions, as vectors that a memory would have of them.

Knows nothing about the networks that learn from them.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from encoders.base import Encoder, Vectors, normalize
from encoders.sounds import WHOLE_S
from encoders.training.audio_data import is_held_out, read_sound
from encoders.training.data import Item
from encoders.training.features import view_of
from generator.training.epochs import told

MOST = {"image": 6, "audio": 3}  # of one caption; the rest tells little more
NEAR = 8
SAVED = 1024  # items between two writings of the cache
Towers = Callable[[str, list[Any]], Vectors]  # modality, media


@dataclass(frozen=True)
class Shown:
    """What is seen and heard of N texts, that of one text side by side."""

    vectors: Vectors  # (P, D)
    first: npt.NDArray[np.int64]  # (N + 1,): text n has the rows first[n] up to first[n + 1]
    # Of each row, the texts of the most similar others of its modality, at most NEAR.
    near: tuple[npt.NDArray[np.int64], ...]

    def of(self, text: int) -> range:
        """Rows of what a text captions."""
        return range(int(self.first[text]), int(self.first[text + 1]))


def nothing_shown(texts: int) -> Shown:
    return Shown(np.zeros((0, 0), np.float32), np.zeros(texts + 1, np.int64), ())


def shown(
    rows: Mapping[str, int], items: Sequence[Item], vectors: Mapping[str, Vectors], texts: int
) -> Shown:
    """`rows`: item id -> the row of its text, out of `texts`; `vectors`: item id -> (D,)."""
    there = [i for i in items if i.id in rows and i.id in vectors]
    if not there:
        return nothing_shown(texts)
    there.sort(key=lambda i: rows[i.id])
    text = np.array([rows[i.id] for i in there])
    stacked = np.stack([vectors[i.id] for i in there])
    near: list[npt.NDArray[np.int64]] = [np.zeros(0, np.int64)] * len(there)
    for modality in MOST:
        own = np.flatnonzero([i.modality == modality for i in there])
        for place, found in zip(own, _near_texts(stacked[own], text[own]), strict=True):
            near[place] = found
    return Shown(stacked, np.searchsorted(text, np.arange(texts + 1)), tuple(near))


def _near_texts(
    vectors: Vectors, text: npt.NDArray[np.int64], chunk: int = 1024
) -> Iterator[npt.NDArray[np.int64]]:
    """Of each vector the texts of the nearest that have another text than its own."""
    look = min(len(vectors), 8 * NEAR)
    for start in range(0, len(vectors), chunk):
        scores = vectors[start : start + chunk] @ vectors.T
        best = np.argpartition(-scores, look - 1, axis=1)[:, :look]
        for row, places in enumerate(best):
            ordered = text[places[np.argsort(-scores[row, places], kind="stable")]]
            others = dict.fromkeys(ordered[ordered != text[start + row]].tolist())
            yield np.array(list(others)[:NEAR], np.int64)


def chosen(items: Sequence[Item]) -> list[Item]:
    """What may be learnt from: at most MOST of a caption and modality, the same whatever else is
    in the collection; no voices and people that are kept for tests."""
    taken: dict[tuple[str, str], int] = defaultdict(int)
    found = []
    for item in sorted(items, key=lambda i: hashlib.sha256(i.id.encode()).digest()):
        if item.modality == "audio" and is_held_out(item):
            continue
        key = (item.modality, item.caption)
        if taken[key] < MOST[item.modality]:
            taken[key] += 1
            found.append(item)
    return found


def shown_vectors(
    items: Sequence[Item], root: Path, cache: Path, encode: Towers
) -> dict[str, Vectors]:
    """Item id -> (D,), unit length. What the cache file has is not encoded again."""
    known: dict[str, Vectors] = {}
    if cache.is_file():
        with np.load(cache) as archive:
            known = dict(zip(archive["ids"].tolist(), archive["vectors"], strict=True))
    missing = sorted((i for i in items if i.id not in known), key=lambda i: (i.modality, i.id))
    for start in told(range(0, len(missing), SAVED), "encoding pictures and sounds"):
        part = missing[start : start + SAVED]
        for modality in MOST:
            own = [i for i in part if i.modality == modality]
            known |= zip((i.id for i in own), _encoded(modality, own, root, encode), strict=True)
        cache.parent.mkdir(parents=True, exist_ok=True)
        stored = np.stack(list(known.values())).astype(np.float16)
        np.savez(cache, ids=np.array(list(known)), vectors=stored)
    # Rounded as in the file, whether they came from it or not.
    return {i.id: normalize(known[i.id].astype(np.float16)) for i in items}


def _encoded(modality: str, items: Sequence[Item], root: Path, encode: Towers) -> Iterator[Vectors]:
    for start in range(0, len(items), 32):
        media = [_media(item, root) for item in items[start : start + 32]]
        yield from encode(modality, media)


def _media(item: Item, root: Path) -> Any:
    if item.modality == "image":
        return view_of(item, root, 0)
    sound = read_sound(root / item.path)
    whole = int(WHOLE_S * sound.sample_rate)  # the service stores longer ones in segments
    return type(sound)(sound.samples[:whole], sound.sample_rate)


def bundled_towers() -> Towers:
    """The towers of the bundled profile, loaded at their first use."""
    towers: dict[str, Encoder] = {}

    def encode(modality: str, media: list[Any]) -> Vectors:
        from encoders.registry import load_profile

        if not towers:
            towers.update(load_profile("bundled").encoders)
        return towers[modality].encode(media)

    return encode
