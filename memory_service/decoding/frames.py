"""What goes over the pipes between a service and its decoders: a JSON object and bytes."""

from __future__ import annotations

import fcntl
import json
import os
import select
import struct
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

_SIZES = struct.Struct("<IQ")  # of the JSON and of the bytes
_PIECE = 1 << 20


class Ended(Exception):
    """The other side is gone."""


class TookTooLong(Exception):
    """The deadline passed."""


def send(
    descriptor: int,
    head: Mapping[str, Any],
    content: bytes | memoryview = b"",
    deadline: float | None = None,
) -> None:
    """`deadline` by `time.monotonic`; with one, the descriptor must not block."""
    text = json.dumps(head).encode()
    for part in (_SIZES.pack(len(text), len(content)) + text, content):
        left = memoryview(part)
        while left:
            try:
                left = left[os.write(descriptor, left[:_PIECE]) :]
            except BlockingIOError:
                _wait(descriptor, select.POLLOUT, deadline)
            except OSError as error:
                raise Ended from error


def receive(descriptor: int, deadline: float | None = None) -> tuple[dict[str, Any], bytearray]:
    sizes = _SIZES.unpack(_exactly(descriptor, _SIZES.size, deadline))
    head = json.loads(_exactly(descriptor, sizes[0], deadline))
    return head, _exactly(descriptor, sizes[1], deadline)


def widen(descriptor: int) -> None:
    """A pipe of 64 kB makes a large picture change hands hundreds of times."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with suppress(OSError):  # more than the system grants
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIECE)


def _exactly(descriptor: int, size: int, deadline: float | None) -> bytearray:
    content = bytearray(size)
    left = memoryview(content)
    while left:
        try:
            count = os.readv(descriptor, [left[:_PIECE]])
        except BlockingIOError:
            _wait(descriptor, select.POLLIN, deadline)
            continue
        if count == 0:
            raise Ended
        left = left[count:]
    return content


def _wait(descriptor: int, what: int, deadline: float | None) -> None:
    if deadline is None:
        raise TookTooLong
    left_s = deadline - time.monotonic()
    poll = select.poll()
    poll.register(descriptor, what)
    if left_s <= 0 or not poll.poll(left_s * 1000):
        raise TookTooLong
