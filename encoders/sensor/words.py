"""A time series in words: one sentence per channel, always the same for the same values.

Stored vectors depend on every word here: a change needs the sensor memories embedded anew (see
docs/decisions.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from encoders.sensor.series import Channel, TimeSeries, Values

POINTS = 512  # a longer series is averaged to so many before its course is judged
FLAT = 0.01  # of the level: a smaller range is no change
SPIKE = 8.0  # times the usual distance from its surroundings, for a value to stand out
HOUR_S, DAY_S = 3600.0, 86_400.0


@dataclass(frozen=True)
class Quantity:
    """What is known of a measured quantity, in its usual unit."""

    levels: tuple[tuple[float, str], ...]  # upper bound and word, rising
    noticeable: float = 0.0  # a smaller range is no change
    fast_per_hour: float = np.inf  # a quicker change is quick


KNOWN = {
    "temperature": Quantity(
        (
            (0.0, "freezing cold"),
            (10.0, "cold"),
            (18.0, "cool"),
            (25.0, "comfortably warm"),
            (35.0, "hot"),
            (np.inf, "extremely hot"),
        ),
        noticeable=3.0,  # °C
        fast_per_hour=4.0,
    ),
    "humidity": Quantity(
        ((30.0, "very dry"), (60.0, "comfortable"), (80.0, "humid"), (np.inf, "very humid, damp")),
        noticeable=5.0,  # %
        fast_per_hour=15.0,
    ),
    "light": Quantity(
        (
            (1.0, "dark"),
            (100.0, "dim"),
            (1000.0, "bright, like indoors"),
            (20_000.0, "dull daylight"),
            (np.inf, "very bright sunshine"),
        )
    ),
    "noise": Quantity(((35.0, "silent"), (60.0, "quiet"), (80.0, "loud"), (np.inf, "very loud"))),
    "co2": Quantity(((800.0, "fresh air"), (1400.0, "stale air"), (np.inf, "very stuffy air"))),
}
SYNONYMS = {
    "temp": "temperature",
    "illuminance": "light",
    "brightness": "light",
    "lux": "light",
    "sound": "noise",
    "loudness": "noise",
}


def sentences(series: TimeSeries) -> list[str]:
    """One per channel, in order."""
    return [sentence(channel, series.interval_s) for channel in series.channels]


def sentence(channel: Channel, interval_s: float | None) -> str:
    """Such as "temperature rising steadily, from cold to cool, 5 to 16 °C, over 6 hours"."""
    values = _celsius(channel)
    known = _quantity(channel.name)
    calm, spikes = _without_spikes(values)
    course = _shortened(calm)
    hours = None if interval_s is None else interval_s * len(values) / HOUR_S
    parts = [
        f"{_spoken(channel.name)} {_spikes(spikes)}{_course(course, known, hours)}",
        _levels(course, known),
        _figures(channel),
        _length(hours),
    ]
    return ", ".join(part for part in parts if part)


def _spoken(name: str) -> str:
    return " ".join(name.replace("_", " ").replace("-", " ").split())


def _quantity(name: str) -> Quantity | None:
    for word in _spoken(name).lower().split():
        known = KNOWN.get(SYNONYMS.get(word, word))
        if known is not None:
            return known
    return None


def _celsius(channel: Channel) -> Values:
    unit = channel.unit.replace("°", "").strip().lower()
    if _quantity(channel.name) is KNOWN["temperature"]:
        if unit in ("f", "fahrenheit"):
            return np.asarray((channel.values - 32.0) / 1.8)
        if unit in ("k", "kelvin"):
            return np.asarray(channel.values - 273.15)
    return channel.values


def _without_spikes(values: Values) -> tuple[Values, Values]:
    """The values with short outliers replaced by their surroundings, and the outliers' heights."""
    if len(values) < 8:
        return values, np.zeros(0)
    padded = np.pad(values, 3, mode="edge")
    around = np.median(np.lib.stride_tricks.sliding_window_view(padded, 7), axis=1)  # (T,)
    distance = values - around
    usual = max(float(np.median(np.abs(distance))), 0.05 * float(np.ptp(around)), 1e-9)
    out = np.abs(distance) > SPIKE * usual
    out &= np.abs(distance) > FLAT * max(float(np.abs(around).max()), 1e-9)
    starts = out & ~np.concatenate([[False], out[:-1]])  # neighbours are one spike
    return np.where(out, around, values), distance[starts]


def _shortened(values: Values) -> Values:
    """Means of POINTS equal stretches, where there are more values than that."""
    if len(values) <= POINTS:
        return values
    edges = np.linspace(0, len(values), POINTS + 1).astype(int)
    return np.asarray(np.add.reduceat(values, edges[:-1]) / np.diff(edges))


