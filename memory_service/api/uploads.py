"""Bodies on their way in: how large, how slow, and how much of them there is at a time."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from memory_service.access import Caller
from memory_service.api import problems
from memory_service.api.access import CALLER
from memory_service.api.headers import header
from memory_service.api.problems import service_problem
from memory_service.api.turns import ARRIVED, BODY_READ
from memory_service.errors import NotReady, Overloaded, SlowUpload, TooLarge, told

# Bodies up to this size, where they say so, are not counted: there are no more than connections.
SMALL = 64 * 2**10
LOOK_S = 1.0  # of waiting, after which it is looked whether the service is to stop
SHARE = "memory_service.share"  # in the scope of a request: its `Share`

# Set in a request's scope by the server once all of the body has come, as small ones do at once.
BODY_HERE = "memory_service.body_here"


class Room:
    """Bytes of bodies that are held at a time: so many in all, and of each key `per_key`. Belongs
    to one event loop; only `taken` may be read from elsewhere.

    Who sends no key, where none is asked for, may take all: there is nobody to share with.
    """

    def __init__(self, total: int, per_key: int, refused: Callable[[str], None]) -> None:
        self._total = total
        self._per_key = per_key
        self._refused = refused
        self._by_key: Counter[str] = Counter()
        self.taken = 0

    def take(self, key: str | None, size: int) -> None:
        """Raises Overloaded when there is not so much left."""
        own, accepted = (self.taken, self._total)
        if key is not None and self._by_key[key] + size > self._per_key:
            own, accepted = self._by_key[key], self._per_key
        if own + size > accepted:
            self._refused("room")
            raise Overloaded(
                f"bodies of {own} bytes are on their way already, or being worked on, and this one "
                f"has {size} more: {accepted} are taken at a time",
                retry_after_s=1,
                found=own + size,
                accepted=accepted,
            )
        self.taken += size
        if key is not None:
            self._by_key[key] += size

    def give_back(self, key: str | None, size: int) -> None:
        self.taken -= size
        if key is not None:
            self._by_key[key] -= size
            if not self._by_key[key]:
                del self._by_key[key]


class Share:
    """What one request has of the room."""

    def __init__(self, room: Room, key: str | None) -> None:
        self._room = room
        self._key = key
        self._size = 0

    def take(self, size: int) -> None:
        """Raises Overloaded."""
        self._room.take(self._key, size)
        self._size += size

    def give_back(self, size: int | None = None) -> None:
        """None: all of it."""
        size = self._size if size is None else size
        self._size -= size
        if size:
            self._room.give_back(self._key, size)


@dataclass(frozen=True)
class Pace:
    """How slow a body may be. Of its time only what is spent waiting for it counts."""

    idle_s: float  # a pause
    bytes_per_s: int  # on average, beyond the first `idle_s`
    whole_s: float = math.inf  # from the request to the end of its body

    def patience_s(self, received: int, waited_s: float, passed_s: float) -> float:
        """How long may be waited for more; below 0: it is too late."""
        rate_s = self.idle_s + received / self.bytes_per_s - waited_s
        return min(self.idle_s, rate_s, self.whole_s - passed_s)


class Uploads:
    """Refuses a body that is too large, by its declared length or while it streams in, too slow,
    or for which there is no room.

    Bodies for the paths of `streamed` are of any length and take any time, if only they do not
    stop; who reads them says how much of them is held.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_bytes: int,
        pace: Pace,
        room: Room,
        slow: Callable[[str], None],
        streamed: Collection[str] = (),
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._pace = pace
        self._streams = Pace(pace.idle_s, pace.bytes_per_s)
        self._room = room
        self._slow = slow
        self._streamed = streamed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        packed = (header(scope, b"content-encoding") or "identity").strip().lower()
        if packed not in ("", "identity"):
            await _packed(packed)(scope, receive, send)
            return
        declared = header(scope, b"content-length") or ""
        length = int(declared) if declared.isdigit() else None
        streamed = scope["path"] in self._streamed
        if length is not None and length > self._max_bytes and not streamed:
            await service_problem(self._too_large(length))(scope, receive, send)
            return
        pace = self._streams if streamed else self._pace
        share = held = None
        if streamed or length is None or length > SMALL:
            caller: Caller | None = scope.get(CALLER)
            share = scope[SHARE] = Share(self._room, None if caller is None else caller.key_id)
            held = None if streamed else share
        received, waited_s, whole, first = 0, 0.0, False, True
        now = asyncio.get_running_loop().time

        async def counted() -> Message:
            nonlocal received, waited_s, whole, first
            if whole:  # what comes now is that the client leaves, whenever it does
                return await receive()
            if first and held is not None and length is not None:
                held.take(length)
            first, began = False, now()
            if scope.get(BODY_HERE):  # there is nothing to wait for
                message: Message | None = await receive()
            else:
                patience_s = pace.patience_s(received, waited_s, began - scope.get(ARRIVED, began))
                message = await _within(patience_s, receive, scope)
            if message is None:
                raise self._too_slow(pace, received)
            whole = not message.get("more_body", False)
            if whole:
                scope[BODY_READ], scope[ARRIVED] = True, now()
            else:
                waited_s += now() - began
            size = len(message.get("body", b""))
            received += size
            if received > self._max_bytes and not streamed:
                raise self._too_large(received)
            if held is not None and length is None:
                held.take(size)
            return message

        try:
            await self._app(scope, counted, send)
        finally:
            if share is not None:
                share.give_back()

    def _too_slow(self, pace: Pace, received: int) -> SlowUpload:
        self._slow("slow")
        bound = "" if math.isinf(pace.whole_s) else f", and {pace.whole_s:g} s for all of it"
        return SlowUpload(
            f"{received} bytes of the body came, then no more in time: a pause may have "
            f"{pace.idle_s:g} s, the rest {pace.bytes_per_s} bytes a second on average{bound}",
            found=received,
            accepted={"pause_s": pace.idle_s, "bytes_per_s": pace.bytes_per_s},
        )

    def _too_large(self, size: int) -> TooLarge:
        return TooLarge(
            f"the body has {size} bytes or more, at most {self._max_bytes} are accepted",
            found=size,
            accepted=self._max_bytes,
        )


def _packed(how: str) -> Response:
    """RFC 9110, 15.5.16: told in Accept-Encoding, too."""
    code = problems.HTTP_CODES[415]
    detail = f"the body is packed ({how[:80]}): send it as it is"
    answer = problems.problem(415, code, detail, found=told(how), accepted=["identity"])
    answer.headers["Accept-Encoding"] = "identity"
    return answer


async def _within(patience_s: float, receive: Receive, scope: Scope) -> Message | None:
    """What comes next; None when nothing did. Raises NotReady for a body that pauses while the
    service is to stop: it would be held up for that long."""
    while True:
        try:
            async with asyncio.timeout(min(patience_s, LOOK_S)):
                return await receive()
        except TimeoutError:
            if scope["app"].state.draining:
                raise NotReady("the service is shutting down, and the body was not whole") from None
            patience_s -= LOOK_S
            if patience_s <= 0.0:
                return None
