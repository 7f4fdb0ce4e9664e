"""Brief retrievals that are there at the same time have their vectors compared together.

One alone computes in the thread of the event loop, where a thread of its own would take longer to
begin. Of several, the comparing goes into one thread beside the loop, all at once and without the
interpreter: two processors are at work, and the lock is asked for once rather than by each.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from memory_service.api.turns import raisable
from memory_service.api.workers import Workers
from memory_service.services.searches import NONE_AHEAD, Ahead, Found, Search, together

MOST_TOGETHER = 64  # searches: whoever comes next waits for no more than these

_Asked = tuple[Sequence[Search], asyncio.Future[Ahead]]


class Searches:
    """Belongs to one event loop. No more wait here than there are requests with a whole body, and
    none longer than the searches before it take: milliseconds."""

    def __init__(self) -> None:
        self._workers = Workers(1, "search")
        self._present = 0
        self._waiting: list[_Asked] = []
        self._at_work = False

    def close(self) -> None:
        self._workers.close()

    async def ahead(self, searches: Callable[[], Sequence[Search]]) -> Ahead:
        """What was found: nothing where nobody else is there. Raises what a search raises."""
        self._present += 1
        try:
            await asyncio.sleep(0)  # the others who came in this turn of the loop get here, too
            if self._present == 1:
                return NONE_AHEAD
            loop = asyncio.get_running_loop()
            wanted, answer = searches(), loop.create_future()
            if not self._waiting:
                loop.call_soon(self._begin, loop)
            self._waiting.append((wanted, answer))
            found: Ahead = await answer
            return found
        finally:
            self._present -= 1

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._at_work or not self._waiting:
            return
        group, self._waiting = self._waiting[:MOST_TOGETHER], self._waiting[MOST_TOGETHER:]
        self._at_work = True
        try:
            self._workers.submit(partial(self._work, group, loop))
        except RuntimeError:  # the system has no thread for it: each searches by itself
            self._over(group, None, 0.0, loop)

    def _work(self, group: Sequence[_Asked], loop: asyncio.AbstractEventLoop) -> None:
        started = time.perf_counter()
        found: Found | Exception
        try:
            found = together([search for searches, _ in group for search in searches])
        except BaseException as error:  # whatever it is: the next group must be able to begin
            found = raisable(error)
        seconds = time.perf_counter() - started
        with suppress(RuntimeError):  # the loop is closed: the service has ended
            loop.call_soon_threadsafe(self._over, group, found, seconds, loop)

    def _over(
        self,
        group: Sequence[_Asked],
        found: Found | Exception | None,
        seconds: float,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._at_work = False
        self._begin(loop)
        for searches, answer in group:
            if answer.done():  # cancelled: by a server that is shutting down
                continue
            if found is None:
                answer.set_result(NONE_AHEAD)
            elif isinstance(found, Exception):
                answer.set_exception(found)
            else:
                answer.set_result(Ahead({each: found[each] for each in searches}, seconds))
