"""What one forgetting has removed so far: counts and a digest of all of it, lists of the first.

Of any number of memories it takes a bounded room. Knows neither tables nor files.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from memory_service.ids import new_id
from memory_service.records import Forgotten, Manner, Memory
from memory_service.storage.probe import Probe

MOST_LISTED = 10_000  # entries of each list of a receipt
MOST_PROBED = 1024  # memories: each is searched for, before and after
MOST_MARKS = 200_000  # to look for, some 30 MB; of more, the catalog is written anew unseen

LISTS = (
    "memory_ids",
    "episode_ids",
    "contents",
    "blobs_removed",
    "generations_marked",
    "generations_erased",
    "damaged",
)
_DIGEST_BITS = 256

Lists = Mapping[str, Sequence[str]]


def entry(memory_id: str, content: str) -> int:
    """What a memory adds to the digest of a receipt: SHA-256 of its id and that of its content,
    as hexadecimal digits with a space between them, read as a number."""
    return int.from_bytes(hashlib.sha256(f"{memory_id} {content}".encode()).digest(), "big")


@dataclass(frozen=True)
class Part:
    """What a transaction removes, and what has become known since the one before it."""

    lists: Lists
    removed: Counter[str] = field(default_factory=Counter)
    digest: int = 0


@dataclass
class Tally:
    """One forgetting while it goes on, in one transaction or many."""

    what: str
    manner: Manner
    time: float
    namespace: str = ""  # known with the first memory
    id: str = field(default_factory=new_id)
    job: str | None = None
    removed: Counter[str] = field(default_factory=Counter)
    digest: int = 0  # sum of the entries: of the same memories the same, in whatever order
    probes: list[Probe] = field(default_factory=list)
    marks: set[bytes] = field(default_factory=set)  # to look for, where `wait` is asked for
    settled: list[str] = field(default_factory=list)  # contents that need no note any more
    aside: dict[str, list[Path]] | None = None  # what is in quarantine, once it was listed
    clean: bool = False
    probe: dict[str, Any] | None = None
    _listed: dict[str, dict[str, None]] = field(
        default_factory=lambda: {name: {} for name in LISTS}
    )
    _late: dict[str, None] = field(default_factory=dict)  # blobs_removed, not in a part yet

    def blob_removed(self, digest: str) -> None:
        """That is known after the transaction, so it is told with the next one."""
        self._late[digest] = None
        self.removed["blobs"] += 1

    def part(
        self,
        lists: Mapping[str, Iterable[str]] | None = None,
        removed: Counter[str] | None = None,
        memories: Iterable[Memory] = (),
    ) -> Part:
        """Changes nothing: a transaction may fail. `lists` are cut where they are full."""
        given = {"blobs_removed": self._late, **(lists or {})}
        fresh = {name: self._fresh(name, each) for name, each in given.items()}
        digest = sum(entry(memory.id, memory.blob) for memory in memories)
        return Part(
            {name: each for name, each in fresh.items() if each}, removed or Counter(), digest
        )

    def _fresh(self, name: str, given: Iterable[str]) -> list[str]:
        known = self._listed[name]
        room = MOST_LISTED - len(known)
        return [each for each in dict.fromkeys(given) if each not in known][:room] if room else []

    def take(self, part: Part) -> None:
        """Once its transaction is on the disk."""
        for name, each in part.lists.items():
            self._listed[name].update(dict.fromkeys(each))
        self.removed.update(part.removed)
        self.digest = (self.digest + part.digest) % 2**_DIGEST_BITS
        self._late.clear()
        self.settled.clear()

    def facts(self, part: Part) -> dict[str, Any]:
        """All but the lists, as it will be with the part."""
        digest = (self.digest + part.digest) % 2**_DIGEST_BITS
        removed = self.removed.copy()
        removed.update(part.removed)
        return {
            "removed": dict(removed),
            "digest": _hex(digest),
            "clean": self.clean,
            "probe": self.probe,
            "job": self.job,
        }

    def receipt(self, *, complete: bool) -> Forgotten:
        lists = {name: tuple(each) for name, each in self._listed.items()}
        marked = self._listed["generations_marked"].keys() - self._listed["generations_erased"]
        lists["generations_marked"] = tuple(
            each for each in lists["generations_marked"] if each in marked
        )
        return Forgotten(
            id=self.id,
            time=self.time,
            what=self.what,
            namespace=self.namespace,
            removed=dict(self.removed),
            digest=_hex(self.digest),
            kept=self.manner.keep_receipt,
            complete=complete,
            clean=self.clean,
            probe=self.probe,
            job=self.job,
            **lists,
        )

    def more_probes(self) -> bool:
        return self.manner.probe and sum(each.size for each in self.probes) < MOST_PROBED

    def more_marks(self) -> bool:
        return self.manner.wait and len(self.marks) <= MOST_MARKS

    @property
    def nothing(self) -> bool:
        """Nothing was removed."""
        return not any(self.removed.values())


def _hex(digest: int) -> str:
    return f"{digest:0{_DIGEST_BITS // 4}x}"
