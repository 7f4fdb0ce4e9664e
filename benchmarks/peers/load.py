"""A lean load generator: kept-alive HTTP/1.1 connections over epoll, one request at a time on each.

It does as little as there is to do for a request, so that what is measured is the server: a null
endpoint on it tells how much that little is. Knows no API.
"""

from __future__ import annotations

import itertools
import selectors
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field

import numpy as np

READ_BYTES = 1 << 18
PATIENCE_S = 60.0


def request(method: str, path: str, body: bytes = b"", kind: str = "application/json") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@dataclass
class Answer:
    status: int
    body: bytes


@dataclass
class Measured:
    """Latencies in seconds, in the order of the answers, and when each came."""

    seconds: list[float] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    errors: list[bytes] = field(default_factory=list)  # the first few
    elapsed_s: float = 0.0

    def note(self, answer: Answer, seconds: float, at: float) -> None:
        self.seconds.append(seconds)
        self.at.append(at)
        self.statuses[answer.status] += 1
        if answer.status >= 400 and len(self.errors) < 5:
            self.errors.append(answer.body[:300])

    @property
    def per_s(self) -> float:
        return len(self.seconds) / self.elapsed_s

    def ms(self, percentile: float) -> float:
        return float(np.percentile(self.seconds, percentile)) * 1e3

    @property
    def failed(self) -> int:
        return sum(count for status, count in self.statuses.items() if status >= 400)


class Connection:
    """One request at a time: `send`, then `read` whenever there is something, until it answers."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = bytearray()
        self.started = 0.0

    def send(self, content: bytes) -> None:
        self._received.clear()
        self.started = time.perf_counter()
        self.socket.sendall(content)

    def read(self) -> Answer | None:
        """The answer, when it is whole. Raises ConnectionError when there will be none."""
        piece = self.socket.recv(READ_BYTES)
        if not piece:
            raise ConnectionError(f"the server hung up after {bytes(self._received[:200])!r}")
        self._received += piece
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = bytes(self._received[:end]).lower()
        length = head.find(b"content-length:")
        if length >= 0:
            whole = end + 4 + int(head[length + 15 :].split(b"\r\n", 1)[0])
            if len(self._received) < whole:
                return None
        elif b"transfer-encoding: chunked" in head and not self._received.endswith(b"0\r\n\r\n"):
            return None
        return Answer(int(head[9:12]), bytes(self._received[end + 4 :]))

    def ask(self, content: bytes) -> Answer:
        self.send(content)
        while (answer := self.read()) is None:
            pass
        return answer

    def close(self) -> None:
        self.socket.close()


def drive(
    port: int,
    requests: Iterator[bytes],
    connections: int,
    *,
    seconds: float | None = None,
    on_answer: Callable[[Answer], None] = lambda answer: None,
) -> Measured:
    """Keep `connections` busy with `requests`, each sent when its connection is answered, until
    they or `seconds` are over; what is under way then is still waited for."""
    measured = Measured()
    started = time.perf_counter()
    end = float("inf") if seconds is None else started + seconds
    with selectors.DefaultSelector() as selector, ExitStack() as opened:
        under_way = 0
        for content in itertools.islice(requests, connections):
            connection = opened.enter_context(closing(Connection(port)))
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.send(content)
            under_way += 1
        while under_way:
            for key, _ in selector.select(PATIENCE_S) or _late():
                connection = key.data
                answer = connection.read()
                if answer is None:
                    continue
                now = time.perf_counter()
                measured.note(answer, now - connection.started, now - started)
                on_answer(answer)
                content = next(requests, None) if now < end else None
                if content is None:
                    under_way -= 1
                else:
                    connection.send(content)
    measured.elapsed_s = time.perf_counter() - started
    return measured


def _late() -> list:
    raise TimeoutError(f"no answer within {PATIENCE_S:.0f} s")
