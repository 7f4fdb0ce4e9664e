"""Does the new space find as well as the old one? Asked of a sample of the store's own episodes.

Only stored vectors are used: the old encoders need not be there any more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from memory_service.records import Memory
from memory_service.storage.spaces import SpaceKey
from memory_service.storage.standby import Targets
from memory_service.storage.store import Store
from memory_service.storage.vectors import SubMemory

EPISODES = 100  # in the sample, drawn evenly over the store
K = 10


@dataclass
class _Score:
    queries: int = 0
    hits: int = 0

    def rate(self) -> float | None:
        return round(self.hits / self.queries, 4) if self.queries else None


@dataclass
class _Tally:
    """By "text -> image": how often an episode's own memory was among the first K."""

    before: dict[str, _Score] = field(default_factory=lambda: defaultdict(_Score))
    after: dict[str, _Score] = field(default_factory=lambda: defaultdict(_Score))
    # By modality: shares of the K nearest in the old space that are so in the new one, too.
    overlap: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


def compare(store: Store, targets: Targets, go_on: Callable[[], None]) -> Mapping[str, Any]:
    """Recall across modalities before and after, and how far neighbours stay the same.

    `before` is null where the old spaces share no space between two modalities, or there is
    nothing old. `go_on` is called between episodes.
    """
    old = {modality: store.spaces(modality) for modality in targets}
    new = {modality: set(spaces) for modality, spaces in targets.items()}
    tally = _Tally()
    episodes = _sample(store)
    for members in episodes:
        go_on()
        for memory in members:
            _ask_across(store, memory, members, old, tally.before)
            _ask_across(store, memory, members, new, tally.after)
            _overlap(store, memory, old, new, tally)
    return {
        "k": K,
        "episodes": len(episodes),
        "recall": {
            pair: {
                "queries": tally.after[pair].queries or tally.before[pair].queries,
                "before": tally.before[pair].rate(),
                "after": tally.after[pair].rate(),
            }
            for pair in sorted({*tally.before, *tally.after})
        },
        "neighbours_kept": {
            modality: round(float(np.mean(shares)), 4) for modality, shares in tally.overlap.items()
        },
    }


def _sample(store: Store) -> list[list[Memory]]:
    """The members of EPISODES episodes, or of all there are."""
    catalog = store.catalog
    ((count,),) = catalog.select("SELECT COUNT(*) FROM episodes")
    found = catalog.select(  # wherever place * most / count has reached another whole number
        "SELECT id FROM (SELECT id, ROW_NUMBER() OVER (ORDER BY id) AS place FROM episodes)"
        " WHERE place * ?1 % ?2 < ?1 LIMIT ?1",
        (EPISODES, count),
    )
    members = defaultdict(list)
    for memory in catalog.members(row["id"] for row in found):
        members[memory.episode_id].append(memory)
    return list(members.values())


def _ask_across(
    store: Store,
    memory: Memory,
    members: list[Memory],
    spaces: Mapping[str, set[SpaceKey]],
    scores: dict[str, _Score],
) -> None:
    """Does the memory find its episode's memories of other modalities?"""
    wanted: dict[str, set[int]] = defaultdict(set)
    for each in members:
        if each.modality != memory.modality:
            wanted[each.modality].add(each.sequence)
    for modality, own in wanted.items():
        for space in spaces.get(memory.modality, set()) & spaces.get(modality, set()):
            near = _near(store, memory, modality, space)
            if near is not None:
                score = scores[f"{memory.modality} -> {modality}"]
                score.queries += 1
                score.hits += bool(own & set(near))


def _overlap(
    store: Store,
    memory: Memory,
    old: Mapping[str, set[SpaceKey]],
    new: Mapping[str, set[SpaceKey]],
    tally: _Tally,
) -> None:
    for before, after in _pairs(old.get(memory.modality, set()), new.get(memory.modality, set())):
        near_before = _near(store, memory, memory.modality, before)
        near_after = _near(store, memory, memory.modality, after)
        if near_before and near_after:
            share = len(set(near_before) & set(near_after)) / len(near_before)
            tally.overlap[memory.modality].append(share)


def _pairs(old: set[SpaceKey], new: set[SpaceKey]) -> Iterator[tuple[SpaceKey, SpaceKey]]:
    yield from ((before, after) for before in sorted(old) for after in sorted(new))


def _near(store: Store, memory: Memory, modality: str, space: SpaceKey) -> list[int] | None:
    """Sequences of the K nearest of a modality, without the memory; None without its vector."""
    index = store.index(SubMemory(memory.namespace, modality, *space))
    vector = store.catalog.vector(memory.sequence, space)
    if index is None or vector is None:
        return None
    sequences, _ = index.search(vector, K + 1)  # room for the memory itself
    return [sequence for sequence in sequences.tolist() if sequence != memory.sequence][:K]
