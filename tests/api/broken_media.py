"""A corpus of media files that are broken in known ways, the same at every run.

Small good files are made here (or taken from samples/), then cut, flipped, spliced and lied about.
What such a change does *not* break, because the format has nothing that would notice (a pixel of a
bitmap, a sample of a sound), is named in `STILL_GOOD`: everything else has to be refused.
"""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import soundfile
from PIL import Image, PngImagePlugin
from problem_answers import OGG, PNG


class Broken(NamedTuple):
    name: str
    modality: str
    content: bytes


def _picture(kind: str, **options: object) -> bytes:
    pixels = np.random.default_rng(1).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def _sound(kind: str, subtype: str | None = None, value: float | None = None) -> bytes:
    samples = np.sin(np.arange(4000) / 9).astype(np.float32) / 2
    if value is not None:
        samples[1234] = value
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, 16_000, format=kind, subtype=subtype)
    content = buffer.getvalue()
    peak = content.find(b"PEAK")  # a chunk of libsndfile's with the time of day in it
    return content if peak < 0 else content[: peak + 12] + bytes(4) + content[peak + 16 :]


GOOD: dict[str, tuple[str, bytes]] = {
    "png": ("image", _picture("PNG")),
    "stamp.png": ("image", PNG),
    "jpeg": ("image", _picture("JPEG", quality=80)),
    "progressive.jpeg": ("image", _picture("JPEG", quality=80, progressive=True)),
    "webp": ("image", _picture("WEBP")),
    "lossless.webp": ("image", _picture("WEBP", lossless=True)),
    "gif": ("image", _picture("GIF")),
    "bmp": ("image", _picture("BMP")),
    "wav": ("audio", _sound("WAV", "PCM_16")),
    "float.wav": ("audio", _sound("WAV", "FLOAT")),
    "flac": ("audio", _sound("FLAC", "PCM_16")),
    "ogg": ("audio", OGG),
    "mp3": ("audio", _sound("MP3")),
    "csv": ("sensor", b"time,temperature [C]\n0,18.5\n60,18.25\n120,19.0\n180,19.5\n"),
    "json": ("sensor", b'{"series": {"humidity": [40.5, 41.0, 42.25]}, "interval_s": 60}'),
}
BINARY = [name for name in GOOD if name not in ("csv", "json")]
CUTS = (0.02, 0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 0.95)


def truncated() -> Iterator[Broken]:
    for name in BINARY:
        modality, content = GOOD[name]
        for share in CUTS:
            yield Broken(
                f"{name} cut at {share:.0%}", modality, content[: int(len(content) * share)]
            )
        for missing in (1, 2, 5):
            yield Broken(f"{name} without its last {missing}", modality, content[:-missing])


def flipped() -> Iterator[Broken]:
    """Eight bits flipped in the middle third; more of the header in another."""
    for name in BINARY:
        modality, content = GOOD[name]
        for number in range(4):
            drawn = random.Random(f"{name} {number}")
            lower, upper = (len(content) // 3, 2 * len(content) // 3) if number else (4, 40)
            changed = bytearray(content)
            for _ in range(8):
                changed[drawn.randrange(lower, upper)] ^= 1 << drawn.randrange(8)
            yield Broken(f"{name} flipped {number}", modality, bytes(changed))


def spliced() -> Iterator[Broken]:
    """The head of one format on the body of another, holes, and a format in another's field."""
    for first, second in zip(BINARY, BINARY[3:] + BINARY[:3], strict=True):
        modality, content = GOOD[first]
        yield Broken(f"head of {first}, body of {second}", modality, content[:16] + GOOD[second][1])
    for name in BINARY:
        modality, content = GOOD[name]
        third = len(content) // 3
        yield Broken(f"{name} with a hole", modality, content[:third] + content[2 * third :])
        yield Broken(f"{name} of zeros", modality, content[:12] + bytes(len(content)))
        yield Broken(f"{name} of ones", modality, content[:12] + b"\xff" * len(content))
        for other in ("image", "audio", "text", "sensor"):
            if other != modality:
                yield Broken(f"{name} as {other}", other, content)


def chunk(kind: bytes, content: bytes, checksum: int | None = None) -> bytes:
    real = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum or real)


