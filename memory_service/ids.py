"""Identifiers that sort by time: UUID version 7 (RFC 9562, section 5.7)."""

from __future__ import annotations

import os
import time
from threading import Lock

_RANDOM_BITS = 74
_lock = Lock()
_last = 0


def new_id() -> str:
    """48 bits of Unix milliseconds, then random bits; rises within a process.

    Within one millisecond the random part is counted up by a random step (RFC 9562, 6.2,
    method 2), so that the memories of one episode sort in the order given.
    """
    global _last
    with _lock:
        random = int.from_bytes(os.urandom(10))
        fresh = (time.time_ns() // 1_000_000) << _RANDOM_BITS | random >> (80 - _RANDOM_BITS)
        _last = fresh if fresh > _last else _last + 1 + (random & 0xFFFF_FFFF)
        bits = _last
    high, low = bits >> 62, bits & (2**62 - 1)  # 48 + 12 bits around the version, 62 after it
    value = (high >> 12) << 80 | 0x7 << 76 | (high & 0xFFF) << 64 | 0x2 << 62 | low
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
