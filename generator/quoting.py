"""What is taken of a remembered text that is too long: the part that answers best, word for word.

Knows no decoder.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from generator.answers import MOST_CHARS, overlap, split
from generator.wording import longest_start

MOST_QUOTED = 400  # characters


class Passage(NamedTuple):
    """Characters of a text. `ends`: with a sentence, or with the text."""

    start: int
    end: int
    ends: bool = True


def passage(text: str, asked: str, fits: Callable[[str], bool]) -> Passage:
    """All of `text` where it fits; else the sentence that has most words of `asked`, and as many
    after it and before it as fit; of a longer sentence its beginning, up to a word.

    A text that is blank has an empty passage.
    """
    text = text[:MOST_CHARS]
    start = len(text) - len(text.lstrip())
    end = max(start, len(text.rstrip()))
    if start == end or fits(text[start:end]):
        return Passage(start, end)
    sentences = split(text)
    if not sentences:
        return Passage(start, start + len(longest_start(text[start:end], fits)), False)
    best = int(np.argmax(overlap(asked, [each.text for each in sentences])))
    first = last = best
    start = sentences[best].start
    if not fits(sentences[best].text):
        return Passage(start, start + len(longest_start(sentences[best].text, fits)), False)
    while last + 1 < len(sentences) and fits(text[start : sentences[last + 1].end]):
        last += 1
    while first > 0 and fits(text[sentences[first - 1].start : sentences[last].end]):
        first -= 1
    part = Passage(sentences[first].start, sentences[last].end)
    # A sentence of more than is looked at has been cut.
    return part._replace(ends=part.end == end or not text[part.end - 1].isalnum())


def quotable(text: str) -> bool:
    return len(text) <= MOST_QUOTED