def png(width: int, height: int, data: bytes, *, depth: int = 8, colour: int = 2) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def lying_pictures() -> Iterator[Broken]:
    few = zlib.compress(bytes(100))
    rows = zlib.compress(bytes(12 * (16 * 3 + 1)))
    for side in (0, 2**16, 100_000, 2**31 - 1, 2**32 - 1):
        yield Broken(f"png of side {side}", "image", png(side, side, few))
        yield Broken(f"png of width {side}", "image", png(side, 12, few))
    yield Broken("png bomb", "image", png(30_000, 30_000, zlib.compress(bytes(10_000_000), 9)))
    yield Broken("png of depth 3", "image", png(16, 12, rows, depth=3))
    yield Broken("png of colour 7", "image", png(16, 12, rows, colour=7))
    yield Broken("png of too few rows", "image", png(16, 13, rows))
    yield Broken("png of no zlib", "image", png(16, 12, b"no zlib at all"))
    yield Broken("png of a palette that is missing", "image", png(16, 12, rows, colour=3))
    head = b"\x89PNG\r\n\x1a\n"
    size = struct.pack(">IIBBBBB", 16, 12, 8, 2, 0, 0, 0)
    whole = chunk(b"IHDR", size)
    yield Broken("png of a wrong checksum", "image", head + chunk(b"IHDR", size, 1) + whole)
    yield Broken("png without data", "image", head + whole + chunk(b"IEND", b""))
    yield Broken("png of a chunk of 4 GB", "image", head + whole + b"\xff\xff\xff\xffIDATx")
    yield Broken(
        "png of ten thousand chunks", "image", head + whole + chunk(b"tEXt", b"a") * 10_000
    )
    yield Broken("png of a zTXt bomb", "image", _text_bomb())
    for width, height in ((65_535, 65_535), (0, 0), (65_535, 1)):
        jpeg = bytearray(GOOD["jpeg"][1])
        place = jpeg.index(b"\xff\xc0") + 5
        jpeg[place : place + 4] = struct.pack(">HH", height, width)
        yield Broken(f"jpeg of {width} x {height}", "image", bytes(jpeg))
    for width, height in ((2**31 - 1, 2**31 - 1), (-1, 12), (0, 0), (100_000, 100_000)):
        bmp = bytearray(GOOD["bmp"][1])
        bmp[18:26] = struct.pack("<ii", width, height)
        yield Broken(f"bmp of {width} x {height}", "image", bytes(bmp))
    for width, height in ((65_535, 65_535), (0, 0)):
        gif = bytearray(GOOD["gif"][1])
        gif[6:10] = struct.pack("<HH", width, height)
        yield Broken(f"gif of {width} x {height}", "image", bytes(gif))
    yield Broken("jpeg of markers only", "image", b"\xff\xd8\xff\xe0" + b"\xff" * 500 + b"\xff\xd9")
    yield Broken("webp of a lying size", "image", b"RIFF\xff\xff\xff\xffWEBPVP8 " + bytes(60))
    yield Broken("svg", "image", b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    yield Broken("tiff", "image", b"II*\0" + bytes(100))
    yield Broken("html", "image", b"<html><script>alert(1)</script></html>")


def _text_bomb() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "x" * 3_000_000, zip=True)
    return _picture("PNG", pnginfo=info)


def archives() -> Iterator[Broken]:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        # The date is told: by default it would be now, and the corpus another one.
        zeros = zipfile.ZipInfo("zeros", (2026, 1, 1, 0, 0, 0))
        archive.writestr(zeros, bytes(20_000_000), zipfile.ZIP_DEFLATED)
    bomb = buffer.getvalue()
    gz = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = gz.compress(bytes(5_000_000)) + gz.flush()
    for modality in ("image", "audio", "text", "sensor"):
        yield Broken(f"zip bomb as {modality}", modality, bomb)
        yield Broken(f"gzip bomb as {modality}", modality, packed)


