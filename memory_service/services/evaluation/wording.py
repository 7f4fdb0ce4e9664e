"""Measures of texts as they are worded, which need no model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

ORDERS = (1, 2, 3, 4)
SCALE = 10.0  # as CIDEr is told
_WORD = re.compile(r"\w+")

Gram = tuple[str, ...]


def words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def grams(text: str, order: int) -> Counter[Gram]:
    """Runs of `order` words."""
    found = words(text)
    return Counter(zip(*(found[start:] for start in range(order)), strict=False))


class Cider:
    """CIDEr (Vedantam et al. 2015) with one reference and without stemming: the cosine of counts of
    1 to 4 words in a row, weighted by how few of the corpus have them; 0 to 10.

    Orders that neither of the two texts is long enough for are left out: a label of two words would
    never reach more than half.
    """

    def __init__(self, corpus: Sequence[str]) -> None:
        self._texts = max(len(corpus), 2)
        self._having = Counter(
            gram for text in corpus for order in ORDERS for gram in grams(text, order)
        )

    def __call__(self, made: str, reference: str) -> float:
        longest = max(len(words(made)), len(words(reference)), 1)
        cosines = [
            self._cosine(grams(made, order), grams(reference, order))
            for order in ORDERS
            if order <= longest
        ]
        return SCALE * float(np.mean(cosines))

    def _cosine(self, one: Counter[Gram], other: Counter[Gram]) -> float:
        a, b = self._weighted(one), self._weighted(other)
        across = sum(value * b[gram] for gram, value in a.items() if gram in b)
        lengths = np.sqrt(sum(v * v for v in a.values()) * sum(v * v for v in b.values()))
        return float(across / lengths) if lengths else 0.0

    def _weighted(self, counts: Counter[Gram]) -> dict[Gram, float]:
        total = max(sum(counts.values()), 1)
        return {
            gram: count / total * float(np.log(self._texts / max(self._having[gram], 1)))
            for gram, count in counts.items()
        }


def distinct(texts: Sequence[str], order: int) -> float:
    """Share of different ones among all runs of `order` words (Li et al. 2016, distinct-n)."""
    counts = sum((grams(text, order) for text in texts), Counter())
    return len(counts) / max(sum(counts.values()), 1)


def same(one: str, other: str) -> bool:
    """Whether two texts have the same words."""
    return words(one) == words(other)
