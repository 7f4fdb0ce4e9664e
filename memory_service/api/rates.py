"""How often, and how much, each caller may ask: token buckets by key."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from memory_service.access import Caller, Key
from memory_service.api.access import CALLER
from memory_service.api.headers import header
from memory_service.api.problems import service_problem
from memory_service.errors import MemoryServiceError, RateLimited, TooLarge
from memory_service.settings import Settings

MINUTE_S = 60.0


class Bucket:
    """Holds `size` tokens at most, and gains `per_s` of them each second."""

    def __init__(self, per_s: float, size: float, now: float) -> None:
        self._per_s = per_s
        self._size = size
        self._tokens = size
        self._at = now

    def take(self, tokens: float, now: float) -> float:
        """0.0 and they are taken; or the seconds until they will be there, and nothing is."""
        self._tokens = min(self._size, self._tokens + (now - self._at) * self._per_s)
        self._at = now
        if self._tokens >= tokens:
            self._tokens -= tokens
            return 0.0
        return (tokens - self._tokens) / self._per_s


class Rates:
    """Refuses what comes too often (requests), or is too much (bytes of bodies), by key.

    Who sends no key shares one bucket with all who send none. Paths that ask for no key are not
    counted. A body without a declared length is counted as it streams in.
    """

    def __init__(
        self, app: ASGIApp, settings: Settings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._app = app
        self._settings = settings
        self._clock = clock
        self._requests: dict[str | None, Bucket] = {}  # by key id: as many as there are keys
        self._bytes: dict[str | None, Bucket] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller: Caller | None = scope.get(CALLER)
        if caller is None:
            await self._app(scope, receive, send)
            return
        per_min = self._bytes_per_min(caller.key)
        declared = header(scope, b"content-length") or "" if per_min else ""
        try:
            self._count_request(caller.key)
            if per_min and declared.isdigit():
                self._count_bytes(caller.key, per_min, int(declared))
        except MemoryServiceError as error:
            await service_problem(error)(scope, receive, send)
            return
        if not per_min or declared.isdigit():
            await self._app(scope, receive, send)
            return

        async def counted() -> Message:
            message = await receive()
            self._count_bytes(caller.key, per_min, len(message.get("body", b"")))
            return message

        await self._app(scope, counted, send)

    def _count_request(self, key: Key | None) -> None:
        own = None if key is None else key.requests_per_s
        per_s = self._settings.requests_per_s if own is None else own
        if per_s:
            size = max(float(self._settings.request_burst), per_s)
            bucket = self._bucket(self._requests, key, per_s, size)
            self._refuse(bucket.take(1.0, self._clock()), f"{per_s:g} requests per second", per_s)

    def _bytes_per_min(self, key: Key | None) -> int:
        own = None if key is None else key.bytes_per_min
        return self._settings.bytes_per_min if own is None else own

    def _count_bytes(self, key: Key | None, per_min: int, size: int) -> None:
        if size > per_min:
            raise TooLarge(
                f"the body has {size} bytes, and {per_min} are allowed in a whole minute",
                found=size,
                accepted=per_min,
            )
        bucket = self._bucket(self._bytes, key, per_min / MINUTE_S, per_min)
        self._refuse(bucket.take(size, self._clock()), f"{per_min} bytes per minute", per_min)

    def _bucket(
        self, buckets: dict[str | None, Bucket], key: Key | None, per_s: float, size: float
    ) -> Bucket:
        name = None if key is None else key.id
        if name not in buckets:
            buckets[name] = Bucket(per_s, size, self._clock())
        return buckets[name]

    def _refuse(self, wait_s: float, allowed: str, accepted: float) -> None:
        if wait_s > 0.0:
            raise RateLimited(
                f"more than {allowed} came",
                retry_after_s=max(1, math.ceil(wait_s)),
                accepted=accepted,
            )
