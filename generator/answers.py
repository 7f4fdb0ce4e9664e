"""Answers out of what is remembered: the sentence that fits a question best, word for word.

A sentence is scored by its meaning (cosine to the question in the text space), by the words that it
shares with the question, rare ones first, and by the weight of its episode in the fusion, which a
picture or a sound beside the question has a say in. With one of these, only what is remembered
with its like is asked: the question is about that. Below a threshold nothing is answered. No
weights but those of the text encoder; figures: docs/experiments.md, "Answers".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Any, ClassVar

import numpy as np

from encoders.base import Encoder, Modality
from generator.base import Condition, Generated, Generator, require_creativity
from generator.wording import longest_start

NOT_FOUND = "No answer found."
MOST_SENTENCES = 48  # that are encoded; of more, those that share most words with the question
MOST_CHARS = 20_000  # of each remembered text
LONGEST = 400  # characters of a sentence
TOLD = 3  # sentences in the details
# Of the three parts of the score, and the score from which on it is an answer: measured by
# `python -m benchmarks.answers`.
MEANING, WORDS, MEMORY = 0.5, 0.4, 0.1
THRESHOLD = 0.5
# Of the weight of the heaviest episode, what another one needs to be asked, too, where a picture
# or a sound says what the question is about.
POINTED = 0.3
TEMPERATURE = 0.1  # of sampling, at creativity 1
_STOP_WORDS = """
a an and any are as at be been by can could did do does for from had has have he her his how i in is
it its me my of on or our she should so some such than that the their them there these they this
those to was we were what when where which who whom whose why will with would you your tell about
show please know many much long often kind
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
# A sentence ends with a mark before a blank, unless an initial or a common short form is before.
_NO_END = "".join(
    f"(?<!{short})" for short in (r"[.\s][A-Z]", r"\bDr", r"\bMr", r"\bMrs", r"e\.g", r"i\.e")
)
_END = re.compile(_NO_END + r"[.!?…]+[\"')\]]*\s+|\n+")


@dataclass(frozen=True)
class Sentence:
    """`start` and `end`: characters of the remembered text."""

    place: int  # of the neighbour
    start: int
    end: int
    text: str


class AnswerGenerator(Generator):
    """Quotes the remembered sentence that answers best."""

    modality: ClassVar[Modality] = "text"
    draws: ClassVar[bool] = False
    needs_words: ClassVar[bool] = True

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.name = "extractive-answer"
        self.space_id = encoder.space.id
        self.fingerprint = (
            f"{self.name}-2:{MEANING}:{WORDS}:{MEMORY}:{THRESHOLD}:{POINTED}:"
            f"{encoder.space.fingerprint}"
        )

    def generate(self, condition: Condition, *, seed: int, creativity: float) -> Generated:
        """The sentence as it is remembered, or "No answer found.".

        At creativity 0 the best; above, one of those beyond the threshold, the better the likelier.
        `details`: `found`, `memory_id`, `start` and `end` (characters), `score`, `threshold`, and
        in `candidates` the best sentences with theirs.
        """
        require_creativity(creativity)
        sentences = self._sentences(condition)
        scores = self._scores(condition, sentences)
        order = np.argsort(-scores, kind="stable")
        good = [int(row) for row in order if scores[row] >= THRESHOLD]
        candidates = [self._told(condition, sentences[row], scores[row]) for row in order[:TOLD]]
        details: dict[str, Any] = {
            "found": bool(good),
            "threshold": THRESHOLD,
            "sentences": len(sentences),
            "candidates": candidates,
        }
        if not good:
            return Generated(NOT_FOUND, details)
        row = good[_drawn(scores[good], seed, creativity)]
        told = self._told(condition, sentences[row], scores[row])
        return Generated(sentences[row].text, {**details, **told})

    def _told(self, condition: Condition, sentence: Sentence, score: float) -> dict[str, Any]:
        return {
            "memory_id": condition.neighbours[sentence.place].id,
            "start": sentence.start,
            "end": sentence.end,
            "text": sentence.text,
            "score": round(float(score), 4),
        }

    def _sentences(self, condition: Condition) -> list[Sentence]:
        weights = condition.episode_weights
        least = POINTED * float(weights.max(initial=0.0)) if condition.pointed else 0.0
        found = [
            sentence
            for place, neighbour in enumerate(condition.neighbours)
            if neighbour.modality == "text" and weights[place] >= least
            for sentence in split(str(neighbour.media)[:MOST_CHARS], place)
        ]
        if len(found) <= MOST_SENTENCES:
            return found
        shared = overlap(condition.words, [each.text for each in found])
        best = sorted(np.argsort(-shared, kind="stable")[:MOST_SENTENCES])
        return [found[row] for row in best]

    def _scores(self, condition: Condition, sentences: Sequence[Sentence]) -> Any:
        """(N,) of the sentences."""
        if not sentences:
            return np.zeros(0, np.float32)
        texts = [each.text for each in sentences]
        question, *rows = self._encoder.encode([condition.words, *texts])
        weights = condition.episode_weights[[each.place for each in sentences]]
        meaning = np.stack(rows) @ question
        return MEANING * meaning + WORDS * overlap(condition.words, texts) + MEMORY * weights


def split(text: str, place: int = 0) -> list[Sentence]:
    """The sentences of a text that have a word, with where they stand in it."""
    found: list[Sentence] = []
    start = 0
    ends = [match.end() for match in _END.finditer(text)]
    for end in [*ends, len(text)]:
        raw = text[start:end]
        kept = longest_start(raw.strip(), lambda part: len(part) <= LONGEST)
        if any(c.isalnum() for c in kept):
            first = start + len(raw) - len(raw.lstrip())
            found.append(Sentence(place, first, first + len(kept), kept))
        start = end
    return found


def overlap(question: str, sentences: Sequence[str]) -> Any:
    """(N,): share of the question's content words that a sentence has, rare ones weighing more.

    A word weighs log(1 + N / n), n of the N sentences having it; one that none has weighs as one
    that a single sentence has.
    """
    asked = set(content_words(question))
    having = [set(content_words(each)) for each in sentences]
    if not asked or not having:
        return np.zeros(len(having), np.float32)
    counts = Counter(word for words in having for word in words & asked)
    weights = {word: log(1 + len(having) / max(counts[word], 1)) for word in asked}
    total = sum(weights.values())
    shares = [sum(weights[word] for word in words & asked) / total for words in having]
    return np.asarray(shares, np.float32)


def content_words(text: str) -> list[str]:
    """Stems of the words that say something: a plural meets its singular, "eats" meets "eat"."""
    words = re.findall(r"[^\W_]+", text.lower())
    return [_stem(word) for word in words if word not in STOP_WORDS]


def _stem(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    for ending in ("sses", "xes", "ing", "ed", "es", "s"):
        stem = word.removesuffix(ending)
        if stem != word and len(stem) >= 3 and not word.endswith("ss"):
            word = stem[:-1] if stem[-1] == stem[-2] and stem[-1] not in "sl" else stem
            break
    return word.rstrip("e") if len(word) > 3 else word


def _drawn(scores: Any, seed: int, creativity: float) -> int:
    """Which of the scores, best first."""
    if not creativity:
        return 0
    logits = (scores - scores[0]) / (TEMPERATURE * creativity)
    weights = np.exp(logits.astype(np.float64))
    return int(np.random.default_rng(seed).choice(len(scores), p=weights / weights.sum()))
