"""Around every request: its id, security headers, counts, times, log lines."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from collections.abc import Collection
from functools import partial
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from memory_service import logs, trail
from memory_service.access import Caller
from memory_service.api import audit
from memory_service.api.access import CALLER
from memory_service.api.calls import STAGES
from memory_service.api.headers import header
from memory_service.api.metrics import Metrics
from memory_service.api.problems import HOST_NOT_ALLOWED, INTERNAL, problem
from memory_service.api.turns import ARRIVED

log = logging.getLogger("memory_service.access")

CLIENT_CLOSED = 499  # nginx's number for it, for logs and metrics only
# Nothing that this service answers may be run, framed or embedded by a page, unless it says so.
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_SECURITY = [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]
_REQUEST_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)
# Ids of requests are no secrets, and to ask the system for each gives the interpreter's lock away.
_random = random.Random()


class RequestContext:
    """Gives or takes over the request's id, adds headers, and writes metrics, one log line and,
    where something was changed, lines of the audit log."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope[ARRIVED] = asyncio.get_running_loop().time()
        head = scope["method"] == "HEAD"
        if head:  # every GET answers it, too, as RFC 9110 wants
            scope["method"] = "GET"
        given = header(scope, b"x-request-id") or ""
        identity = given if _REQUEST_ID.fullmatch(given) else f"{_random.getrandbits(128):032x}"
        logs.request_id.set(identity)
        committed = trail.open_trail(partial(audit.record, scope, identity, None))
        started, status, started_answer = time.perf_counter(), 500, False

        async def send_with_headers(message: Message) -> None:
            nonlocal status, started_answer
            if message["type"] == "http.response.start":
                status, started_answer = message["status"], True
                headers = list(message.get("headers", ()))
                present = {name.lower() for name, _ in headers}
                headers += [each for each in _SECURITY if each[0] not in present]
                headers.append((b"x-request-id", identity.encode()))
                message["headers"] = headers
                if scope["app"].state.draining:  # so that the client does not send another one here
                    MutableHeaders(scope=message)["Connection"] = "close"
                # Before the answer: what is told is noted.
                audit.record(scope, identity, status, committed.end())
            elif head and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except ClientDisconnect:
            status = CLIENT_CLOSED
        except Exception:  # Starlette's outermost layer would drop the connection
            log.exception("%s %s failed", scope["method"], scope["path"])
            if started_answer:
                raise  # half an answer cannot be taken back: the connection has to break
            answer = problem(500, INTERNAL, "something went wrong here; the log has more")
            await answer(scope, receive, send_with_headers)
        finally:
            if not started_answer:  # nobody waited for it: what was done is noted all the same
                audit.record(scope, identity, status, committed.end())
            method = "HEAD" if head else scope["method"]
            self._tell(scope, method, status, time.perf_counter() - started)

    def _tell(self, scope: Scope, method: str, status: int, seconds: float) -> None:
        # The template, not the path: ids would make a metric each.
        route = getattr(scope.get("route"), "path", "unknown")
        self._metrics.request(method, route, status, seconds)
        if not log.isEnabledFor(logging.INFO):
            return
        caller: Caller | None = scope.get(CALLER)
        fields = {
            "method": method,
            "path": scope["path"],
            "route": route,
            "status": status,
            "duration_ms": round(seconds * 1e3, 3),
            "stages_ms": dict(scope.get(STAGES, {})),
            "key": None if caller is None else caller.key_id,
        }
        what = method, scope["path"], status, seconds * 1e3
        log.info("%s %s %d %.1f ms", *what, extra={logs.FIELDS: fields})


class KnownHosts:
    """Refuses requests that were meant for another host, or that a page of another host sends.

    A browser reaches a service on the loopback address, too: without this, any web page could
    store and, by a name of its own that it lets point there (DNS rebinding), read memories.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self._app = app
        self._hosts = {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (refusal := self._refusal(scope)):
            await problem(403, HOST_NOT_ALLOWED, refusal, accepted=sorted(self._hosts))(
                scope, receive, send
            )
            return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> str | None:
        host = header(scope, b"host") or ""
        if host_name(f"//{host}") not in self._hosts:
            return f"this service does not answer for host {host[:80]!r}"
        origin = header(scope, b"origin")
        if origin is not None and host_name(origin) not in self._hosts:
            return f"pages of {origin[:80]!r} may not use this service"
        return None


def host_name(url: str) -> str | None:
    """Lower case, without port and brackets; None when there is none."""
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