def _course(values: Values, known: Quantity | None, hours: float | None) -> str:
    """What the values do over time."""
    spread = float(np.ptp(values))
    if spread <= max(FLAT * float(np.abs(values).max()), 1e-9):
        return "constant, staying the same"
    time = np.linspace(-0.5, 0.5, len(values))
    slope = float(time @ (values - values.mean()) / (time @ time))
    rest = values - values.mean() - slope * time
    explained = 1.0 - float(rest @ rest) / float(np.sum((values - values.mean()) ** 2))
    edge = max(len(values) // 8, 1)
    change = float(values[-edge:].mean() - values[:edge].mean())
    step = float(np.abs(np.diff(values)).max()) > 0.6 * spread and abs(change) > 0.6 * spread
    cycles = _cycles(values)
    if known is not None and spread < known.noticeable and not cycles:
        return "nearly constant, staying the same"
    if step or (explained > 0.4 and abs(change) > 0.4 * spread):
        pace = _pace(values, change, known, hours)
        return f"{'rising' if change > 0 else 'falling'} {pace}"
    if cycles:
        every = "" if hours is None else _period(hours / cycles)
        return f"going up and down regularly{every}, a repeating cycle"
    bend = _bend(values)
    if bend:
        return bend
    return "fluctuating irregularly, unstable and noisy"


def _bend(values: Values) -> str:
    """A single peak or dip, beneath whatever noise there is; empty for anything else."""
    width = max(len(values) // 16, 1)
    padded = np.pad(values, (width // 2, (width - 1) // 2), mode="edge")
    smooth = np.convolve(padded, np.full(width, 1 / width), mode="valid")  # (T,)
    if np.var(values - smooth) > 0.2 * np.var(values):
        return ""
    spread = float(np.ptp(smooth))
    if float(np.abs(np.diff(smooth)).sum()) > 3.0 * spread:
        return ""
    edge = max(len(smooth) // 8, 1)
    ends = (float(smooth[:edge].mean()), float(smooth[-edge:].mean()))
    if float(smooth.max()) - max(ends) > 0.5 * spread:
        return "rising and then falling again, a peak in the middle"
    if min(ends) - float(smooth.min()) > 0.5 * spread:
        return "falling and then rising again, a dip in the middle"
    return ""


def _pace(values: Values, change: float, known: Quantity | None, hours: float | None) -> str:
    """How fast a rise or fall is: by what is usual for the quantity, else by its share of time."""
    way = (values - values[0]) * np.sign(change) / abs(change)
    duration = (np.count_nonzero((way > 0.1) & (way < 0.9)) + 1) / len(values)
    if duration < 0.1:
        return "suddenly, in a sharp step"
    if known is not None and hours and np.isfinite(known.fast_per_hour):
        per_hour = abs(change) / (hours * max(duration, 0.1))
        if per_hour > known.fast_per_hour:
            return "quickly, rapidly"
        return "slowly, gradually" if per_hour < known.fast_per_hour / 4 else "steadily"
    return "quickly, rapidly" if duration < 0.4 else "steadily, gradually"


def _cycles(values: Values) -> float:
    """How many times a pattern repeats, by the autocorrelation; 0 for fewer than two times."""
    length = len(values)
    if length < 16:
        return 0.0
    time = np.arange(length)
    rest = values - np.polyval(np.polyfit(time, values, 1), time)
    power = float(rest @ rest)
    if power < 0.2 * float(np.sum((values - values.mean()) ** 2)):  # the trend is the story
        return 0.0
    spectrum = np.fft.rfft(rest, 2 * length)
    likeness = np.fft.irfft(np.abs(spectrum) ** 2)[:length] / power
    likeness *= length / np.arange(length, 0, -1)  # fewer pairs at longer lags
    negative = np.flatnonzero(likeness < 0)
    if not len(negative):
        return 0.0
    lags = np.arange(negative[0], length // 2 + 1)
    if not len(lags):
        return 0.0
    best = int(lags[np.argmax(likeness[lags])])
    return length / best if likeness[best] > 0.5 else 0.0


def _period(hours: float) -> str:
    for name, length in (("day", 24.0), ("hour", 1.0), ("minute", 1 / 60), ("second", HOUR_S**-1)):
        if abs(hours / length - 1.0) < 0.15:
            return f" every {name}"
    return ""


def _levels(values: Values, known: Quantity | None) -> str:
    if known is None:
        return ""
    edge = max(len(values) // 8, 1)
    first, last, middle = (
        _level(known, float(part.mean())) for part in (values[:edge], values[-edge:], values)
    )
    low, high = (_level(known, float(np.percentile(values, share))) for share in (5, 95))
    if first != last:
        return f"from {first} to {last}"
    return middle if low == high else f"between {low} and {high}"


def _level(known: Quantity, value: float) -> str:
    return next(word for bound, word in known.levels if value < bound or bound == np.inf)


def _figures(channel: Channel) -> str:
    lowest, highest = float(channel.values.min()), float(channel.values.max())
    largest = max(abs(lowest), abs(highest))
    # Two significant digits: more would tell apart in words what differs by noise.
    digits = 1 - math.floor(math.log10(largest)) if largest else 0
    low, high = (f"{round(each, digits) + 0.0:.10g}" for each in (lowest, highest))
    span = low if low == high else f"{low} to {high}"
    return f"{span} {channel.unit}".strip()


def _spikes(heights: Values) -> str:
    if not len(heights):
        return ""
    what = "upward spike" if heights.mean() > 0 else "downward spike"
    count = {1: "one sudden", 2: "two sudden", 3: "three sudden"}.get(len(heights), "many sudden")
    return f"with {count} {what}{'s' if len(heights) > 1 else ''}, otherwise "


def _length(hours: float | None) -> str:
    if hours is None:
        return ""
    for name, length in (("days", 24.0), ("hours", 1.0), ("minutes", 1 / 60)):
        if hours >= 2 * length:
            return f"over {hours / length:.0f} {name}"
    return f"over {hours * HOUR_S:.0f} seconds"
