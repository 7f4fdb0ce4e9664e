"""A column of times: ISO 8601, numbers of seconds or their parts since 1970, or written dates.

01.05.2026 is the first of May: with dots the day comes first everywhere. With slashes or hyphens
(05/01/2026) either may come first, and the column has to tell: one number above 12 does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

_TIME = re.compile(r"(time|timestamp|date|datetime|t|time_s|seconds)", re.IGNORECASE)
_EPOCH = re.compile(r"(ts|epoch|unix|unix_time|(time|timestamp|epoch)_(ms|us|ns))", re.IGNORECASE)
# Seconds since 1970 reach the first of these in the year 5138, its parts passed theirs in 1973.
_EPOCHS = ((1e11, 1e14, 1e3), (1e14, 1e17, 1e6), (1e17, 1e20, 1e9))  # from, below, per second
_CLOCK = r"(?:(?:T|,? )(?P<clock>\d{1,2}:\d\d(?::\d\d(?:[.,]\d{1,6})?)?))?"
_WRITTEN = re.compile(r"(?P<a>\d{1,2})(?P<by>[./-])(?P<b>\d{1,2})(?P=by)(?P<year>\d{4})" + _CLOCK)
_YEAR_FIRST = re.compile(r"(?P<year>\d{4})(?P<by>[./])(?P<a>\d{1,2})(?P=by)(?P<b>\d{1,2})" + _CLOCK)

Order = Literal["day first", "month first"]


class NotATime(Exception):
    """Why a row (the header is row 1) has no time that can be told."""

    def __init__(self, row: int, cell: str, why: str) -> None:
        super().__init__(why)
        self.row, self.cell = row, cell


def number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def is_time(name: str, cell: str) -> bool:
    """Whether a column of this name (without unit) that begins with this cell has times."""
    value = number(cell)
    if value is None:
        written = _WRITTEN.fullmatch(cell) or _YEAR_FIRST.fullmatch(cell)
        return bool(_TIME.fullmatch(name) or written) or _iso(cell) is not None
    return bool(_TIME.fullmatch(name) or (_EPOCH.fullmatch(name) and value >= _EPOCHS[0][0]))


def seconds(cells: Sequence[str]) -> list[float]:
    """Each as seconds, from whenever the numbers count or from 1970. Raises NotATime."""
    order = _order(cells)
    moments = []
    for row, cell in enumerate(cells, start=2):
        moment = _moment(cell, order)
        if moment is None or not math.isfinite(moment):
            accepted = "ISO 8601, seconds, or a date like 31.12.2026"
            raise NotATime(row, cell, f"{cell[:40]!r} is no time ({accepted})")
        moments.append(moment)
    per_second = _per_second(moments)
    return [moment / per_second for moment in moments]


def _moment(cell: str, order: Order) -> float | None:
    value = number(cell)
    if value is not None:
        return value
    if written := _WRITTEN.fullmatch(cell):
        day_first = written["by"] == "." or order == "day first"
        day, month = (written["a"], written["b"]) if day_first else (written["b"], written["a"])
        return _of_parts(written, day, month)
    if written := _YEAR_FIRST.fullmatch(cell):
        return _of_parts(written, written["b"], written["a"])
    return _iso(cell)


def _of_parts(written: re.Match[str], day: str, month: str) -> float | None:
    hour, _, rest = (written["clock"] or "0:00").replace(",", ".").partition(":")
    return _iso(f"{written['year']}-{month:0>2}-{day:0>2}T{hour:0>2}:{rest}")


def _iso(cell: str) -> float | None:
    try:
        moment = datetime.fromisoformat(cell)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _order(cells: Sequence[str]) -> Order:
    """What comes first in dates with slashes or hyphens; any answer where there are none."""
    tells: dict[Order, tuple[int, str]] = {}
    unclear: tuple[int, str] | None = None
    for row, cell in enumerate(cells, start=2):
        written = _WRITTEN.fullmatch(cell)
        if written is None or written["by"] == ".":
            continue
        unclear = unclear or (row, cell)
        if int(written["a"]) > 12:
            tells.setdefault("day first", (row, cell))
        elif int(written["b"]) > 12:
            tells.setdefault("month first", (row, cell))
    if len(tells) == 2:
        (row, cell), (_, other) = max(tells.values()), min(tells.values())
        raise NotATime(row, cell, f"{cell!r} and {other!r} do not have day and month alike")
    if tells:
        return next(iter(tells))
    if unclear:
        row, cell = unclear
        why = f"{cell!r} does not say which is the day: write 2026-12-31 or 31.12.2026"
        raise NotATime(row, cell, why)
    return "day first"


def _per_second(moments: Sequence[float]) -> float:
    """1 for seconds; for parts of them since 1970, which are told by their size, how many."""
    for least, below, parts in _EPOCHS:
        if all(least <= moment < below for moment in moments):
            return parts
    return 1.0
