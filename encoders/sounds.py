"""Sounds from bytes, block by block: a short one becomes its samples, a long one stays packed.

A `Recording` is a long sound that is unpacked again whenever a piece of it is wanted, so that an
hour takes no more memory than its file and some seconds of samples. Knows nothing about models.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import soundfile

from encoders.base import Waveform
from encoders.containers import ends_early, ogg_is_damaged
from encoders.errors import MediaError
from encoders.log_mel import Floats

ACCEPTED = ("audio/wav", "audio/flac", "audio/ogg", "audio/mpeg")
WHOLE_S = 8.0  # a longer sound is a Recording
BLOCK_SAMPLES = 1 << 16
# A compressed second may unpack to any number of samples: beyond this rate they count as more
# seconds, so that the limit in seconds bounds the time that a sound takes, and up to the highest
# rate of recorders and bat detectors a window's samples are few enough to be held.
FULL_RATE = 48_000  # Hz
MAX_RATE = 768_000  # Hz


@dataclass(frozen=True)
class Segment:
    """A part of a sound: from `start_s` to `end_s`, in seconds from its beginning."""

    start_s: float
    end_s: float
    sound: Waveform


@dataclass(frozen=True)
class Recording:
    """A sound longer than WHOLE_S in its packed form; `frames` samples per channel.

    What its methods yield is mono and in [-1, 1], at its own rate. They raise MediaError where the
    bytes cannot be read, which those that `read_sound` has gone through once can.
    """

    content: bytes = field(repr=False)
    kind: str  # media type
    sample_rate: int
    frames: int

    @property
    def duration_s(self) -> float:
        return self.frames / self.sample_rate

    def read(self, start_s: float, end_s: float) -> Waveform:
        """The samples from `start_s` to `end_s`; fewer where the sound ends before."""
        start, end = (round(each * self.sample_rate) for each in (start_s, end_s))
        with _opened(self.content, self.kind) as file:
            file.seek(min(max(start, 0), self.frames))
            blocks = list(_mono(file, self.kind, max(end - start, 0)))
        return Waveform(_joined(blocks), self.sample_rate)

    def segments(self, length_s: float, step_s: float) -> Iterator[Segment]:
        """Successive segments of `length_s`, one every `step_s`; the last one ends with the sound.

        One after the other: no more than a segment and a block are held at a time.
        """
        rate = self.sample_rate
        length = min(round(length_s * rate), self.frames)
        at, held = 0, np.empty(0, np.float32)  # the samples from `at` on
        starts = iter(_starts(self.frames, length, max(round(step_s * rate), 1)))
        start = next(starts, None)
        with _opened(self.content, self.kind) as file:
            for block in _mono(file, self.kind):
                held = np.concatenate((held, block))
                while start is not None and start + length <= at + len(held):
                    piece = held[start - at : start - at + length].copy()
                    yield Segment(start / rate, (start + length) / rate, Waveform(piece, rate))
                    start = next(starts, None)
                kept = at + len(held) if start is None else min(start, at + len(held))
                held, at = held[kept - at :], kept
        if start is not None:
            raise _refused(_ends_before(self.kind), self.kind)


def _starts(frames: int, length: int, step: int) -> Iterator[int]:
    start = 0
    for start in range(0, frames - length + 1, step):
        yield start
    if start + length < frames:
        yield frames - length


def read_sound(content: bytes, kind: str, max_s: float) -> Waveform | Recording:
    """Unpack a sound to its end, and keep the samples where they are few.

    Raises MediaError: invalid_media (broken, truncated, empty, not a number) or too_large (longer
    than `max_s`, or above MAX_RATE).
    """
    if ends_early(content, kind):
        raise _refused(_ends_before(kind), kind)
    if kind == "audio/ogg" and ogg_is_damaged(content):
        raise _refused("the audio/ogg is damaged: the checksum of a page does not fit", kind)
    blocks: list[Floats] = []
    frames = 0
    with _opened(content, kind) as file:
        # The header may lie about the length, so the blocks are counted, too.
        rate, promised = file.samplerate, file.frames
        _check_length(promised, rate, max_s)
        for block in _mono(file, kind):
            frames += len(block)
            _check_length(frames, rate, max_s)
            if frames <= WHOLE_S * rate:
                blocks.append(block)
            else:
                blocks.clear()
    if not frames:
        raise _refused(f"the {kind} holds no sound", kind)
    if frames < promised:
        raise _refused(_ends_before(kind), kind)
    return Waveform(_joined(blocks), rate) if blocks else Recording(content, kind, rate, frames)


def open_sound(content: bytes, kind: str) -> Waveform | Recording:
    """`read_sound`, of bytes that it accepted before: the length of a long sound is believed."""
    with _opened(content, kind) as file:
        rate, promised = file.samplerate, file.frames
    if promised > WHOLE_S * rate:
        return Recording(content, kind, rate, promised)
    return read_sound(content, kind, max_s=1e9)


def cut(content: bytes, start_s: float, end_s: float) -> bytes:
    """The part from `start_s` to `end_s` as a 16-bit WAV, all channels, at the rate it has.

    Raises soundfile.LibsndfileError where the bytes cannot be read.
    """
    buffer = io.BytesIO()
    with soundfile.SoundFile(io.BytesIO(content)) as file:
        start, end = (min(round(each * file.samplerate), file.frames) for each in (start_s, end_s))
        file.seek(start)
        size = max(BLOCK_SAMPLES // file.channels, 1)
        with soundfile.SoundFile(
            buffer, "w", file.samplerate, file.channels, format="WAV", subtype="PCM_16"
        ) as part:
            for block in file.blocks(size, frames=end - start, dtype="float32", always_2d=True):
                part.write(block)
    return buffer.getvalue()


@contextmanager
def _opened(content: bytes, kind: str) -> Iterator[Any]:
    """The open `soundfile.SoundFile`; what libsndfile says of broken bytes becomes MediaError."""
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            if file.samplerate > MAX_RATE:
                message = f"the sound has {file.samplerate} Hz, at most {MAX_RATE} Hz"
                raise MediaError("too_large", message, file.samplerate, MAX_RATE)
            yield file
    except soundfile.LibsndfileError as error:
        message = f"the {kind} is broken or truncated: {error.error_string}"
        raise _refused(message, kind) from error


def _mono(file: Any, kind: str, frames: int = -1) -> Iterator[Floats]:
    """Blocks of the mean over channels in [-1, 1]; raises MediaError for NaN and infinity."""
    size = max(BLOCK_SAMPLES // file.channels, 1)
    for block in file.blocks(size, frames=frames, dtype="float32", always_2d=True):
        with np.errstate(invalid="ignore", over="ignore"):  # see isfinite below
            mean = block.mean(axis=1)
        if not np.isfinite(mean).all():
            raise _refused("a sample is NaN or infinite", kind)
        yield np.clip(mean, -1.0, 1.0, out=mean)


def _joined(blocks: list[Floats]) -> Floats:
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def _ends_before(kind: str) -> str:
    return f"the {kind} is truncated: it ends before the length that its header promises"


def _refused(message: str, kind: str) -> MediaError:
    return MediaError("invalid_media", message, kind, ACCEPTED)


def _check_length(frames: int, rate: int, max_s: float) -> None:
    if frames <= int(max_s * min(rate, FULL_RATE)):
        return
    found_s, most_s, at = frames / rate, max_s, ""
    if rate > FULL_RATE:
        most_s, at = max_s * FULL_RATE / rate, f" at {rate} Hz"
    message = f"the sound has {found_s:.1f} s{at} or more, at most {most_s:g} s are accepted"
    raise MediaError("too_large", message, round(found_s, 3), round(most_s, 3), "max_audio_s")
