"""How many values a JSON text has, told before it is parsed.

A parser cannot be stopped, and holds the interpreter while it runs: 150 MiB of base64 take a tenth
of a second, but 8 MiB of small values take several, and 400 MiB of memory.
"""

from __future__ import annotations

from memory_service.errors import TooLarge

MOST_VALUES = 2**16  # 32 vectors of 1,024 numbers, and as many values besides
LOOKED_INTO = 2**24  # bytes of which strings are told from the rest
PIECE = 2**23  # bytes that are counted at once: others come to run in between
_BETWEEN = (b",", b"[", b"{")  # before every value but the first


def require_few(content: bytes) -> None:
    """Raises TooLarge for more than `MOST_VALUES`."""
    if len(content) <= MOST_VALUES:
        return
    found = _count(content)
    if found > MOST_VALUES and len(content) <= LOOKED_INTO:
        found = sum(map(_count, _outside_strings(content)))
    if found > MOST_VALUES:
        raise TooLarge(
            f"the JSON has {found} values, at most {MOST_VALUES} are read: send vectors as base64",
            found=found,
            accepted=MOST_VALUES,
        )


def _count(content: bytes) -> int:
    starts = range(0, len(content), PIECE)
    return sum(content.count(mark, at, at + PIECE) for at in starts for mark in _BETWEEN)


def _outside_strings(content: bytes) -> list[bytes]:
    """What lies between strings; all of it where strings alone are too many."""
    unescaped = content.replace(rb"\\", b"").replace(rb"\"", b"")
    if unescaped.count(b'"') > 4 * MOST_VALUES:  # of a name and its value
        return [content]
    return unescaped.split(b'"')[::2]
