"""What is done beside the requests, again and again: expired memories go, recalls are written."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from memory_service import trail
from memory_service.clock import Clock
from memory_service.errors import StorageFull
from memory_service.services.recalls import Recalls
from memory_service.storage.store import Store

log = logging.getLogger(__name__)

SWEPT_AT_ONCE = 256  # memories per transaction: stores wait for no longer


class Upkeep:
    """A thread from `start` to `close`. `sweep` may be called from any other, too."""

    def __init__(
        self,
        store: Store,
        recalls: Recalls,
        clock: Clock,
        interval_s: float,
        note: Callable[[trail.Made], None],
    ) -> None:
        """`note` is told what expired and is gone; what it raises is logged."""
        self._store = store
        self._recalls = recalls
        self._clock = clock
        self._interval_s = interval_s
        self._note = note
        self._closing = threading.Event()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """The first round begins at once."""
        self._recalls.when_many = self._wake.set
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        self._recalls.close()

    def sweep(self) -> int:
        """Delete for good what has expired by now; returns how many memories that were."""
        swept = 0
        while gone := self._store.removal.expired(self._clock.now(), SWEPT_AT_ONCE).memory_ids:
            swept += len(gone)
            if self._closing.is_set():
                break
        return swept

    def _run(self) -> None:
        trail.open_trail(self._noted, at_once=True)
        while not self._closing.is_set():
            self._round()
            self._wake.wait(self._interval_s)
            self._wake.clear()

    def _noted(self, gone: trail.Made) -> None:
        try:
            self._note(gone)
        except Exception:  # it is deleted all the same
            log.exception("what expired is missing from the audit log: %s", gone)

    def _round(self) -> None:
        try:
            if swept := self.sweep():
                log.info("%d memories had expired and are deleted", swept)
            self._recalls.flush()
            self._store.removal.tidy()
        except StorageFull as error:  # the next round tries again
            log.error("upkeep failed: %s", error)
        except Exception:
            log.exception("upkeep failed")
