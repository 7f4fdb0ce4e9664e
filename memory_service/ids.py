"""Identifiers that sort by time: UUID version 7 (RFC 9562, section 5.7)."""

from __future__ import annotations

import os
import time
from threading import Lock

_RANDOM_BITS = 74
_DRAWN_BYTES = 10  # for one id
_lock = Lock()
_last = 0
# For the next ids: to ask the system for each gives the interpreter's lock away.
_drawn: list[bytes] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drawn.clear)  # or it would give the ids of its parent


def _draw() -> bytes:
    if not _drawn:
        many = os.urandom(256 * _DRAWN_BYTES)
        _drawn.extend(many[at : at + _DRAWN_BYTES] for at in range(0, len(many), _DRAWN_BYTES))
    return _drawn.pop()


def new_id() -> str:
    """48 bits of Unix milliseconds, then random bits; rises within a process.

    Within one millisecond the random part is counted up by a random step (RFC 9562, 6.2,
    method 2), so that the memories of one episode sort in the order given.
    """
    global _last
    with _lock:
        random = int.from_bytes(_draw())
        fresh = (time.time_ns() // 1_000_000) << _RANDOM_BITS | random >> (80 - _RANDOM_BITS)
        _last = fresh if fresh > _last else _last + 1 + (random & 0xFFFF_FFFF)
        bits = _last
    high, low = bits >> 62, bits & (2**62 - 1)  # 48 + 12 bits around the version, 62 after it
    value = (high >> 12) << 80 | 0x7 << 76 | (high & 0xFFF) << 64 | 0x2 << 62 | low
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
