"""Bytes to media: what is whole is read, what is cut is refused."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from PIL import Image

from encoders.containers import ends_early, ogg_is_damaged
from encoders.media import Limits, MediaError, decode

RATE = 16_000
LIMITS = Limits(max_audio_s=10.0)


def sound(form: str, subtype: str | None = None, seconds: float = 2.0, rate: int = RATE) -> bytes:
    """A chirp, as libsndfile writes it."""
    times = np.arange(int(seconds * rate)) / rate
    samples = 0.5 * np.sin(2 * np.pi * (200 + 300 * times) * times)
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=form, subtype=subtype)
    return file.getvalue()


FORMS = {
    "audio/wav": ("WAV", "PCM_16"),
    "audio/flac": ("FLAC", None),
    "audio/ogg": ("OGG", "VORBIS"),
    "audio/mpeg": ("MP3", None),
}


@pytest.mark.parametrize("kind", FORMS)
def test_a_whole_sound_is_read(kind: str) -> None:
    found = decode("audio", sound(*FORMS[kind]), LIMITS)
    assert found.media_type == kind
    assert found.media.sample_rate == RATE
    assert len(found.media.samples) == pytest.approx(2 * RATE, rel=0.1)  # MP3 pads
    assert np.abs(found.media.samples).max() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("kind", FORMS)
def test_a_cut_sound_is_refused(kind: str, share: float) -> None:
    content = sound(*FORMS[kind])
    with pytest.raises(MediaError) as caught:
        decode("audio", content[: int(len(content) * share)], LIMITS)
    assert caught.value.code in ("invalid_media", "unsupported_media")


def test_an_opus_stream_is_cut_like_vorbis() -> None:
    content = sound("OGG", "OPUS")
    assert not ends_early(content, "audio/ogg")
    assert ends_early(content[:-1], "audio/ogg")


def test_a_damaged_page_of_an_ogg_stream_is_refused() -> None:
    content = sound("OGG", "VORBIS")
    assert not ogg_is_damaged(content)
    damaged = bytearray(content)
    damaged[len(content) // 2] ^= 1
    assert ogg_is_damaged(bytes(damaged))
    second = content.index(b"OggS", 4)
    assert ogg_is_damaged(content[:second] + b"what is this" + content[second:])
    with pytest.raises(MediaError, match="checksum of a page"):
        decode("audio", bytes(damaged), LIMITS)


def test_a_wav_that_promises_more_samples_than_it_holds_is_refused() -> None:
    content = bytearray(sound("WAV", "PCM_16"))
    size = content.index(b"data") + 4
    content[size : size + 4] = (len(content) - size - 4 + 2).to_bytes(4, "little")
    with pytest.raises(MediaError, match="truncated"):
        decode("audio", bytes(content), LIMITS)


def test_tags_before_and_after_an_mpeg_stream_do_no_harm() -> None:
    content = sound("MP3")
    body = bytes(300)
    tag = b"ID3\x04\x00\x00" + bytes([0, 0, len(body) >> 7, len(body) & 0x7F]) + body
    footer = b"TAG" + bytes(125)
    for whole in (tag + content, content + footer, tag + content + footer):
        assert len(decode("audio", whole, LIMITS).media.samples) > RATE
    with pytest.raises(MediaError):
        decode("audio", tag + content[: len(content) // 2], LIMITS)


def test_a_streamed_wav_names_no_length() -> None:
    content = bytearray(sound("WAV", "PCM_16"))
    content[4:8] = b"\xff\xff\xff\xff"
    assert not ends_early(bytes(content), "audio/wav")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_must_be_numbers(value: float) -> None:
    file = io.BytesIO()
    samples = np.array([[0.1, 0.1], [value, 0.1], [np.inf, -np.inf]], np.float32)
    soundfile.write(file, samples, RATE, format="WAV", subtype="FLOAT")
    with pytest.raises(MediaError, match="NaN or infinite"):
        decode("audio", file.getvalue(), LIMITS)


def test_seconds_are_limited_and_so_are_samples() -> None:
    for content in (
        sound("FLAC", seconds=10.5),
        sound("FLAC", seconds=6, rate=96_000),
    ):
        with pytest.raises(MediaError, match="at most"):
            decode("audio", content, LIMITS)
    assert (
        decode("audio", sound("FLAC", seconds=4, rate=96_000), LIMITS).media.sample_rate == 96_000
    )


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_a_cut_picture_is_refused(form: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, form)
    content = file.getvalue()
    assert decode("image", content, LIMITS).media.size == (64, 64)
    with pytest.raises(MediaError) as caught:
        decode("image", content[: len(content) * 3 // 4], LIMITS)
    assert caught.value.code == "invalid_media"


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    levels = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "PNG")
    seen = np.asarray(decode("image", file.getvalue(), LIMITS).media)
    assert seen.shape == (64, 64, 3)
    assert np.abs(seen[..., 0] - levels / 257).max() <= 1


def test_large_pictures_are_made_smaller() -> None:
    for mode, form in (("RGBA", "PNG"), ("P", "PNG"), ("RGB", "JPEG"), ("L", "PNG")):
        file = io.BytesIO()
        Image.new(mode, (3000, 1500), 128 if mode in "LP" else "teal").save(file, form)
        assert decode("image", file.getvalue(), LIMITS).media.size == (2048, 1024)


def test_a_png_needs_its_end() -> None:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "teal").save(file, "PNG")
    with pytest.raises(MediaError, match="truncated"):
        decode("image", file.getvalue()[:-12], LIMITS)
    assert decode("image", file.getvalue() + b"appended", LIMITS).media.size == (8, 8)
