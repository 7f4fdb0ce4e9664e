"""Rankings of what may become hits, and how two of them become one. Pure functions.

Two rankings are joined by reciprocal ranks (Cormack et al. 2009), which needs no common scale of
scores. Knows no storage and no models.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from encoders.base import Modality
from memory_service.records import Reach

RANK_CONSTANT = 60  # of reciprocal-rank fusion, as in the source above
SAME_ITEM_WAYS = 4  # more than the two ways of any other memory together


@dataclass(frozen=True)
class Found:
    """A memory that may become a hit: only these are read whole from the catalog."""

    sequence: int
    id: str
    episode_id: str
    score: float
    reached_by: tuple[Reach, ...]
    same_item: bool = False  # the match is what the query shows
    members: frozenset[int] = frozenset()  # of a prototype: the sequences that it stands for


def joined(
    direct: Sequence[Found], associative: Sequence[Found], sizes: Mapping[str, int]
) -> list[Found]:
    """Both rankings in one, by the sum of reciprocal ranks, each times its way's score.

    The scores keep a way that believes in none of its matches from having as much say as one
    that found what was asked for: plain ranks cannot tell these apart. A memory that is alone
    in its episode cannot be reached by association; its rank counts twice, or any mediocre
    memory that has mates would go before it. What the query itself was stored with goes first:
    no likeness in other modalities outvotes having met the very same item.
    """
    found: dict[int, Found] = {}
    worth: dict[int, float] = defaultdict(float)
    for each in (*direct, *associative):
        reach = each.reached_by[0]
        alone = reach.path == "direct" and sizes.get(each.episode_id, 1) == 1
        ways = SAME_ITEM_WAYS if each.same_item else 2 if alone else 1
        worth[each.sequence] += ways * each.score / (RANK_CONSTANT + reach.rank)
        known = found.setdefault(each.sequence, each)
        if known is not each:
            found[each.sequence] = replace(
                known,
                score=max(known.score, each.score),
                reached_by=(*known.reached_by, reach),
            )
    # Equal worth: the better score, then what was reached directly, goes first.
    return sorted(found.values(), key=lambda each: (-worth[each.sequence], by_score(each)))


def keep_better(
    best: dict[int, Found], sequence: int, memory_id: str, match: Found, route: Modality
) -> None:
    """Note that `match` leads to the memory `sequence`, unless a better match is known."""
    if sequence == match.sequence or sequence in match.members:
        return
    matched = match.reached_by[0]
    reach = Reach("associative", 0, matched.cosine, match.id, route, matched.segment)
    found = Found(sequence, memory_id, match.episode_id, match.score, (reach,), match.same_item)
    known = best.get(sequence)
    if known is None or by_score(found) < by_score(known):
        best[sequence] = found


def by_score(found: Found) -> tuple[float, bool, float, int]:
    """Sorts the best first: score, direct before associative, cosine, order of storing."""
    reach = found.reached_by[0]
    return -found.score, reach.path != "direct", -reach.cosine, found.sequence
