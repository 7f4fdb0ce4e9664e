"""What image and audio training share: the loss, the texts, the recall.

The text tower is frozen, and its vectors are the anchors: the other towers learn to land on them.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from encoders.base import Encoder, Vectors
from encoders.training.data import Item

SAME_MEANING = 0.97  # cosine of two captions above which each is right for the other's media
SAME_TOWER = 0.999  # cosine of a cached vector with the same text's now: runtimes differ by less
MAX_LOGIT_SCALE = 100.0  # as in CLIP
TEMPLATES = {
    "image": ("a picture of {}", "a drawing of {}"),
    "audio": ("the sound of {}", "a recording of {}"),
}


def multi_positive_targets(captions: torch.Tensor) -> torch.Tensor:
    """(B, B), rows sum to 1: which captions (B, D), unit length, are right for which item."""
    same = (captions @ captions.T > SAME_MEANING).float()
    same.fill_diagonal_(1.0)
    return same / same.sum(dim=1, keepdim=True)


def contrastive_loss(
    media: torch.Tensor, texts: torch.Tensor, logit_scale: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """Symmetric cross entropy of media (B, D) against texts (B, D); both of unit length."""
    logits = logit_scale.exp().clamp(max=MAX_LOGIT_SCALE) * media @ texts.T  # (B, B)
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets.T)) / 2


class TextVectors:
    """Vectors of texts by the frozen text tower, cached on disk for as long as that is the same."""

    def __init__(self, encoder: Encoder, cache: Path) -> None:
        self._encoder = encoder
        self._path = cache
        self._known: dict[str, Vectors] = {}
        if cache.exists():
            stored = np.load(cache)
            first = encoder.encode([str(stored["texts"][0])])[0]
            if float(first @ stored["vectors"][0]) > SAME_TOWER:
                self._known = dict(zip(stored["texts"].tolist(), stored["vectors"], strict=True))

    def of(self, texts: Iterable[str]) -> Vectors:
        """(N, D), unit length."""
        texts = list(texts)
        missing = sorted(set(texts) - self._known.keys(), key=len)
        if missing:
            print(f"embedding {len(missing)} texts", flush=True)
            self._known.update(zip(missing, self._encoder.encode(missing), strict=True))
            self._path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(
                self._path,
                texts=np.array(list(self._known)),
                vectors=np.stack(list(self._known.values())),
            )
        return np.stack([self._known[text] for text in texts])


def texts_of(item: Item) -> list[str]:
    """Texts that are true of an item: its caption first, then caption with tag, then tags."""
    tags = [tag for tag in item.tags if tag.lower() != item.caption.lower() and len(tag) > 2]
    joined = [f"{item.caption}, {', '.join(tags[:3])}"] if tags else []
    return [item.caption, *joined, *tags[:8]]


def phrases_of(item: Item) -> list[str]:
    """The caption within what people write around one (prompt templates, Radford et al. 2021)."""
    return [template.format(item.caption) for template in TEMPLATES[item.modality]]


def draw_text(item: Item, rng: random.Random, phrases: float = 0.0) -> str:
    """In a share of `phrases` a phrase; else the caption two times in three, or another text."""
    if phrases and rng.random() < phrases:
        return rng.choice(phrases_of(item))
    texts = texts_of(item)
    return texts[0] if len(texts) == 1 or rng.random() < 0.67 else rng.choice(texts[1:])


Relevance = npt.NDArray[np.bool_]


def same_concept(queries: Sequence[Item], candidates: Sequence[Item]) -> Relevance:
    """(Q, C): which candidates mean what the query means."""
    asked, found = ([item.concept for item in items] for items in (queries, candidates))
    relevant: Relevance = np.equal(np.array(asked)[:, None], np.array(found)[None, :])
    return relevant


def recall_at_k(queries: Vectors, candidates: Vectors, relevant: Relevance, k: int) -> float:
    """Share of queries (Q, D) with a relevant one among their k nearest candidates (C, D)."""
    cosines = queries @ candidates.T
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    return float(np.take_along_axis(relevant, nearest, axis=1).any(axis=1).mean())


def chance_at_k(relevant: Relevance, k: int) -> float:
    """Recall@k of a random order, averaged over the queries."""
    count = relevant.shape[1]
    if k >= count:
        return 1.0
    hits = relevant.sum(axis=1)
    missed = np.ones(len(hits))
    for drawn in range(k):
        missed *= np.clip((count - hits - drawn) / (count - drawn), 0.0, 1.0)
    return float(1.0 - missed.mean())


def one_per_concept(items: Iterable[Item]) -> list[Item]:
    """The first item of every concept: the text side of an evaluation has each meaning once."""
    first: dict[str, Item] = {}
    for item in items:
        first.setdefault(item.concept, item)
    return list(first.values())