def wav(
    *, channels: int = 1, rate: int = 16_000, bits: int = 16, tag: int = 1, **lies: int
) -> bytes:
    """A WAV of 1000 samples; `lies`: what the headers say of sizes instead of the truth."""
    data = bytes(2000)
    block = max(1, channels * bits // 8)
    fmt = struct.pack(
        "<HHIIHH", tag, channels, rate, rate * block % 2**32, lies.get("block", block % 2**16), bits
    )
    body = b"WAVEfmt " + struct.pack("<I", lies.get("fmt", 16)) + fmt
    body += b"data" + struct.pack("<I", lies.get("data", len(data))) + data
    return b"RIFF" + struct.pack("<I", lies.get("riff", len(body))) + body


def lying_sounds() -> Iterator[Broken]:
    for size in (2001, 10_000, 2**31 - 1, 2**32 - 2):
        yield Broken(f"wav of {size} bytes of data", "audio", wav(data=size))
        yield Broken(f"wav of {size} bytes in all", "audio", wav(data=size, riff=size))
    for size in (0, 1, 15, 2**31):
        yield Broken(f"wav of a header of {size}", "audio", wav(fmt=size))
    yield Broken("wav without data", "audio", wav(data=0)[:44])
    for channels in (0, 2000, 65_535):
        yield Broken(f"wav of {channels} channels", "audio", wav(channels=channels))
    for rate in (0, 768_001, 2**31 - 1, 2**32 - 1):
        yield Broken(f"wav of rate {rate}", "audio", wav(rate=rate))
    for bits in (0, 3, 7, 65_535):
        yield Broken(f"wav of {bits} bits", "audio", wav(bits=bits))
    for tag in (0, 2, 0x55, 0xFFFE, 0xFFFF):
        yield Broken(f"wav of format {tag}", "audio", wav(tag=tag))
    for kind, value in (("NaN", np.nan), ("infinite", np.inf), ("-infinite", -np.inf)):
        for number, subtype in (("float", "FLOAT"), ("double", "DOUBLE")):
            content = _sound("WAV", subtype, value)
            yield Broken(f"wav with a {kind} {number}", "audio", content)
    yield Broken("flac without frames", "audio", GOOD["flac"][1][:60])
    yield Broken("ID3 of 256 MB", "audio", b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + bytes(100))
    yield Broken("ID3 alone", "audio", b"ID3\x04\0\0\0\0\0\x0a" + bytes(10))
    yield Broken("frame syncs", "audio", b"\xff\xfb\x90\0" * 200)
    yield from _ogg_pages()


def _ogg_pages() -> Iterator[Broken]:
    """Pages with other checksums, serial numbers, order, and none of their kind."""
    starts = [place for place in range(len(OGG)) if OGG.startswith(b"OggS", place)]
    pages = [OGG[a:b] for a, b in zip(starts, [*starts[1:], len(OGG)], strict=True)]
    ruined = [page[:22] + bytes(4) + page[26:] for page in pages]
    foreign = [page[:14] + b"\x99\x99\x99\x99" + page[18:] for page in pages]
    yield Broken("ogg of no checksums", "audio", b"".join(ruined))
    yield Broken("ogg of foreign pages", "audio", pages[0] + b"".join(foreign[1:]))
    yield Broken("ogg without its first page", "audio", b"".join(pages[1:]))
    yield Broken("ogg without its second page", "audio", pages[0] + b"".join(pages[2:]))
    yield Broken("ogg without its last page", "audio", b"".join(pages[:-1]))
    yield Broken("ogg of one page", "audio", pages[0])
    yield Broken("ogg backwards", "audio", b"".join(reversed(pages)))
    yield Broken("ogg of an unknown codec", "audio", OGG.replace(b"\x01vorbis", b"\x01cypher"))


def texts() -> Iterator[Broken]:
    bad = {
        "a lone continuation": b"a \x80 b",
        "an overlong slash": b"a \xc0\xaf b",
        "a surrogate": b"a \xed\xa0\x80 b",
        "beyond Unicode": b"a \xf4\x90\x80\x80 b",
        "a cut sequence": "a é".encode()[:-1],
        "Latin-1": "café".encode("latin-1"),
        "UTF-16": "a cat".encode("utf-16"),
        "UTF-32": "a cat".encode("utf-32"),
        "a NUL": b"a \0 b",
        "NULs only": bytes(50),
        "blanks only": b" \t\r\n\x0b\x0c" * 9,
        "no-break blanks": "\u00a0\u2003\u3000".encode(),
        "nothing": b"",
        "too many characters": b"x" * 2_001,
        "0xFE": b"\xfe\xfe\xff\xff",
    }
    for name, content in bad.items():
        yield Broken(f"text of {name}", "text", content)


def series() -> Iterator[Broken]:
    bad: dict[str, bytes] = {
        "a header alone": b"temperature\n",
        "no header": b"1,2\n3,4\n",
        "ragged rows": b"a,b\n1,2\n3\n",
        "words": b"a,b\n1,two\n3,4\n",
        "infinity": b"a\n1\ninf\n2\n",
        "1e999": b"a\n1\n1e999\n2\n",
        "the same name twice": b"a,a\n1,2\n3,4\n",
        "sixty-five channels": b",".join(b"c%d" % n for n in range(65))
        + b"\n"
        + b"1," * 64
        + b"1\n",
        "an open quote": b'"a,b\n1,2\n',
        "a NUL": b"a,b\n1,\x002\n3,4\n",
        "a field of 200 kB": b"a\n" + b"1" * 200_000 + b"\n2\n",
        "deep JSON": b"[" * 10_000,
        "deep objects": b'{"series":' * 10_000,
        "JSON of no series": b'{"series": {}}',
        "JSON of lists of lists": b'{"series": {"a": [[1], [2]]}}',
        "JSON of words": b'{"series": {"a": ["one", "two"]}}',
        "JSON of NaN": b'{"series": {"a": [1, NaN, 2]}}',
        "JSON of infinity": b'{"series": {"a": [1, Infinity, 2]}}',
        "JSON of 1e999": b'{"series": {"a": [1, 1e999, 2]}}',
        "JSON of an integer of 5000 digits": b'{"series": {"a": [1, ' + b"9" * 5000 + b"]}}",
        "JSON of unequal lengths": b'{"series": {"a": [1, 2], "b": [1]}}',
        "JSON of a negative interval": b'{"series": {"a": [1, 2]}, "interval_s": -1}',
        "JSON of no interval's kind": b'{"series": {"a": [1, 2]}, "interval_s": "soon"}',
        "JSON cut short": GOOD["json"][1][:-9],
        "JSON of true": b'{"series": {"a": [true, false]}}',
        "JSON of a list": b"[1, 2, 3]",
        "nothing but nulls": b'{"series": {"a": [null, null]}}',
    }
    for name, content in bad.items():
        yield Broken(f"series of {name}", "sensor", content)


MAKERS: tuple[Callable[[], Iterator[Broken]], ...] = (
    truncated,
    flipped,
    spliced,
    lying_pictures,
    archives,
    lying_sounds,
    texts,
    series,
)
STILL_GOOD = frozenset(
    [
        # All the pixels are there: what is missing is the mark behind them.
        *("gif without its last 1", "gif without its last 2"),
        # Other pixels or samples: neither format nor codec has a checksum over them.
        *(f"{name} flipped {number}" for name in ("gif", "bmp", "webp") for number in (1, 2, 3)),
        *(f"{name} flipped {number}" for name in ("wav", "float.wav") for number in (1, 2, 3)),
        *("lossless.webp flipped 1", "lossless.webp flipped 2"),
        # A player passes over what it cannot read of a stream of MPEG frames.
        *(f"mp3 flipped {number}" for number in range(4)),
        # Written while streaming: the length is not known, and the format says it so.
        *(f"wav of {size} bytes in all" for size in (2**31 - 1, 2**32 - 2)),
        *(f"wav of {size} bytes of data" for size in (2**31 - 1, 2**32 - 2)),
        "ogg without its last page",
        # The frame inside has a size of its own; samples of 3 or 7 bits lie in a byte.
        *("gif of 0 x 0", "wav of 3 bits", "wav of 7 bits"),
        # Pillow paints what is missing black, and takes levels of grey for a missing palette.
        *("png of too few rows", "png of a palette that is missing"),
    ]
)


def corpus() -> dict[str, Broken]:
    """By name; names are given once."""
    found = [each for make in MAKERS for each in make()]
    named = {each.name: each for each in found}
    assert len(named) == len(found)
    return named
