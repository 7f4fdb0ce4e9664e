"""The associative way to a memory: another memory of its episode is near the query.

Where a prototype stands for its members, it leads to the episodes of all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from encoders.base import Modality
from memory_service.services.direct import DirectWay
from memory_service.services.models import Models, key_of
from memory_service.services.ranking import Found, by_score, keep_better
from memory_service.storage import lineage
from memory_service.storage.allowed import NOBODY
from memory_service.storage.store import Store
from memory_service.storage.vectors import Allowed, SubMemory


class AssociativeWay:
    """Of one retrieval, by one thread; begins with what lies on the direct way."""

    def __init__(self, store: Store, models: Models, direct: DirectWay) -> None:
        self._store = store
        self._models = models
        self._direct = direct
        # By modality, searches without a restriction: each modality asked for follows the same.
        self._branched: dict[Modality, list[Found]] = {}

    def ranking(self, modality: Modality, k: int) -> list[Found]:
        """Memories whose episode holds another one near the query, best first; at least `k`, if
        there are.

        Such a memory has the score of the one that matched. First the nearest memories of every
        reachable modality are followed to their episodes; where that gives too few, only memories
        that have a mate among the targets are searched, which is exact.
        """
        direct, space = self._direct, key_of(self._models.space(modality))
        index = self._store.index(SubMemory(direct.namespace, modality, *space))
        if index is None or not len(index):
            return []
        targets = direct.allowed(modality)
        found = self._follow(modality, targets)
        if len(found) < min(k, len(index if targets is None else targets)):
            mates = self._store.allowed.mates(direct.namespace, modality, direct.filter)
            found = self._follow(modality, targets, mates)
        return [
            replace(each, reached_by=(replace(each.reached_by[0], rank=rank),))
            for rank, each in enumerate(found[: direct.depth], start=1)
        ]

    def _follow(
        self,
        modality: Modality,
        targets: Allowed | None,
        mates: Mapping[str, Allowed] | None = None,
    ) -> list[Found]:
        """From matches to other memories of their episodes; ranks are not yet set.

        With `targets`, only to these; with `mates`, only from these, which are mates of a target.
        """
        catalog = self._store.catalog
        best: dict[int, Found] = {}
        for route in self._models.encoders:
            allowed = None if mates is None else mates.get(route, NOBODY)
            if allowed is not None and not len(allowed):
                continue
            matches = self._matches(route, allowed)
            members = catalog.members_of((match.episode_id for match in matches), modality)
            for match in matches:
                for sequence, memory_id in members.get(match.episode_id, ()):
                    if targets is None or sequence in targets:
                        keep_better(best, sequence, memory_id, match, route)
        if targets is None:  # the filter's targets are all to be ranked
            ranked = catalog.places(list(best))
            best = {sequence: each for sequence, each in best.items() if sequence in ranked}
        return sorted(best.values(), key=by_score)

    def _matches(self, modality: Modality, allowed: Allowed | None) -> list[Found]:
        """What is near the query, a prototype once for each episode of its members."""
        if allowed is None and modality in self._branched:
            return self._branched[modality]
        matches = self._direct.search(modality, allowed)
        stands_for = lineage.members(self._store.catalog, [each.sequence for each in matches])
        branched = []
        for match in matches:
            members = stands_for.get(match.sequence)
            if members is None:
                branched.append(match)
                continue
            own = frozenset(sequence for sequence, _, _ in members)
            for episode in dict.fromkeys(episode for _, _, episode in members):
                branched.append(replace(match, episode_id=episode, members=own))
        if allowed is None:
            self._branched[modality] = branched
        return branched
