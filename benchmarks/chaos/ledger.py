"""What callers know to be stored, deleted, or in doubt. Knows neither HTTP nor processes.

A request that was answered is certain, whatever happens after. One whose answer never came may
have been done or not, but not by half. After each restart the doubts are settled by what is there.
"""

from __future__ import annotations

import random
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MARK = "mark"  # metadata field that says which request stored a memory


@dataclass
class Known:
    """A memory that was acknowledged. `metadata`: what it may be; one of several while in doubt."""

    id: str
    episode_id: str
    sha256: str
    metadata: list[dict[str, Any]]
    doomed_by: str | None = None  # the deletion that was asked for and not answered
    busy: bool = False  # a request that changes it is on its way


@dataclass
class Ledger:
    """Safe for use from several threads."""

    known: dict[str, Known] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    # By mark, the contents (SHA-256) of an episode whose storing was not answered.
    doubtful: dict[str, list[str]] = field(default_factory=dict)
    # By mark, requests that bear it as their idempotency key and were not answered yet; and those
    # whose caller has to ask again after a restart, with the ids of what is there of them.
    keyed: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    unanswered: dict[str, list[str]] = field(default_factory=dict)
    generations: dict[str, list[str]] = field(default_factory=dict)  # id: SHA-256 of the outputs
    fresh: set[str] = field(default_factory=set)  # touched since the last comparison
    _order: list[str] = field(default_factory=list)  # ids, to draw from
    _episodes: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def storing(self, mark: str, sha256: Sequence[str]) -> None:
        with self._lock:
            self.doubtful[mark] = sorted(sha256)

    def sending(self, mark: str, request: Mapping[str, Any]) -> None:
        """With the mark as its idempotency key: when it is not answered, it is sent again."""
        with self._lock:
            self.keyed[mark] = request

    def stored(self, mark: str, memories: Sequence[Mapping[str, Any]]) -> None:
        with self._lock:
            del self.doubtful[mark]
            self.keyed.pop(mark, None)
            self._adopt(memories)

    def refused(self, mark: str) -> None:
        """Answered with an error: nothing of it may be there."""
        with self._lock:
            del self.doubtful[mark]
            self.keyed.pop(mark, None)

    def repeated(self, mark: str, memories: Sequence[Mapping[str, Any]], replayed: bool) -> str:
        """What is wrong with the answer to a request that was sent again after a restart."""
        there = self.unanswered.pop(mark)
        if not there:
            self.stored(mark, memories)
            return f"{mark} was not there, and is said to be replayed" if replayed else ""
        self.keyed.pop(mark, None)
        ids = sorted(each["id"] for each in memories)
        if ids == there and replayed:
            return ""
        return f"{mark} was stored as {there}, and sent again it is {ids} (replayed: {replayed})"

    def lives(self, ids: Iterable[str]) -> bool:
        """All of them are known, and no deletion is on its way."""
        with self._lock:
            found = [self.known.get(id) for id in ids]
            return all(each is not None and each.doomed_by is None for each in found)

    def _adopt(self, memories: Iterable[Mapping[str, Any]]) -> None:
        for each in memories:
            id, episode = each["id"], each["episode_id"]
            self.known[id] = Known(id, episode, each["sha256"], [each["metadata"]])
            self._order.append(id)
            self._episodes[episode].append(id)
            self.fresh.add(id)

    def pick(self, drawn: random.Random, episode: bool = False) -> list[Known]:
        """A memory that nothing is being done to, or with `episode` all of such an episode; they
        are the caller's until the request that it sends is answered."""
        with self._lock:
            for _ in range(20 if self.known else 0):
                each = self.known.get(drawn.choice(self._order))
                if each is None:
                    continue
                mates = [
                    self.known[id] for id in self._episodes[each.episode_id] if id in self.known
                ]
                if not any(mate.busy for mate in mates):
                    picked = mates if episode else [each]
                    for mate in picked:
                        mate.busy = True
                    return picked
        return []

    def deleting(self, memories: Sequence[Known], by: str) -> None:
        with self._lock:
            for each in memories:
                each.doomed_by = by
                self.fresh.add(each.id)

    def gone(self, ids: Iterable[str]) -> None:
        with self._lock:
            for id in ids:
                self.known.pop(id, None)
                self.deleted.add(id)

    def patching(self, memory: Known, metadata: dict[str, Any]) -> None:
        with self._lock:
            memory.metadata.append(metadata)
            self.fresh.add(memory.id)

    def patched(self, memory: Known) -> None:
        with self._lock:
            memory.metadata = memory.metadata[-1:]
            memory.busy = False

    def unchanged(self, memory: Known) -> None:
        """What was asked for was answered with an error."""
        with self._lock:
            memory.metadata = memory.metadata[:1]
            memory.doomed_by, memory.busy = None, False

    def generated(self, id: str, sha256: Sequence[str]) -> None:
        with self._lock:
            self.generations[id] = list(sha256)

    def compare(self, listed: Iterable[Mapping[str, Any]]) -> list[str]:
        """What is wrong with a store that lists these memories; settles all doubts by it."""
        with self._lock:
            found = [each for each in listed if not each["prototype"]]
            times = Counter(each["id"] for each in found)
            wrong = [f"{id} is listed {n} times" for id, n in times.items() if n > 1]
            there = {each["id"]: each for each in found}
            wrong += self._compare_known(there)
            wrong += self._compare_new(each for each in found if each["id"] not in self.known)
            marks = {id: each.metadata[0].get(MARK) for id, each in self.known.items()}
            self.unanswered = {
                mark: sorted(id for id, other in marks.items() if other == mark)
                for mark in self.keyed
            }
            self.doubtful = {
                mark: self.doubtful[mark] for mark, ids in self.unanswered.items() if not ids
            }
            return wrong

    def _compare_known(self, there: Mapping[str, Mapping[str, Any]]) -> list[str]:
        wrong = []
        fates: dict[str, set[bool]] = defaultdict(set)  # of each deletion in doubt
        for each in list(self.known.values()):
            now = there.get(each.id)
            if each.doomed_by is not None:
                fates[each.doomed_by].add(now is None)
            if now is None:
                if each.doomed_by is None:
                    wrong.append(f"{each.id} was acknowledged, and is missing")
                self.gone([each.id])
                continue
            each.doomed_by, each.busy = None, False
            if now["sha256"] != each.sha256:
                wrong.append(f"{each.id} has other contents: {now['sha256']}")
            if now["metadata"] not in each.metadata:
                wrong.append(f"{each.id} has metadata {now['metadata']}, not {each.metadata}")
            each.metadata = [now["metadata"]]
        return wrong + [f"{by} was done by half" for by, fate in fates.items() if len(fate) > 1]

    def _compare_new(self, found: Iterable[Mapping[str, Any]]) -> list[str]:
        """Memories of which no caller knows the id."""
        wrong = []
        by_mark: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for each in found:
            mark = each["metadata"].get(MARK)
            if each["id"] in self.deleted:
                wrong.append(f"{each['id']} was deleted, and is back")
            elif mark not in self.doubtful:
                wrong.append(f"{each['id']} ({mark}) was never stored, or refused")
            else:
                by_mark[mark].append(each)
        for mark, memories in by_mark.items():
            if sorted(each["sha256"] for each in memories) != self.doubtful[mark]:
                wrong.append(f"{mark} was stored by half")
            self._adopt(memories)
        return wrong
