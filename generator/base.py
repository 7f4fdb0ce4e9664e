"""What a generator is: a condition (query, fused vector, retrieved memories) in, media out.

To add one: subclass `Generator`, say in its attributes what it makes and in which space it was
trained, write `generate`, and name it in `generator.registry`. What a service does with the media
(bytes, novelty, provenance, drawing again, leaving memories out) needs no more than that.
Knows nothing about the service, and of `encoders` only `encoders.base`.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from typing import Any, ClassVar

import numpy as np

from encoders.base import Modality, Vectors

# Which memories several candidates start from (docs/experiments.md): those with this share of the
# best one's ranking, and so many at most.
ALIKE, MOST_STARTS = 0.3, 3
ITSELF = 0.99  # cosine of a query to a memory from which on that very memory is asked for


class Unavailable(RuntimeError):
    """A generator cannot work on this machine; the message says what it lacks."""


@dataclass(frozen=True)
class Neighbour:
    """One retrieved memory. `media` is decoded: `PIL.Image.Image`, `str` or `Waveform`."""

    id: str
    modality: Modality
    vector: Vectors  # (D,), unit length
    media: Any
    tags: tuple[str, ...] = ()  # words that its metadata describe it by
    episode: str | None = None  # id of what it was stored together with; None: stands alone


@dataclass(frozen=True)
class Condition:
    """Everything that a generation may depend on besides seed and creativity.

    `weights` (K,) are the fusion's share of each neighbour and sum to 1; K may be 0.
    Neighbours of every modality come along: a generator uses the vectors of all of them, and the
    media of those of its own modality.
    """

    query: Vectors  # (D,), unit length
    fused: Vectors  # (D,), unit length
    neighbours: tuple[Neighbour, ...]
    weights: Vectors  # (K,)
    words: str = ""  # the texts of the query, as they were asked; empty where it has none
    draft: str | None = None  # the text that was made for the same condition, where one was
    pointed: bool = False  # the query has more than words: a picture, a sound or a bare vector
    quotes: bool = True  # whether what is remembered may be given as it is, in place of being made
    start: str | None = None  # id of what comes before better matches; None, or not there: the best

    @property
    def episode_weights(self) -> Vectors:
        """(K,): for each neighbour the weight of all that are of its episode.

        A picture that is like the query stands for the text that was stored beside it.
        """
        keys = [each.episode or each.id for each in self.neighbours]
        total = dict.fromkeys(keys, 0.0)
        for key, weight in zip(keys, self.weights, strict=True):
            total[key] += float(weight)
        return np.array([total[key] for key in keys], np.float32)

    # (K,): how surely the neighbour's episode is what was asked for, as a share of the surest one.
    # A picture may be there because the text beside it matched, and be unlike a query that is a
    # text. None: each stands for itself, by its weight.
    matches: Vectors | None = None

    @property
    def ranking(self) -> Vectors:
        """(K,): by what a generator chooses among the media of its modality."""
        return self.weights if self.matches is None else self.matches

    def ranked(self, modality: Modality) -> list[Neighbour]:
        """What is remembered of one modality, `start` first, then the best match."""
        found = [self.neighbours[at] for at in self._order(modality)]
        return sorted(found, key=lambda each: each.id != self.start)

    def starts(self, modality: Modality) -> list[str]:
        """Ids of what candidates start from in turns: those of one modality that match nearly as
        well as the best, that one first. The best alone where its memory itself is asked for."""
        order = self._order(modality)
        if not order:
            return []
        best = float(self.ranking[order[0]])
        # Of the best one's episode all have its ranking.
        together = (self.neighbours[at] for at in np.flatnonzero(self.ranking == best))
        itself = any(float(each.vector @ self.query) >= ITSELF for each in together)
        alike = [at for at in order if self.ranking[at] >= ALIKE * best]
        return [self.neighbours[at].id for at in alike[: 1 if itself else MOST_STARTS]]

    def _order(self, modality: Modality) -> list[int]:
        """Places of what is remembered of one modality, the best match first."""
        order = np.argsort(-self.ranking, kind="stable").tolist()
        return [at for at in order if self.neighbours[at].modality == modality]


@dataclass(frozen=True)
class Generated:
    """`media`: `PIL.Image.Image` RGB, `str` or `Waveform`; `details`: JSON values about how.

    `merit`: how well it is made to the generator itself, in cosines: what is added to a candidate's
    score when the best is chosen.
    """

    media: Any
    details: Mapping[str, Any] = field(default_factory=dict)
    merit: float = 0.0


class Generator(ABC):
    """Makes media of one modality from a condition in one space. Safe to call from threads."""

    name: str
    modality: ClassVar[Modality]
    fingerprint: str  # hash over weights and configuration
    space_id: str  # the space whose vectors it was trained on
    latent: ClassVar[bool] = False  # an autoencoder and a flow: `recode`, `short_epoch`
    # False where a seed draws nothing new: what it makes quotes the memory, or reads it out.
    draws: ClassVar[bool] = True
    # Whether a seed gives alone, with the same `Condition.start`, what it gives among several
    # candidates, but for the last bits.
    seeds_stand_alone: ClassVar[bool] = True
    reads_draft: ClassVar[bool] = False  # it needs `Condition.draft`
    needs_words: ClassVar[bool] = False  # it needs `Condition.words`

    @abstractmethod
    def generate(self, condition: Condition, *, seed: int, creativity: float) -> Generated:
        """The same condition, seed and creativity give the same media on the same machine.

        `creativity` in [0, 1]: 0 reconstructs what is remembered, 1 draws freely from the
        learned conditional prior.
        """

    def recode(self, media: Sequence[Any]) -> Any | None:
        """What is left of media when they are only encoded into the generator's latents, averaged
        there, and decoded; of one alone, what its autoencoder makes of it. None: it has no latents.
        """
        return None

    def generate_each(
        self, conditions: Sequence[Condition], *, seeds: Sequence[int], creativity: float
    ) -> list[Generated]:
        """One for each condition and its seed, to be compared with each other.

        Equal conditions with equal seeds give equal media within one call. To be overridden where
        several at once cost less than one after the other; the last bits may then differ from
        `generate`.
        """
        return [
            self.generate(each, seed=seed, creativity=creativity)
            for each, seed in zip(conditions, seeds, strict=True)
        ]

    def usual_candidates(self, creativity: float) -> int:
        """How many to make, of which the one that fits best is kept, where nobody asks for a
        number: what takes little time."""
        return 1

    def candidates(
        self, condition: Condition, *, seeds: Sequence[int], creativity: float, refused: int = 0
    ) -> list[Generated]:
        """One for each seed, of which one is to be kept; of a single seed what `generate` gives.

        What starts from a memory's latents starts from each of `Condition.starts` in turn, so that
        there is something to choose from, or from `Condition.start` where one is named. At
        creativity 1 nothing is started from, and the best is read first.
        `refused`: how often all were too like a memory before; a generator may go further from it.
        The same arguments give the same media on the same machine.
        """
        conditions = [condition]
        if self.latent and condition.start is None and creativity < 1:
            starts = condition.starts(self.modality)
            conditions = [replace(condition, start=each) for each in starts] or conditions
        turns = list(islice(cycle(conditions), len(seeds)))
        return self.generate_each(turns, seeds=seeds, creativity=creativity)


def derived_seed(seed: int, number: int) -> int:
    """Of the `number`-th further draw; 0 is the first, with the seed itself."""
    if number == 0:
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed}:{number}".encode()).digest()[:4], "big")


def require_creativity(creativity: float) -> None:
    """Raises ValueError unless it is in [0, 1]."""
    if not 0.0 <= creativity <= 1.0:
        raise ValueError(f"creativity must be in [0, 1], not {creativity}")
