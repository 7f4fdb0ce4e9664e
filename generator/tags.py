"""Several words for one condition: those of the memory and of an own vocabulary that fit it best.

Each candidate is scored by the cosine of its vector to the query, as standard deviations above
the mean of the vocabulary: pictures and sounds lie further from all texts than texts do, so a bare
cosine cannot be compared. What the memory names gains by the weight of the memories that name it.
Vocabulary and figures: `generator.training.tags`; docs/experiments.md, "Tags".
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from safetensors.numpy import load

from encoders.base import Encoder, Modality, Vectors
from generator.base import Condition, Generated, Generator, require_creativity

# In standard deviations above the mean of the vocabulary: what a tag needs where the memory names
# nothing, what it needs more where all of the memory names something, and what being named by all
# of it adds. Best F1 on the validation split: `python -m generator.training.tags`.
THRESHOLD = 3.5
MORE = 2.75
NAMED = 6.0
MOST = 12
LONGEST = 3  # words of a remembered text that is a tag as it is
TEMPERATURE = 1.0  # of sampling at creativity 1, in standard deviations
NO_TAGS = "No tags found."
_ARTICLE = re.compile(r"^(?:a|an|the|some)\s+")


@dataclass(frozen=True)
class Vocabulary:
    """Words and their unit vectors (N, D); `version` tells vocabularies apart."""

    words: tuple[str, ...]
    vectors: Vectors
    version: str


def load_vocabulary(weights_dir: Path) -> Vocabulary:
    """The committed one: words as JSON, their vectors as fp16 in the same order."""
    words, vectors = ((weights_dir / f"tags.{end}").read_bytes() for end in ("json", "safetensors"))
    return Vocabulary(
        words=tuple(json.loads(words)),
        vectors=load(vectors)["vectors"].astype(np.float32),
        version=hashlib.sha256(words + vectors).hexdigest(),
    )


def small_vocabulary(encoder: Encoder) -> Vocabulary:
    """Numbers as words, for profiles without a committed one: tags come from the memory then."""
    words = tuple(f"number {number}" for number in range(32))
    return Vocabulary(words, encoder.encode(words), "numbers")


class TagGenerator(Generator):
    """Names what fits, with commas between, the best first."""

    modality: ClassVar[Modality] = "text"
    draws: ClassVar[bool] = False

    def __init__(self, encoder: Encoder, vocabulary: Vocabulary) -> None:
        self._encoder = encoder
        self._vocabulary = vocabulary
        self.name = "tags-of-the-shared-space"
        self.space_id = encoder.space.id
        rule = f"{THRESHOLD}:{MORE}:{NAMED}"
        self.fingerprint = f"{self.name}-1:{rule}:{vocabulary.version}:{encoder.space.fingerprint}"

    def generate(self, condition: Condition, *, seed: int, creativity: float) -> Generated:
        """All candidates beyond the threshold at creativity 0, at most twelve; above, as many, the
        better the likelier (Gumbel noise on the scores). "No tags found." where none is.

        `details`: `tags`, each with its score and the memories that name it, and the threshold.
        """
        require_creativity(creativity)
        named = _named(condition)
        words, scores = self._scores(condition, named)
        naming = {episode: w for each in named.values() for episode, w in each.episodes.items()}
        threshold = THRESHOLD + MORE * sum(naming.values())
        count = min(MOST, int((scores >= threshold).sum()))
        drawn = scores
        if creativity:
            noise = np.random.default_rng(seed).gumbel(size=len(scores))
            drawn = scores + TEMPERATURE * creativity * noise
        chosen = np.argsort(-drawn, kind="stable")[:count]
        tags = [
            {
                "tag": words[row],
                "score": round(float(scores[row]), 3),
                "memory_ids": named[words[row]].memory_ids if words[row] in named else [],
            }
            for row in chosen
        ]
        text = ", ".join(str(each["tag"]) for each in tags) or NO_TAGS
        return Generated(text, {"tags": tags, "threshold": round(threshold, 3)})

    def _scores(self, condition: Condition, named: Mapping[str, _Naming]) -> tuple[list[str], Any]:
        """The candidates and their scores (N,)."""
        own = self._vocabulary
        known_words = set(own.words)
        new = [word for word in named if word not in known_words]
        cosines = np.concatenate([own.vectors, self._encoder.encode(new)]) @ condition.query
        known = cosines[: len(own.words)]
        scores = (cosines - known.mean()) / max(float(known.std()), 1e-6)
        words = [*own.words, *new]
        for row, word in enumerate(words):
            if word in named:
                scores[row] += NAMED * named[word].weight
        return words, scores


@dataclass
class _Naming:
    """Who names a word: the memories, and their episodes with the weight of each."""

    memory_ids: list[str] = field(default_factory=list)
    episodes: dict[str, float] = field(default_factory=dict)

    @property
    def weight(self) -> float:
        return sum(self.episodes.values())


def _named(condition: Condition) -> dict[str, _Naming]:
    """What the memories name: their tags, and texts that are no longer than a tag. An episode
    counts once, by the weight of all of it, however many of its memories say the same."""
    found: dict[str, _Naming] = defaultdict(_Naming)
    for neighbour, weight in zip(condition.neighbours, condition.episode_weights, strict=True):
        texts = [*neighbour.tags, *([neighbour.media] if neighbour.modality == "text" else [])]
        for word in filter(None, dict.fromkeys(map(_tag, texts))):
            found[word].memory_ids.append(neighbour.id)
            found[word].episodes[neighbour.episode or neighbour.id] = float(weight)
    return dict(found)


def _tag(text: str) -> str:
    """Lower case, without article and full stop; empty where it is too long for a tag."""
    words = " ".join(text.lower().split()).strip(".!?,;: ")
    tag = _ARTICLE.sub("", words)
    return tag if len(tag.split()) <= LONGEST and len(tag) <= 40 else ""
