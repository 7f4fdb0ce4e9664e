"""Time series: what is read and refused, what is said of them, and what finds them."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import pytest

from encoders.base import Vectors
from encoders.media import Limits, MediaError
from encoders.modalities import decode
from encoders.registry import Profile, load_profile
from encoders.sensor import series as series_module
from encoders.sensor.encoder import SensorEncoder, beside_text
from encoders.sensor.series import Channel, TimeSeries, Values
from encoders.sensor.words import sentence

TIME = np.linspace(0, 1, 144)


def read(content: str | bytes) -> TimeSeries:
    found = decode("sensor", content.encode() if isinstance(content, str) else content, Limits())
    assert isinstance(found.media, TimeSeries)
    return found.media


def noise(size: float, seed: int = 0) -> Values:
    return np.random.default_rng(seed).normal(0, size, len(TIME))


class TestReading:
    def test_csv_with_times_and_units(self) -> None:
        found = decode(
            "sensor",
            b"time,temperature [\xc2\xb0C],air humidity (%)\n"
            b"2026-01-01T00:00:00Z,20.5,40\n2026-01-01T00:10:00Z,21,41.5\n\n",
            Limits(),
        )
        assert found.media_type == "text/csv"
        assert found.media.interval_s == 600.0
        warm, damp = found.media.channels
        assert (warm.name, warm.unit, warm.values.tolist()) == ("temperature", "°C", [20.5, 21.0])
        assert (damp.name, damp.unit, damp.values.tolist()) == ("air humidity", "%", [40.0, 41.5])

    @pytest.mark.parametrize("delimiter", [",", ";", "\t"])
    def test_seconds_and_other_delimiters(self, delimiter: str) -> None:
        lines = ("t", "light"), ("0", "5"), ("2.5", "6"), ("5", "7")
        text = "\r\n".join(delimiter.join(line) for line in lines)
        found = read("\ufeff" + text)
        assert found.interval_s == 2.5
        assert [channel.name for channel in found.channels] == ["light"]

    def test_without_times(self) -> None:
        found = read("temperature,humidity\n1,2\n-3e1,4\n")
        assert found.interval_s is None
        assert found.channels[0].values.tolist() == [1.0, -30.0]

    def test_json(self) -> None:
        content = {
            "series": {"temperature": [1, 2.5], "light": [3, 4]},
            "units": {"light": "lux"},
            "interval_s": 60,
        }
        found = decode("sensor", json.dumps(content).encode(), Limits())
        assert found.media_type == "application/json"
        assert found.media.interval_s == 60.0
        assert [(each.name, each.unit) for each in found.media.channels] == [
            ("temperature", ""),
            ("light", "lux"),
        ]

    @pytest.mark.parametrize("per_second", [1, 1e3, 1e6, 1e9], ids=["s", "ms", "us", "ns"])
    @pytest.mark.parametrize("name", ["time", "timestamp", "Timestamp [ms]"])
    def test_times_since_1970_by_their_size(self, name: str, per_second: float) -> None:
        rows = [f"{round((1_777_000_000 + 90 * n) * per_second)},{n}" for n in range(5)]
        found = read("\n".join([f"{name},light", *rows]))
        assert found.interval_s == pytest.approx(90.0, rel=1e-6)
        assert [channel.name for channel in found.channels] == ["light"]

    @pytest.mark.parametrize("name", ["ts", "epoch_ms", "time_ms", "unix"])
    def test_other_names_of_times_since_1970(self, name: str) -> None:
        found = read(f"{name},light\n1777000000000,1\n1777000000250,2\n1777000000500,3\n")
        assert found.interval_s == 0.25
        small = read(f"{name},light\n3,1\n4,2\n")  # a channel as any other
        assert len(small.channels) == 2

    @pytest.mark.parametrize(
        ("first", "second", "interval_s"),
        [
            ("01.05.2026", "02.05.2026", 86400),
            ("31.5.2026", "1.6.2026", 86400),
            ("01.05.2026 10:00", "01.05.2026 10:10", 600),
            ("01.05.2026, 9:59:59", "01.05.2026, 10:00:00.5", 1.5),
            ("13/05/2026", "14/05/2026", 86400),
            ("5/31/2026", "6/1/2026", 86400),
            ("31-05-2026 23:00", "01-06-2026 00:00", 3600),
            ("2026-05-01", "2026-05-02", 86400),
            ("2026/05/01 10:00", "2026/05/01 10:01", 60),
        ],
    )
    def test_written_dates(self, first: str, second: str, interval_s: float) -> None:
        series = read(f"Datum;Temperatur\n{first};18,2\n{second};18,9\n")
        assert series.interval_s == interval_s
        assert [channel.name for channel in series.channels] == ["Temperatur"]

    def test_the_step_of_seconds_stays_one_of_seconds(self) -> None:
        assert read("t,a\n99999999999,1\n100000000001,2\n").interval_s == 2.0

    @pytest.mark.parametrize(
        ("cells", "values"),
        [
            (["1", "", "3"], [1, 2, 3]),
            (["", "2", "3", ""], [2, 2, 3, 3]),
            (["0", "", "", "3", "5"], [0, 1, 2, 3, 5]),
        ],
    )
    def test_missing_values_lie_between_their_neighbours(
        self, cells: list[str], values: list[float]
    ) -> None:
        rows = [f"{place},{cell},{place}" for place, cell in enumerate(cells)]
        found = read("\n".join(["t,a,b", *rows]))
        assert found.channels[0].values.tolist() == values
        assert found.channels[1].values.tolist() == list(range(len(cells)))
        as_json = {"series": {"a": [float(cell) if cell else None for cell in cells]}}
        assert read(json.dumps(as_json)).channels[0].values.tolist() == values

    def test_rows_of_empty_cells_at_the_end_are_no_values(self) -> None:
        assert read("t;a\n1;1,5\n2;2\n;\n;\n").channels[0].values.tolist() == [1.5, 2.0]

    @pytest.mark.parametrize("delimiter", [";", "\t"])
    def test_decimal_commas(self, delimiter: str) -> None:
        lines = (
            ("t", "temp [°C]", "b"),
            ("0", "-1,5", "1.5"),
            ("0,5", "2", ".5"),
            ("1", "3,25e1", "2"),
        )
        found = read("\n".join(delimiter.join(line) for line in lines))
        assert found.interval_s == 0.5
        assert [each.values.tolist() for each in found.channels] == [[-1.5, 2, 32.5], [1.5, 0.5, 2]]

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252"])
    @pytest.mark.parametrize("kind", ["csv", "json"])
    def test_encodings(self, kind: str, encoding: str) -> None:
        text = {
            "csv": "t,Wärme [°C]\n0,1\n1,2\n",
            "json": '{"series": {"Wärme": [1, 2]}, "units": {"Wärme": "°C"}}',
        }[kind]
        (channel,) = read(text.encode(encoding)).channels
        assert (channel.name, channel.unit) == ("Wärme", "°C")

    def test_utf_16_of_either_order(self) -> None:
        for order, mark in (("le", b"\xff\xfe"), ("be", b"\xfe\xff")):
            (channel,) = read(mark + "µ\n1\n2\n".encode(f"utf-16-{order}")).channels
            assert channel.name == "µ"


BROKEN = {
    "": "is empty",
    " \n\n": "blank",
    "temperature\n": "at least two values",
    "temperature\n1\n": "at least two values",
    "temperature\n1\nwarm\n": "value 2 of 'temperature' is no number: 'warm'",
    "temperature,light\n1,\n3,\n": "'light' has no value at all",
    "t,light\n1,2\n,3\n": "'t': '' is no time",
    "a;b\n1,5;2\n1.5;3\n": "'a' has decimal commas, and decimal points in '1.5'",
    "a;b\n1,234,567;2\n1;3\n": "value 1 of 'a' is no number: '1,234,567'",
    "temperature\n1\nnan\n": "value 2 of 'temperature' is NaN",
    "temperature\n1\n-inf\n": "NaN, infinite",
    "temperature\n1\n1e300\n": "huge",
    "a,b\n1,2\n3\n": "row 3 has 1 cells, the header has 2",
    "1,2\n3,4\n5,6\n": "first row must name",
    "a,a\n1,2\n3,4\n": "two channels are named 'a'",
    "a,\n1,2\n3,4\n": "needs a name",
    "time,a\n5,1\n3,2\n": "time goes backwards at row 3",
    "time,a\n5,1\nlater,2\n": "row 3, 'time': 'later' is no time",
    "time\n5\n6\n": "no channel",
    "date,a\n05/01/2026,1\n06/01/2026,2\n": "row 2, 'date': '05/01/2026' does not say which is the",
    "date,a\n13/01/2026,1\n01/14/2026,2\n": "do not have day and month alike",
    "date,a\n31.02.2026,1\n01.03.2026,2\n": "row 2, 'date': '31.02.2026' is no time",
    "date,a\n01.05.2026 25:00,1\n02.05.2026,2\n": "'01.05.2026 25:00' is no time",
    "date,a\n01.05.26,1\n02.05.26,2\n": "row 2, 'date': '01.05.26' is no time (ISO 8601",
    '{"series": {"a": [1, NaN]}}': "NaN",
    '{"series": {"a": [1, "2"]}}': "no list of numbers",
    '{"series": {"a": [null, null]}}': "'a' has no value at all",
    '{"series": {"a": [1, true]}}': "no number: True",
    '{"series": {"a": [1, 2], "b": [1]}}': "'b' has 1 values, the first has 2",
    '{"series": {"a": 7}}': "no list of numbers",
    '{"series": {}}': "no channel",
    '{"series": [1, 2]}': 'needs an object "series"',
    "[1, 2]": 'needs an object "series"',
    '{"series": {"a": [1, 2]}, "unit": {}}': "there is no 'unit'",
    '{"series": {"a": [1, 2]}, "units": {"b": "C"}}': "'b', which is no channel",
    '{"series": {"a": [1, 2]}, "units": {"a": 1}}': "maps channels to text",
    '{"series": {"a": [1, 2]}, "interval_s": 0}': "above 0",
    '{"series": {"a": [1, 2]}, "interval_s": "1"}': "above 0",
    '{"series": {"a": [1, 2]': "is not JSON",
    '{"a":' * 100_000: "is not JSON",
}


@pytest.mark.parametrize("content", BROKEN, ids=lambda content: content[:30])
def test_what_is_broken_is_refused(content: str) -> None:
    with pytest.raises(MediaError) as caught:
        read(content)
    assert caught.value.code == "invalid_media"
    assert BROKEN[content] in caught.value.message
    assert caught.value.accepted == ("text/csv", "application/json")


@pytest.mark.parametrize(
    "content", [b"\x89PNG\r\n\x1a\n123", b"\xff\xfe\x00", b"a\0b", b"a\n\x81\n"]
)
def test_other_media_are_refused(content: bytes) -> None:
    with pytest.raises(MediaError) as caught:
        read(content)
    assert caught.value.code == "unsupported_media"
    assert "in UTF-8, UTF-16 with a byte order mark, or Latin-1" in caught.value.message


def test_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series_module, "MOST_VALUES", 100)
    many = ",".join(f"c{number}" for number in range(65))
    for content, found in (
        ("a\n" + "1\n" * 101, "101 values"),
        ("a\n" + "1\n" * 1000, "cells"),
        (f"{many}\n" + ",".join("1" * 65), "65 channels"),
        (json.dumps({"series": {"a": [1] * 101}}), "101 values"),
    ):
        with pytest.raises(MediaError, match=found) as caught:
            read(content)
        assert caught.value.code == "too_large"


@pytest.mark.parametrize(
    ("name", "unit", "values", "interval_s", "said"),
    [
        ("temperature", "°C", 5 + 30 * TIME, 60, "rising quickly"),
        ("temperature", "°C", 35 - 30 * TIME, 60, "falling quickly"),
        ("temperature", "°C", 15 + 8 * TIME, 3600, "rising slowly"),
        ("temperature", "°C", 15 + 8 * TIME, 3600, "from cool to comfortably warm"),
        ("outdoor_temp", "F", 14 + 36 * TIME, 3600, "from freezing cold to cold, 14 to 50 F"),
        ("temperature", "°C", 21 + noise(0.1), 600, "nearly constant"),
        ("temperature", "°C", np.full(144, 21.0), 600, "constant"),
        ("voltage", "V", 3.3 + 0 * TIME, None, "constant, staying the same, 3.3 V"),
        ("voltage", "V", 12 * TIME, None, "voltage rising steadily, gradually, 0 to 12 V"),
        ("temperature", "°C", 15 + 8 * np.sin(12 * np.pi * TIME), 3600, "every day"),
        ("pressure", "", 5 + np.sin(40 * np.pi * TIME) + noise(0.2), None, "repeating cycle"),
        ("light", "lux", np.where(TIME < 0.5, 0.1, 400), None, "suddenly, in a sharp step"),
        ("light", "lux", 2e4 * np.sin(np.pi * TIME), None, "a peak in the middle"),
        ("light", "lux", 5e4 * np.sin(np.pi * TIME) + noise(2e3), None, "a peak in the middle"),
        ("humidity", "%", 90 - 40 * np.sin(np.pi * TIME) ** 4 + noise(1), None, "a dip in the"),
        ("light", "lux", 2e4 - 2e4 * np.sin(np.pi * TIME), None, "a dip in the middle"),
        ("noise", "dB", 50 + noise(10), None, "fluctuating irregularly"),
        (
            "voltage",
            "V",
            np.where(TIME[70] == TIME, 20, 12 + noise(0.1)),
            None,
            "one sudden upward",
        ),
        ("voltage", "V", np.where(TIME[70] == TIME, 2, 12 + noise(0.1)), None, "downward spike"),
        ("humidity", "%", np.linspace(20, 25, 144), None, "very dry"),
    ],
)
def test_what_is_said(
    name: str, unit: str, values: Values, interval_s: float | None, said: str
) -> None:
    assert said in sentence(Channel(name, values, unit), interval_s)


@pytest.mark.parametrize(
    "values", [[0, 0], [1, 2], [0, 1e29], [-1e29, 1e29], [1, 1, 1, 9, 1, 1, 1, 1, 1], [1e-12] * 20]
)
def test_anything_has_words_and_a_vector(values: list[float]) -> None:
    channel = Channel("temperature", np.array(values, np.float64), "°C")
    text = load_profile("fake").encoders["text"]
    (vector,) = SensorEncoder(text).encode([TimeSeries((channel,), 1e-9)])
    assert np.linalg.norm(vector) == pytest.approx(1, rel=1e-5)


def test_a_profile_without_texts_has_no_series() -> None:
    assert beside_text({}) is None


@pytest.fixture(scope="module")
def bundled() -> Profile:
    return load_profile("bundled")


def one(channel: str, values: Values, unit: str, interval_s: float = 600.0) -> TimeSeries:
    return TimeSeries((Channel(channel, values, unit),), interval_s)


SERIES: Mapping[str, TimeSeries] = {
    "temperature rising quickly": one("temperature", 5 + 30 * TIME + noise(0.3), "°C", 60),
    "it is slowly getting warmer": one("temperature", 15 + 8 * TIME + noise(0.2), "°C", 3600),
    "temperature dropping fast": one("temperature", 35 - 30 * TIME + noise(0.3), "°C", 60),
    "temperature goes up and down every day": one(
        "temperature", 15 + 8 * np.sin(12 * np.pi * TIME) + noise(0.4), "°C", 3600
    ),
    "a freezer": one("temperature", -18 + noise(0.6), "°C"),
    "someone switched the light on": one("light", np.where(TIME < 0.5, 0.2, 400), "lux"),
    "a sunny day": one("light", 2e4 * np.sin(np.pi * TIME), "lux"),
    "the air gets damp and humid": one("humidity", 40 + 50 * TIME + noise(1), "%"),
    "noise is irregular": one("noise", 50 + noise(20), "dB"),
}


@pytest.fixture(scope="module")
def vectors(bundled: Profile) -> Vectors:
    return bundled.encoders["sensor"].encode(list(SERIES.values()))


class TestBundled:
    def test_a_text_finds_the_series_that_it_speaks_of(
        self, bundled: Profile, vectors: Vectors
    ) -> None:
        cosines = bundled.encoders["text"].encode(list(SERIES)) @ vectors.T
        assert cosines.argmax(axis=1).tolist() == list(range(len(SERIES)))

    def test_it_lies_in_the_space_of_texts(self, bundled: Profile) -> None:
        assert bundled.encoders["sensor"].space == bundled.encoders["text"].space

    def test_shape_tells_apart_what_is_described_alike(self, bundled: Profile) -> None:
        early = one("voltage", np.exp(-((TIME - 0.3) ** 2) / 0.02), "V")
        late = one("voltage", np.exp(-((TIME - 0.6) ** 2) / 0.02), "V")
        near = one("voltage", np.exp(-((TIME - 0.31) ** 2) / 0.02), "V")
        assert sentence(early.channels[0], 600) == sentence(late.channels[0], 600)
        first, second, third, again = bundled.encoders["sensor"].encode([early, late, near, early])
        np.testing.assert_allclose(first, again, atol=1e-5)
        assert first @ second < 0.98 < first @ third

    def test_the_wording_of_stored_vectors(self, bundled: Profile, vectors: Vectors) -> None:
        """Fails when words, figures or weights change: stored series then need embedding anew."""
        ramp = one("temperature", np.arange(100.0) / 4, "°C", 60)
        words = (
            "temperature rising quickly, rapidly, from cold to comfortably warm, "
            "0 to 25 °C, over 100 minutes"
        )
        assert sentence(ramp.channels[0], 60) == words
        (vector,) = bundled.encoders["sensor"].encode([ramp])
        (said,) = bundled.encoders["text"].encode([words])
        assert vector @ said == pytest.approx(CANONICAL_COSINE, abs=2e-3)
        shape = vector - (vector @ said) * said
        np.testing.assert_allclose((shape / np.linalg.norm(shape))[:4], CANONICAL, atol=2e-3)


CANONICAL_COSINE = 0.9700
CANONICAL = [-0.0126, -0.1557, -0.0606, -0.0251]
