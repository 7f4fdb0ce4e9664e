"""Connections that take too long, say too much or speak no HTTP are ended, with a problem document
where it can still be said.

uvicorn waits for ever for the head of a request, and for a client to read its answer; of a head it
keeps whatever comes. Limits are looked after once a second, by `look`: a timer for
each request would cost more than all the rest of this.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from memory_service.api.middleware import SECURITY_HEADERS
from memory_service.api.problems import HTTP_CODES, members
from memory_service.api.uploads import BODY_HERE

log = logging.getLogger(__name__)

MOST_HEAD_BYTES = 64 * 2**10  # request line and headers
REST_S = 30.0  # for the rest of a body that was answered already, which is read and dropped
LINGER_S = 2.0  # for the client to read why its connection ends
CONTINUE = b"HTTP/1.1 100"  # not yet the head of an answer: the client is to send its body
MOST_JOINED_BYTES = 2**16  # more costs more to copy than a second write does


@dataclass(frozen=True)
class Bounds:
    head_s: float  # from the first byte of a head, or the opening of the connection, to its end
    unread_s: float  # in which nothing of an answer was read
    connections: int  # at a time
    refused: Callable[[str], None] = lambda reason: None  # is told of each that is ended


class Connection(HttpToolsProtocol):
    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: Any = None,
        *,
        bounds: Bounds,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._bounds = bounds
        self._head_since: float | None = None  # a head is awaited, or on its way, since then
        self._in_head = self._in_body = False
        self._seen = 0  # bytes since the end of the last request
        self._refusal = (400, HTTP_CODES[400], "what came is no HTTP request")
        self._ends_at: float | None = None  # it was refused; what still comes is dropped
        self._rest_since: float | None = None
        self._unsent, self._unsent_since = 0, 0.0

    # What uvicorn and the parser call.

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._answers = _WholeAnswers(transport, self.loop)
        self._head_since = self.loop.time()
        if len(self.connections) > self._bounds.connections and not self._displace():
            self._refuse(503, "overloaded", "too many connections are open", retry_after_s=1)
            self._bounds.refused("too_many")

    def connection_lost(self, exc: Exception | None) -> None:
        self._answers.drop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._ends_at is not None:
            return
        if self._head_since is None and not self._in_body:
            self._head_since = self.loop.time()
        self._seen += len(data)
        super().data_received(data)
        if self._in_head and self._ends_at is None:
            if self._head_since is None:  # of the next request, behind the end of another
                self._head_since = self.loop.time()
            if self._seen > MOST_HEAD_BYTES:
                self._set_too_large()
                self.send_400_response("")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True

    def on_headers_complete(self) -> None:
        if self._seen > MOST_HEAD_BYTES and self._head_bytes() > MOST_HEAD_BYTES:
            self._set_too_large()
            raise ValueError("the parser passes it on as an error of its own")
        self._in_head, self._in_body, self._head_since = False, True, None
        former = self.cycle
        super().on_headers_complete()
        if self.cycle is not former:
            self.cycle.transport = self._answers  # type: ignore[assignment]

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.cycle.scope[BODY_HERE] = True  # type: ignore[literal-required]
        self._in_body, self._seen = False, 0

    def on_response_complete(self) -> None:
        self._answers.complete()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """What came cannot be read on."""
        self._bounds.refused("malformed" if self._refusal[0] == 400 else "head_too_large")
        if self._answering and not self._in_body:
            # An answer is under way, and this came behind its request: it is the last one.
            self._ends_at = float("inf")
            self.cycle.keep_alive = False
        elif self._answering and self.cycle.response_started:
            self.transport.abort()
        else:
            self._refuse(*self._refusal)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unsent_since = self.loop.time()  # some of it was read, and more may be there by now

    def _unsupported_upgrade_warning(self) -> None:
        """Is no reason for a warning: the request is answered as what it is besides."""

    # How it ends.

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _set_too_large(self) -> None:
        detail = f"request line and headers have more than {MOST_HEAD_BYTES} bytes"
        self._refusal = (431, "head_too_large", detail)

    def _refuse(self, status: int, code: str, detail: str, **more: Any) -> None:
        """Answer, then end the connection once that was read, or could have been."""
        log.info("a connection was refused: %s", detail)
        content = json.dumps(members(status, code, detail, **more)).encode()
        headers = {
            **SECURITY_HEADERS,
            "Content-Type": "application/problem+json",
            "Content-Length": str(len(content)),
            "Connection": "close",
            "X-Request-Id": uuid.uuid4().hex,
        }
        if "retry_after_s" in more:
            headers["Retry-After"] = str(more["retry_after_s"])
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        if self._answering:  # who reads the body has waited long enough
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._answers.drop()
        self._ends_at = self.loop.time() + LINGER_S
        self.transport.write(STATUS_LINE[status] + lines.encode() + b"\r\n" + content)
        if self.transport.can_write_eof():
            # Closed at once, what still comes would be answered by a reset, before this is read.
            self.transport.write_eof()
        else:
            self.transport.close()

    def _displace(self) -> bool:
        """End another connection in favour of this one: of those on which nothing is asked, the
        one that has been silent for longest, or any that only might be used again."""
        others = [each for each in self.connections if each is not self]
        idle = [each for each in others if isinstance(each, Connection) and each._idle]
        if not idle:
            return False
        since = self.loop.time()
        chosen = min(idle, key=lambda each: since if each._head_since is None else each._head_since)
        self._bounds.refused("displaced")
        self.connections.discard(chosen)
        chosen.transport.abort()
        return True

    @property
    def _idle(self) -> bool:
        return not self._answering and not self._in_body and self._ends_at is None

    def look(self, now: float) -> None:
        """To be called about once a second."""
        if self._ends_at is not None and now > self._ends_at:
            self.transport.abort()
            return
        self._look_at_answer(now)
        self._look_at_rest(now)
        if self._head_since is None or self._ends_at is not None:
            return
        if self._answering:
            self._head_since = now  # until that is done, nothing more is read
        elif now - self._head_since > self._bounds.head_s:
            self._bounds.refused("head_timeout")
            if self._seen or self._in_head:
                detail = f"no whole head of a request came within {self._bounds.head_s:g} s"
                self._refuse(408, "slow_upload", detail, accepted=self._bounds.head_s)
            else:
                self.transport.close()

    def _look_at_answer(self, now: float) -> None:
        unsent = self.transport.get_write_buffer_size()
        if unsent == 0 or unsent < self._unsent or self._unsent == 0:
            self._unsent_since = now
        elif now - self._unsent_since > self._bounds.unread_s:
            self._bounds.refused("unread")
            self.transport.abort()
        self._unsent = unsent

    def _look_at_rest(self, now: float) -> None:
        if not self._in_body or self._answering:
            self._rest_since = None
        elif self._rest_since is None:
            self._rest_since = now
        elif now - self._rest_since > REST_S:
            self._bounds.refused("rest_of_body")
            self.transport.abort()


class _WholeAnswers:
    """What uvicorn writes the answers of a connection to: the head of each goes along with the
    first of its body. By itself it would wake the client, and be a system call, for nothing it can
    use yet."""

    __slots__ = ("_ended", "_head", "_held", "_loop", "_transport")

    def __init__(self, transport: Any, loop: Any) -> None:
        self._transport, self._loop = transport, loop
        self._head = True  # of the next answer is to be written
        self._held = b""
        self._ended = False  # nothing more is written, though the transport may be open still

    def write(self, data: bytes) -> None:
        if self._ended:
            return
        if self._head and not data.startswith(CONTINUE):
            self._head, self._held = False, data
            self._loop.call_soon(self._flush)  # or alone, where the body is not there yet
        elif self._held and len(self._held) + len(data) < MOST_JOINED_BYTES:
            held, self._held = self._held, b""
            self._transport.write(held + data)
        else:
            self._flush()
            self._transport.write(data)

    def complete(self) -> None:
        """The answer is; there may have been no body, as for HEAD."""
        self._flush()
        self._head = True

    def drop(self) -> None:
        """What is held, and what else is written."""
        self._ended, self._held = True, b""

    def _flush(self) -> None:
        held, self._held = self._held, b""
        if held and not self._transport.is_closing():
            self._transport.write(held)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._ended or bool(self._transport.is_closing())


def look(connections: Iterable[object], now: float) -> None:
    """At all that are open."""
    for each in list(connections):
        if isinstance(each, Connection):
            each.look(now)
