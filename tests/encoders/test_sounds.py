"""Sounds of any length, rate, number of channels and format; long ones in bounded memory."""

import io
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
import soundfile

from encoders.base import Waveform
from encoders.errors import MediaError
from encoders.media import Limits, decode
from encoders.sounds import WHOLE_S, Recording, cut, open_sound, read_sound

FORMS = {
    "audio/wav": ("WAV", "PCM_16"),
    "audio/flac": ("FLAC", None),
    "audio/ogg": ("OGG", "VORBIS"),
    "audio/mpeg": ("MP3", None),
}
RATE = 16_000


def packed(samples: np.ndarray, kind: str = "audio/flac", rate: int = RATE) -> bytes:
    """Block by block: the Vorbis encoder takes a long sound at once for its stack."""
    form, subtype = FORMS[kind]
    file = io.BytesIO()
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    with soundfile.SoundFile(file, "w", rate, channels, format=form, subtype=subtype) as sound:
        for start in range(0, len(samples), 1 << 15):
            sound.write(samples[start : start + (1 << 15)])
    return file.getvalue()


def noise(seconds: float, rate: int = RATE) -> np.ndarray:
    random = np.random.default_rng(3)
    return (random.standard_normal(int(seconds * rate)) * 0.1).astype(np.float32).clip(-1, 1)


SHAPES = [(8_000, 1), (16_000, 2), (44_100, 2), (48_000, 6), (96_000, 1)]  # Hz, channels


@pytest.mark.parametrize(
    ("kind", "rate", "channels"),
    [
        (kind, rate, channels)
        for kind in FORMS
        for rate, channels in SHAPES
        if kind != "audio/mpeg" or (rate <= 48_000 and channels <= 2)  # what there is
    ],
)
@pytest.mark.parametrize("seconds", [0.1, 1.0, 9.0])
def test_every_format_rate_and_number_of_channels(
    kind: str, seconds: float, rate: int, channels: int
) -> None:
    times = np.arange(int(seconds * rate)) / rate
    tone = 0.5 * np.sin(2 * np.pi * 440 * times)
    found = read_sound(packed(np.tile(tone[:, None], channels), kind, rate), kind, 3600.0)
    assert found.sample_rate == rate
    assert found.duration_s == pytest.approx(seconds, abs=0.08)  # MP3 pads
    assert isinstance(found, Recording) == (seconds > WHOLE_S)
    sound = found.read(0.0, 1.0) if isinstance(found, Recording) else found
    assert np.abs(sound.samples).max() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("kind", FORMS)
def test_what_is_shorter_is_read_as_long_as_there_is_a_sample(kind: str) -> None:
    sound = read_sound(packed(noise(0.01), kind), kind, 3600.0)
    assert isinstance(sound, Waveform)
    assert len(sound.samples) >= 160


def test_no_sample_at_all_is_refused() -> None:
    with pytest.raises(MediaError, match="no sound"):
        read_sound(packed(noise(0), "audio/wav"), "audio/wav", 3600.0)


def test_no_recorder_has_such_a_rate() -> None:
    with pytest.raises(MediaError, match="at most 768000 Hz") as caught:
        read_sound(packed(noise(0.1), "audio/wav", 5_000_000), "audio/wav", 3600.0)
    assert caught.value.code == "too_large"


@pytest.mark.parametrize("kind", FORMS)
def test_segments_are_what_is_there_at_their_time(kind: str) -> None:
    content = packed(noise(9.7), kind)
    whole, _ = soundfile.read(io.BytesIO(content), dtype="float32")
    recording = open_sound(content, kind)
    assert isinstance(recording, Recording)
    assert recording == read_sound(content, kind, 3600.0)
    segments = list(recording.segments(2.0, 1.0))
    assert [each.start_s for each in segments[:-1]] == [float(n) for n in range(8)]
    assert segments[-1].end_s == pytest.approx(recording.duration_s)  # the last ends with it
    for each in segments:
        assert each.end_s - each.start_s == pytest.approx(2.0)
        start = round(each.start_s * RATE)
        np.testing.assert_allclose(each.sound.samples, whole[start : start + 2 * RATE], atol=1e-6)
        again = recording.read(each.start_s, each.end_s)
        np.testing.assert_allclose(again.samples, each.sound.samples, atol=1e-6)


@pytest.mark.parametrize(("seconds", "count"), [(10.0, 9), (10.0001, 10), (8.001, 8)])
def test_all_of_a_sound_is_in_a_segment(seconds: float, count: int) -> None:
    recording = read_sound(packed(noise(seconds)), "audio/flac", 3600.0)
    assert isinstance(recording, Recording)
    segments = list(recording.segments(2.0, 1.0))
    assert len(segments) == count
    assert segments[0].start_s == 0
    assert all(b.start_s <= a.end_s for a, b in pairwise(segments))
    assert segments[-1].end_s == recording.duration_s


def test_a_segment_longer_than_the_sound_is_the_sound() -> None:
    recording = read_sound(packed(noise(9.0)), "audio/flac", 3600.0)
    assert isinstance(recording, Recording)
    (only,) = recording.segments(10.0, 5.0)
    assert (only.start_s, only.end_s) == (0.0, 9.0)


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("share", [0.5, 0.97, 0.999])
def test_a_long_sound_that_is_cut_is_refused(kind: str, share: float) -> None:
    content = packed(noise(20.0), kind)
    with pytest.raises(MediaError) as caught:
        decode("audio", content[: int(len(content) * share)], Limits())
    assert caught.value.code == "invalid_media"


def test_a_long_sound_that_is_no_number_at_its_end_is_refused() -> None:
    samples = noise(20.0)
    samples[-1] = np.nan
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="WAV", subtype="FLOAT")
    with pytest.raises(MediaError, match="NaN"):
        decode("audio", file.getvalue(), Limits())


def test_a_recording_whose_bytes_end_early_says_so() -> None:
    content = packed(noise(20.0), "audio/wav")
    recording = Recording(content, "audio/wav", RATE, 21 * RATE)
    with pytest.raises(MediaError, match="ends before"):
        list(recording.segments(2.0, 1.0))


def test_twenty_minutes_are_never_unpacked_at_once() -> None:
    """As 48 kHz stereo they would be 460 MB of float32, and 58 MB as mono at 12 kHz."""
    rate = 12_000
    block = noise(10.0, rate)
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", rate, 1, format="FLAC", subtype="PCM_16") as sound:
        for _ in range(120):
            sound.write(block)
    content = file.getvalue()
    tracemalloc.start()
    try:
        recording = decode("audio", content, Limits()).media
        count = sum(1 for _ in recording.segments(2.0, 1.0))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 1199
    assert peak < 4 * 2**20


@pytest.mark.parametrize("channels", [1, 2])
def test_a_part_keeps_its_channels(channels: int) -> None:
    samples = np.tile(noise(10.0)[:, None], channels)
    part, rate = soundfile.read(io.BytesIO(cut(packed(samples), 2.5, 4.0)), always_2d=True)
    assert rate == RATE
    assert part.shape == (24_000, channels)
    np.testing.assert_allclose(part, samples[40_000:64_000], atol=1e-4)
