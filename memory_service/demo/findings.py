"""What the demonstration found, ready to be shown: media as bytes, captions, figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from memory_service.services.evaluation.metrics import interval


@dataclass(frozen=True)
class Item:
    """Something to show: a query, a memory, or something generated."""

    modality: str
    content: bytes
    media_type: str
    caption: str


@dataclass(frozen=True)
class FoundItem:
    item: Item
    score: float
    cosine: float | None
    reached: str  # "direct", "via text", ...
    own: bool  # of the very episode that the query was taken from
    memory_id: str


@dataclass(frozen=True)
class Answer:
    """One question and what came back, by modality, best first."""

    query: Item
    found: Mapping[str, tuple[FoundItem, ...]]
    own_in: frozenset[str]  # modalities in which the query's own episode is in memory
    # No concept of the query's episode was in the training of the models; None: not known.
    unseen: bool | None
    elapsed_ms: float
    raw: Mapping[str, Any] = field(repr=False)

    def own_place(self, modality: str) -> str:
        """Where the query's own episode came, in words; a dash where it has nothing to come."""
        if modality not in self.own_in:
            return "-"
        rank = self.own_rank(modality)
        return f"rank {rank}" if rank else f"not in the first {len(self.found[modality])}"

    def own_rank(self, modality: str) -> int | None:
        """Rank of the query's own episode among what is shown, from 1; None: not among it."""
        ranks = (rank for rank, hit in enumerate(self.found[modality], start=1) if hit.own)
        return next(ranks, None)


@dataclass(frozen=True)
class Source:
    """A memory that went into a generation."""

    item: Item
    weight: float
    cosine: float


@dataclass(frozen=True)
class Made:
    """One generated item with how it came about."""

    item: Item
    file: str  # name in the output folder
    creativity: float
    novelty: float | None
    generation_id: str


@dataclass(frozen=True)
class Creation:
    """What was generated from one query."""

    text: str
    picture: Item
    sources: tuple[Source, ...]
    made: tuple[Made, ...]
    replayed: bool  # generated again from its record, bit for bit the same
    elapsed_ms: float
    raw: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Panel:
    """What one memory makes of a query: the heaviest picture in it, and pictures made from it."""

    memory: str
    source: Item
    made: tuple[Made, ...]


@dataclass(frozen=True)
class Swap:
    """One query with several memories."""

    text: str
    panels: tuple[Panel, ...]
    # Of each pair of pictures, the share of their memories' difference in colour that they take.
    shares: tuple[float, ...]


@dataclass(frozen=True)
class Section:
    title: str
    note: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Findings:
    samples: str
    profile: Mapping[str, Any]
    counts: Mapping[str, int]  # stored memories by modality
    episodes: int
    seconds: Mapping[str, float]  # by step
    sections: tuple[Section, ...]
    creations: tuple[Creation, ...]
    swaps: tuple[Swap, ...] = ()

    @property
    def colour_taken(self) -> str:
        """Of all swaps, the mean share with its 95 % interval, in words."""
        shares = [share for swap in self.swaps for share in swap.shares]
        low, high = interval(shares)
        mean = sum(shares) / max(len(shares), 1)
        return (
            f"{mean:.2f} of the memories' difference in colour (1: all of it; 95 % interval "
            f"{low:.2f} to {high:.2f}, {len(shares)} pairs)"
        )

    @property
    def unseen(self) -> bool:
        """Whether any query is known to be of a concept that was not trained on."""
        return any(answer.unseen for section in self.sections for answer in section.answers)
