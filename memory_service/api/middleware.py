"""Around every request: its id, a limit to its body, security headers, counts and times."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from memory_service.api.metrics import Metrics
from memory_service.api.problems import HOST_NOT_ALLOWED, INTERNAL, problem
from memory_service.errors import TooLarge

log = logging.getLogger("memory_service.access")

CLIENT_CLOSED = 499  # nginx's number for it, for logs and metrics only
_REQUEST_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)


class RequestContext:
    """Gives or takes over the request's id, adds headers, and writes metrics and one log line."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        head = scope["method"] == "HEAD"
        if head:  # every GET answers it, too, as RFC 9110 wants
            scope = {**scope, "method": "GET"}
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        started, status, started_answer = time.perf_counter(), 500, False

        async def send_with_headers(message: Message) -> None:
            nonlocal status, started_answer
            if message["type"] == "http.response.start":
                status, started_answer = message["status"], True
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                headers["X-Content-Type-Options"] = "nosniff"
                headers.setdefault("Cache-Control", "no-store")
                headers.setdefault("Referrer-Policy", "no-referrer")
            elif head and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except ClientDisconnect:
            status = CLIENT_CLOSED
        except Exception:  # Starlette's outermost layer would drop the connection
            log.exception("%s %s failed [%s]", scope["method"], scope["path"], request_id)
            if started_answer:
                raise  # half an answer cannot be taken back: the connection has to break
            answer = problem(500, INTERNAL, "something went wrong here; the log has more")
            await answer(scope, receive, send_with_headers)
        finally:
            seconds = time.perf_counter() - started
            # The template, not the path: ids would make a metric each.
            route = getattr(scope.get("route"), "path", "unknown")
            self._metrics.request(scope["method"], route, status, seconds)
            log.info(
                "%s %s %d %.1f ms [%s]",
                scope["method"],
                scope["path"],
                status,
                seconds * 1e3,
                request_id,
            )


class KnownHosts:
    """Refuses requests that were meant for another host, or that a page of another host sends.

    A browser reaches a service on the loopback address, too: without this, any web page could
    store and, by a name of its own that it lets point there (DNS rebinding), read memories.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self._app = app
        self._hosts = {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (refusal := self._refusal(Headers(scope=scope))):
            await problem(403, HOST_NOT_ALLOWED, refusal, accepted=sorted(self._hosts))(
                scope, receive, send
            )
            return
        await self._app(scope, receive, send)

    def _refusal(self, headers: Headers) -> str | None:
        host = headers.get("host", "")
        if host_name(f"//{host}") not in self._hosts:
            return f"this service does not answer for host {host[:80]!r}"
        origin = headers.get("origin")
        if origin is not None and host_name(origin) not in self._hosts:
            return f"pages of {origin[:80]!r} may not use this service"
        return None


def host_name(url: str) -> str | None:
    """Lower case, without port and brackets; None when there is none."""
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


class BodyLimit:
    """Refuses a body above the limit: by its declared length, else while it streams in.

    Bodies for the paths of `streamed` are of any length: who reads them keeps little of them.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, streamed: Collection[str] = ()) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._streamed = streamed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self._streamed:
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdigit() and int(declared) > self._max_bytes:
            error = self._error(int(declared))
            await problem(413, error.code, error.message, **error.details)(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise self._error(received)
            return message

        await self._app(scope, counted, send)

    def _error(self, size: int) -> TooLarge:
        return TooLarge(
            f"the body has {size} bytes or more, at most {self._max_bytes} are accepted",
            found=size,
            accepted=self._max_bytes,
        )
