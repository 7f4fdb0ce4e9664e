"""CSV or JSON to a time series, within limits. Knows nothing about encoders.

CSV: a header row of channel names, each with its unit in brackets if there is one
(`temperature [°C]`); the first column may be a time (see `times`). Where cells are parted by
semicolons or tabs, numbers may have decimal commas.
JSON: `{"series": {"temperature": [..]}, "units": {"temperature": "°C"}, "interval_s": 60}`.
What is missing, an empty cell or null, is put on the line between its neighbours.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from encoders.media import Decoded, Limits, MediaError, sniff
from encoders.sensor import times
from encoders.sensor.times import number

CSV, JSON = "text/csv", "application/json"
ACCEPTED = (CSV, JSON)
MOST_CHANNELS = 64
MOST_VALUES = 1_000_000  # of all channels together
LONGEST_NAME = 100  # characters
LARGEST = 1e30  # beyond it, squares of float32 overflow
_KEYS = ("series", "units", "interval_s")
_UNIT = re.compile(r"^(?P<name>.*?)\s*[\[(](?P<unit>[^\])]*)[\])]$")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?", re.ASCII)
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")

Values = npt.NDArray[np.float64]  # (T,)


@dataclass(frozen=True)
class Channel:
    name: str
    values: Values
    unit: str = ""


@dataclass(frozen=True)
class TimeSeries:
    """Channels of equal length, T >= 2 values each, `interval_s` apart where that is known."""

    channels: tuple[Channel, ...]
    interval_s: float | None = None


def decode(content: bytes, limits: Limits) -> Decoded:
    """Raises MediaError: unsupported_media, invalid_media or too_large. Of `limits` none applies:
    a series is bounded by MOST_CHANNELS and MOST_VALUES.
    """
    text = _text(content)
    if not text.strip():
        _refuse("it is blank", "blank")
    if text.lstrip().startswith(("{", "[")):
        return Decoded("sensor", JSON, _from_json(text))
    return Decoded("sensor", CSV, _from_csv(text))


def _text(content: bytes) -> str:
    """UTF-8, UTF-16 where it says so, or else Windows' Latin-1, which any text would pass for:
    control characters tell what is none."""
    kind = sniff(content)
    if kind == "text/plain":
        return content.decode("utf-8-sig")
    encoding = "utf-16" if content.startswith(_UTF_16) else None if kind else "cp1252"
    if encoding:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            text = "\0"
        if not _CONTROL.search(text):
            return text
    message = (
        f"the sensor series is {kind or 'of an unknown type'}; accepted: CSV or JSON, in UTF-8, "
        "UTF-16 with a byte order mark, or Latin-1"
    )
    raise MediaError("unsupported_media", message, kind, ACCEPTED)


def _refuse(why: str, found: str | None = None) -> NoReturn:
    raise MediaError("invalid_media", f"the sensor series is broken: {why}", found, ACCEPTED)


def _too_large(found: int, most: int, what: str) -> NoReturn:
    message = f"the sensor series has {found} {what} or more, at most {most} are accepted"
    raise MediaError("too_large", message, found, most)


def _from_json(text: str) -> TimeSeries:
    try:
        given = json.loads(text)  # NaN and Infinity pass, and are refused with the values
    except (ValueError, RecursionError) as error:
        _refuse(f"it is not JSON: {error}")
    if not isinstance(given, dict) or not isinstance(given.get("series"), dict):
        _refuse('it needs an object "series" of channels')
    if unknown := sorted(set(given) - set(_KEYS)):
        _refuse(f"there is no {unknown[0][:40]!r}; there are: {', '.join(_KEYS)}")
    units, interval_s = given.get("units", {}), given.get("interval_s")
    if not isinstance(units, dict) or not all(isinstance(unit, str) for unit in units.values()):
        _refuse('"units" maps channels to text')
    if unknown := sorted(set(units) - set(given["series"])):
        _refuse(f"a unit for {unknown[0][:40]!r}, which is no channel")
    if interval_s is not None and not _is_interval(interval_s):
        _refuse('"interval_s" must be a number of seconds above 0', repr(interval_s)[:40])
    columns: list[Sequence[Any]] = []
    for name, values in given["series"].items():
        if not isinstance(values, list) or any(isinstance(value, str) for value in values):
            _refuse(f"channel {name[:40]!r} is no list of numbers")
        columns.append(values)
    names = [(name, units.get(name, "")) for name in given["series"]]
    return _series(names, columns, None if interval_s is None else float(interval_s))


def _is_interval(value: Any) -> bool:
    return _is_number(value) and 0 < value < LARGEST


def _from_csv(text: str) -> TimeSeries:
    first = text.lstrip().partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    rows: list[list[str]] = []
    cells = 0
    try:
        for row in csv.reader(io.StringIO(text), delimiter=delimiter):
            if not row:  # a blank line
                continue
            if rows and len(row) != len(rows[0]):
                _refuse(f"row {len(rows) + 1} has {len(row)} cells, the header has {len(rows[0])}")
            cells += len(row)
            if cells > 2 * MOST_VALUES + 2 * MOST_CHANNELS:  # told exactly where values are counted
                _too_large(cells, 2 * MOST_VALUES + 2 * MOST_CHANNELS, "cells")
            rows.append([cell.strip() for cell in row])
    except csv.Error as error:
        _refuse(f"it is not CSV: {error}")
    while len(rows) > 1 and not any(rows[-1]):  # what spreadsheets leave behind the last row
        rows.pop()
    columns: list[Sequence[Any]] = list(zip(*rows[1:], strict=True)) or [()] * len(rows[0])
    if delimiter != ",":
        columns = [_with_points(*each) for each in zip(rows[0], columns, strict=True)]
    header, rows = rows[0], rows[1:]
    if all(number(name) is not None for name in header):
        _refuse("the first row must name the channels", ", ".join(header)[:80])
    interval_s = None
    if rows and times.is_time(_name_and_unit(header[0])[0], columns[0][0]):
        interval_s = _interval_s(header[0], columns[0])
        header, columns = header[1:], columns[1:]
    return _series([_name_and_unit(name) for name in header], columns, interval_s)


def _with_points(name: str, cells: Sequence[str]) -> Sequence[str]:
    """Decimal points for decimal commas; a column has the one or the other."""
    if not any(map(_DECIMAL_COMMA.fullmatch, cells)):
        return cells
    if mixed := next((cell for cell in cells if "." in cell and number(cell) is not None), None):
        _refuse(
            f"{name[:40]!r} has decimal commas, and decimal points in {mixed[:40]!r}", mixed[:40]
        )
    return [_point(cell) for cell in cells]


def _point(cell: str) -> str:
    return cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell) else cell


def _name_and_unit(header: str) -> tuple[str, str]:
    found = _UNIT.match(header)
    return (found["name"], found["unit"].strip()) if found else (header, "")


def _interval_s(name: str, cells: Sequence[str]) -> float | None:
    """The median step; None where time stands still."""
    try:
        moments = times.seconds(cells)
    except times.NotATime as error:
        _refuse(f"row {error.row}, {name[:40]!r}: {error}", error.cell[:40])
    steps = np.diff(np.array(moments))
    if len(steps) and steps.min() < 0:
        _refuse(f"time goes backwards at row {int(np.argmax(steps < 0)) + 3}")
    step = float(np.median(steps)) if len(steps) else 0.0
    return step if 0 < step < LARGEST else None


def _series(
    names: Sequence[tuple[str, str]], columns: Sequence[Sequence[Any]], interval_s: float | None
) -> TimeSeries:
    if not names:
        _refuse("it has no channel", "no channel")
    if len(names) > MOST_CHANNELS:
        _too_large(len(names), MOST_CHANNELS, "channels")
    count = sum(map(len, columns))
    if count > MOST_VALUES:
        _too_large(count, MOST_VALUES, "values")
    channels: list[Channel] = []
    for (name, unit), values in zip(names, columns, strict=True):
        if not name.strip() or max(len(name), len(unit)) > LONGEST_NAME:
            _refuse(f"a channel needs a name of 1 to {LONGEST_NAME} characters", name[:40])
        if any(name == channel.name for channel in channels):
            _refuse(f"two channels are named {name!r}", name)
        if len(values) != len(columns[0]):
            _refuse(f"channel {name!r} has {len(values)} values, the first has {len(columns[0])}")
        channels.append(Channel(name, _values(name, values), unit))
    if len(columns[0]) < 2:
        _refuse("a series has at least two values per channel", f"{len(columns[0])} values")
    return TimeSeries(tuple(channels), interval_s)


def _values(channel: str, cells: Sequence[Any]) -> Values:
    numbers = []
    for place, cell in enumerate(cells, start=1):
        if cell is None or cell == "":
            numbers.append(math.nan)
            continue
        value = cell if _is_number(cell) else number(cell) if isinstance(cell, str) else None
        if value is None:
            shown = repr(cell)[:40]
            _refuse(f"value {place} of {channel!r} is no number: {shown}", shown)
        if not -LARGEST < value < LARGEST:  # false for NaN, too
            _refuse(f"value {place} of {channel!r} is NaN, infinite or huge", repr(cell)[:40])
        numbers.append(float(value))
    return _without_gaps(channel, np.array(numbers, np.float64))


def _without_gaps(channel: str, values: Values) -> Values:
    """What is missing (NaN) on the line between its neighbours; at the ends, as the next one."""
    missing = np.isnan(values)
    if not missing.any():
        return values
    if missing.all():
        _refuse(f"{channel!r} has no value at all", "empty")
    places = np.arange(len(values))
    return np.interp(places, places[~missing], values[~missing])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
