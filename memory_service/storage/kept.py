"""Memories as they were last read, for as long as nothing of theirs changes: what one query finds,
others find again. Knows no SQL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from threading import Lock

from memory_service.records import Memory

MOST = 16_384  # memories: what a thousand queries find, and more
MOST_CHARACTERS = 1024  # of text and metadata: what has more is read each time
AT_ONCE = 128  # memories: who reads more of them goes through the store, and does not come back


class KeptMemories:
    """Safe for use from several threads. Expired ones are among them: who asks has to look."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._memories: dict[int, Memory] = {}
        self._moment = 0  # changes that there were

    def of(self, sequences: Sequence[int]) -> tuple[dict[int, Memory], int]:
        """Those of `sequences` that are kept, and the moment that it was, for `keep`."""
        with self._lock:
            kept = self._memories
            return {each: kept[each] for each in sequences if each in kept}, self._moment

    def keep(self, memories: Iterable[tuple[Memory, int]], moment: int) -> None:
        """What was read since `moment`, each with the characters of its text and metadata; of no
        use where something has changed meanwhile."""
        with self._lock:
            if moment != self._moment:
                return
            for each, characters in memories:
                if characters <= MOST_CHARACTERS:
                    self._memories[each.sequence] = each
            if len(self._memories) > MOST:
                for sequence in list(self._memories)[::2]:  # as good as any, where all come again
                    del self._memories[sequence]

    def changed(self, sequences: Iterable[int]) -> None:
        """These were changed or deleted: nothing of them stays here."""
        with self._lock:
            self._moment += 1
            for each in sequences:
                self._memories.pop(each, None)
