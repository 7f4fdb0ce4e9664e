"""Items of several callers encoded together: an encoder around an encoder.

One thread computes one batch at a time; what arrives meanwhile makes up the next one. The model
inside knows nothing of it, and this module knows no HTTP and no metrics library: who wants to count
is told (`Observer`).
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from encoders.base import Encoder, Vectors
from memory_service.errors import NotReady, Overloaded
from memory_service.observing import tell

RECENT = 0.2  # weight of the last batch in the running mean of seconds per item
MOST_RETRY_S = 60


class Observer(Protocol):
    """Is told what happens, from any thread; must be quick."""

    def encoded(self, modality: str, items: int, waited_s: Sequence[float]) -> None:
        """A batch of `items` begins; so long each of them waited."""

    def queued(self, modality: str, items: int) -> None:
        """So many items wait now."""

    def rejected(self, modality: str, items: int) -> None:
        """So many items found the queue full."""

    def computed(self, modality: str, items: int, seconds: float) -> None:
        """A batch of `items` took so long to encode."""


@dataclass(eq=False)
class _Call:
    """The items of one caller."""

    items: Sequence[Any]
    came: float = field(default_factory=time.monotonic)
    taken: int = 0  # items that are, or were, in a batch
    rows: list[Vectors] = field(default_factory=list)  # (D,) each, in the order of the items
    answer: Future[Vectors] = field(default_factory=Future)


_Part = tuple[_Call, Any]  # an item and its caller


class BatchingEncoder(Encoder):
    """Encodes like `encoder`, whose modality and space it has. Safe for use from several threads.

    A batch has at most `max_batch` items, one of each caller in turn, so that a caller of many
    does not keep out the others. A lone caller never waits. Where the last batch had several
    callers, the first item after it waits at most `max_wait_s` for as many to come again.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        max_batch: int = 32,
        max_wait_s: float = 0.002,
        max_queue: int,
        observers: list[Observer] | None = None,
    ) -> None:
        """`observers` may be a list that several encoders share: who joins it is told by all."""
        self.encoder = encoder
        self.modality = encoder.modality
        self.space = encoder.space
        self.segment_s, self.hop_s = encoder.segment_s, encoder.hop_s
        self._max_batch = max_batch
        self._max_wait_s = max_wait_s
        self._max_queue = max_queue
        self._observers = [] if observers is None else observers
        self._changed = threading.Condition()
        # All below is changed under the condition's lock.
        self._calls: deque[_Call] = deque()  # those that have items waiting
        self._queued = 0  # items waiting
        self._computing = 0  # items in the batch that is being computed
        self._closed = False
        self._callers = 0  # of the last batch
        self._idle_since = -math.inf
        self._item_s = 0.0  # running mean of seconds per item
        self._worker: threading.Thread | None = None  # from the first call on

    @property
    def name(self) -> str:
        return self.encoder.name

    def observe(self, observer: Observer) -> None:
        self._observers.append(observer)

    def encode(self, batch: Sequence[Any]) -> Vectors:
        """As `Encoder.encode`. Raises what the encoder raises for these items, Overloaded when
        too many items wait already, and NotReady after `close`.

        A caller of more items than the queue holds is let in when nobody else waits.
        """
        if not batch:
            return super().encode(batch)
        return self._encode(batch)  # of unit length: the encoder inside sees to that

    def _encode(self, batch: Sequence[Any]) -> Vectors:
        call = _Call(batch)
        with self._changed:
            if self._closed:
                raise NotReady("the service is shutting down")
            if self._queued and self._queued + len(batch) > self._max_queue:
                self._reject(len(batch))
            self._calls.append(call)
            self._count(len(batch))
            self._changed.notify()
            if self._worker is None:
                name = f"encode-{self.modality}"
                self._worker = threading.Thread(target=self._work, name=name, daemon=True)
                self._worker.start()
        return call.answer.result()

    def close(self) -> None:
        """Answer what is queued, take nothing more, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            worker = self._worker
        if worker is not None:
            worker.join()

    def _reject(self, items: int) -> None:
        self._tell(lambda observer: observer.rejected(self.modality, items))
        ahead = self._queued + self._computing
        raise Overloaded(
            f"{self._queued} of at most {self._max_queue} items wait for the {self.modality} "
            "encoder already",
            retry_after_s=min(max(1, math.ceil(ahead * self._item_s)), MOST_RETRY_S),
            found=self._queued + items,
            accepted=self._max_queue,
        )

    def _count(self, more: int) -> None:
        self._queued += more
        self._tell(lambda observer: observer.queued(self.modality, self._queued))

    def _tell_computed(self, items: int, seconds: float) -> None:
        self._tell(lambda observer: observer.computed(self.modality, items, seconds))

    def _tell(self, what: Callable[[Observer], None]) -> None:
        tell(self._observers, what)

    def _work(self) -> None:
        while batch := self._next_batch():
            started = time.monotonic()
            self._compute(batch)
            with self._changed:
                self._idle_since = time.monotonic()
                batch_s = self._idle_since - started
                self._tell_computed(len(batch), batch_s)
                item_s = batch_s / len(batch)
                self._item_s += (RECENT if self._item_s else 1.0) * (item_s - self._item_s)
                self._computing = 0

    def _next_batch(self) -> list[_Part]:
        """Empty when closed and everything is answered."""
        with self._changed:
            while not self._calls and not self._closed:
                self._changed.wait()
            if not self._calls:
                return []
            self._wait_for_company(self._calls[0].came)
            return self._take()

    def _wait_for_company(self, came: float) -> None:
        """Callers of one batch were answered together and often come again together."""
        if came - self._idle_since > self._max_wait_s:
            return
        while not self._closed and len(self._calls) < self._callers:
            left = came + self._max_wait_s - time.monotonic()
            if left <= 0 or self._queued >= self._max_batch:
                return
            self._changed.wait(left)

    def _take(self) -> list[_Part]:
        batch: list[_Part] = []
        while self._calls and len(batch) < self._max_batch:
            call = self._calls.popleft()
            batch.append((call, call.items[call.taken]))
            call.taken += 1
            if call.taken < len(call.items):
                self._calls.append(call)
        self._callers = len({call for call, _ in batch})
        self._computing = len(batch)
        self._count(-len(batch))
        now = time.monotonic()
        waited_s = [now - call.came for call, _ in batch]
        self._tell(lambda observer: observer.encoded(self.modality, len(batch), waited_s))
        return batch

    def _compute(self, batch: Sequence[_Part]) -> None:
        """Encode and answer. Where that fails, each caller's items alone: others do not suffer."""
        try:
            rows = self.encoder.encode([item for _, item in batch])
            if len(rows) != len(batch):
                raise RuntimeError(f"{self.name} made {len(rows)} vectors of {len(batch)} items")
        except BaseException as error:  # whatever it is: a caller waits for it
            callers = dict.fromkeys(call for call, _ in batch)
            if len(callers) == 1:
                self._fail(batch[0][0], error)
                return
            for caller in callers:
                self._compute([part for part in batch if part[0] is caller])
        else:
            for (call, _), row in zip(batch, rows, strict=True):
                call.rows.append(row)
                if len(call.rows) == len(call.items):
                    self._answer(call)

    def _answer(self, call: _Call) -> None:
        try:
            vectors = np.stack(call.rows)
        except BaseException as error:  # rows of batches that do not fit, or no memory
            call.answer.set_exception(error)
        else:
            call.answer.set_result(vectors)

    def _fail(self, call: _Call, error: BaseException) -> None:
        with self._changed:
            if call in self._calls:  # its other items
                self._calls.remove(call)
                self._count(call.taken - len(call.items))
        call.answer.set_exception(error)
