"""Which memories a filter allows, kept between requests and brought up to date by what changed.

To read them all takes as long as there are rows; of a set that is kept, only what came or changed
since the last request is read. Deleted memories may stay in it, since no index finds them, and
expired ones, since no answer holds them.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

from memory_service.storage.catalog import Catalog
from memory_service.storage.filters import Filter
from memory_service.storage.vectors import NO_SEQUENCES, Allowed, Sequences

MOST_SETS = 64
MOST_SEQUENCES = 8_000_000  # in all sets together: 64 MB
FEW = 100  # memories are asked in a moment


NOBODY = Allowed(NO_SEQUENCES)


@dataclass(frozen=True)
class _Kept:
    allowed: Allowed
    last: int  # all memories up to this sequence were asked
    memories: int  # changes that there had been
    lineage: int
    until: float  # when a prototype expires, its members are found in its place


@dataclass(frozen=True)
class _KeptMates:
    targets: Allowed
    mates: dict[str, Allowed]
    lineage: int


class AllowedSets:
    """Safe for use from several threads."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, _Kept | _KeptMates] = OrderedDict()

    def of(self, namespace: str, modality: str, filter: Filter) -> Allowed:
        """What the filter allows; without a filter, all of the modality."""
        # Not the filter itself: Python holds 1, 1.0 and True to be equal.
        key = (namespace, modality, repr(filter))
        catalog, changes = self._catalog, self._catalog.changes
        memories, lineage, last = changes.memories, changes.lineage, catalog.newest()
        kept = self._get(key)
        changed = changes.since(kept.memories) if isinstance(kept, _Kept) else None
        if (
            not isinstance(kept, _Kept)
            or changed is None
            or kept.lineage != lineage
            or catalog.now() >= kept.until
            # Whether a member is found depends on its prototype.
            or (changed and catalog.any_prototype())
        ):
            until = catalog.next_prototype_expires()
            allowed = Allowed(catalog.sequences(namespace, modality, filter))
        elif not changed and last <= kept.last:
            return kept.allowed
        else:
            until, allowed = kept.until, kept.allowed
            if changed and filter:
                again = catalog.sequences(namespace, modality, filter, among=changed)
                allowed = Allowed(
                    np.union1d(np.setdiff1d(allowed.sequences, np.array(changed)), again)
                )
            if last > kept.last:
                more = catalog.sequences(namespace, modality, filter, after=kept.last)
                allowed = allowed.extended(more, kept.last)
        self._keep(key, _Kept(allowed, last, memories, lineage, until))
        return allowed

    def at_hand(self, namespace: str, modality: str, filter: Filter) -> bool:
        """Whether `of` has hardly anything to read."""
        kept = self._get((namespace, modality, repr(filter)))
        return (
            isinstance(kept, _Kept)
            and kept.lineage == self._catalog.changes.lineage
            and self._catalog.now() < kept.until
            and self._catalog.newest() - kept.last <= FEW
            and self._catalog.changes.memories - kept.memories <= FEW
        )

    def mates(self, namespace: str, modality: str, filter: Filter) -> dict[str, Allowed]:
        """By modality, the memories whose episode holds another one that the filter allows."""
        key = ("mates", namespace, modality, repr(filter))
        lineage = self._catalog.changes.lineage
        targets = self.of(namespace, modality, filter)
        kept = self._get(key)
        if not isinstance(kept, _KeptMates) or kept.lineage != lineage:
            kept = _KeptMates(NOBODY, {}, lineage)
        if kept.targets is targets:
            return kept.mates
        known = len(kept.targets)
        mates = kept.mates
        if not np.array_equal(targets.sequences[:known], kept.targets.sequences):
            known, mates = 0, {}
        more = self._catalog.mates(targets.sequences[known:])
        mates = {
            name: _union(mates.get(name), more.get(name)) for name in dict.fromkeys([*mates, *more])
        }
        self._keep(key, _KeptMates(targets, mates, lineage))
        return mates

    def _get(self, key: Hashable) -> _Kept | _KeptMates | None:
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
            return kept

    def _keep(self, key: Hashable, kept: _Kept | _KeptMates) -> None:
        with self._lock:
            self._kept[key] = kept
            self._kept.move_to_end(key)
            while len(self._kept) > 1 and (
                len(self._kept) > MOST_SETS or sum(map(_size, self._kept.values())) > MOST_SEQUENCES
            ):
                self._kept.popitem(last=False)


def _size(kept: _Kept | _KeptMates) -> int:
    if isinstance(kept, _Kept):
        return len(kept.allowed)
    return sum(map(len, kept.mates.values()))


def _union(known: Allowed | None, more: Sequences | None) -> Allowed:
    if known is None:
        known = NOBODY
    return known if more is None else Allowed(np.concatenate([known.sequences, more]))
