"""Bytes to pictures, sounds and texts, within limits. Knows nothing about models or the service.

The content decides what something is; a declared type is never trusted.
"""

from __future__ import annotations

import io
import re
import threading
import warnings
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from encoders import sounds
from encoders.base import Modality
from encoders.containers import ends_early
from encoders.errors import MediaError as MediaError

ACCEPTED: dict[Modality, tuple[str, ...]] = {
    "image": ("image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp"),
    "text": ("text/plain",),
    "audio": sounds.ACCEPTED,
}
_PILLOW = {kind: kind.rpartition("/")[2].upper() for kind in ACCEPTED["image"]}
# No model here looks closer: a larger picture is made smaller at once, and large ones are unpacked
# two at a time, at up to 4 bytes a pixel each.
MOST_SIDE = 2048  # px
LARGE_PIXELS = 2 * MOST_SIDE**2
_LARGE = threading.Semaphore(2)


@dataclass(frozen=True)
class Limits:
    max_pixels: int = 50_000_000
    max_audio_s: float = 3600.0
    max_text_chars: int = 100_000
    trusted: bool = False  # the bytes were decoded before: a long sound is not read to its end


@dataclass(frozen=True)
class Decoded:
    """`media`: RGB `PIL.Image.Image`, `str`, mono `Waveform`, or what another modality's decoder
    makes; `media_type` by the content.

    A picture is at most 2048 px wide and high, smaller than its content where that is larger. A
    sound longer than `sounds.WHOLE_S` is a `sounds.Recording`, to be read in segments.
    """

    modality: Modality
    media_type: str
    media: Any


_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
    (b"fLaC", "audio/flac"),
    (b"OggS", "audio/ogg"),
    (b"ID3", "audio/mpeg"),
    (b"%PDF", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
)
_ANY_SIGNATURE = tuple(signature for signature, _ in _SIGNATURES)


def sniff(content: bytes) -> str | None:
    """The media type that the first bytes speak of; None when they speak of nothing known."""
    if content[:4] == b"RIFF":
        return {b"WAVE": "audio/wav", b"WEBP": "image/webp"}.get(content[8:12])
    if content.startswith(_ANY_SIGNATURE):
        for signature, kind in _SIGNATURES:
            # "BM" alone is also how a text may start: a bitmap names its own size.
            if content.startswith(signature) and (kind != "image/bmp" or _is_bitmap(content)):
                return kind
    if len(content) > 1 and content[0] == 0xFF and content[1] & 0xE6 in (0xE2, 0xE4, 0xE6):
        return "audio/mpeg"  # MPEG frame sync, layers I to III
    return "text/plain" if _is_text(content) else None


def _is_bitmap(content: bytes) -> bool:
    return len(content) > 26 and content[6:10] == b"\0\0\0\0"


def _is_text(content: bytes) -> bool:
    try:
        return "\0" not in content.decode("utf-8")
    except UnicodeDecodeError:
        return False


def decode(modality: str, content: bytes, limits: Limits) -> Decoded:
    """Decode bytes of a picture, text or sound (`encoders.modalities` decodes any modality).

    Raises MediaError: unsupported_media (another type than the modality takes), invalid_media
    (broken, truncated, empty) or too_large (more pixels, seconds or characters than allowed).
    """
    if modality not in ACCEPTED:
        raise MediaError(
            "unsupported_media", f"unknown modality {modality!r}", modality, tuple(ACCEPTED)
        )
    accepted = ACCEPTED[modality]
    if not content:
        raise MediaError("invalid_media", f"the {modality} is empty", "nothing", accepted)
    kind = sniff(content)
    if modality == "text":
        return Decoded("text", "text/plain", _text(content, kind, limits))
    if kind not in accepted:
        raise MediaError(
            "unsupported_media",
            f"the {modality} is {kind or 'of an unknown type'}; accepted: {', '.join(accepted)}",
            kind,
            accepted,
        )
    if modality == "image":
        return Decoded("image", kind, _picture(content, kind, limits))
    if limits.trusted:
        return Decoded("audio", kind, sounds.open_sound(content, kind))
    return Decoded("audio", kind, sounds.read_sound(content, kind, limits.max_audio_s))


def _text(content: bytes, kind: str | None, limits: Limits) -> str:
    accepted = ACCEPTED["text"]
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        if kind is not None:
            message = f"the text is {kind}; accepted: text/plain in UTF-8"
            raise MediaError("unsupported_media", message, kind, accepted) from error
        message = f"the text is not UTF-8: {error.reason} at byte {error.start}"
        raise MediaError("invalid_media", message, None, accepted) from error
    if "\0" in text:
        raise MediaError("invalid_media", "the text has a NUL character", None, accepted)
    if not text.strip():
        raise MediaError("invalid_media", "the text is blank", "blank", accepted)
    if len(text) > limits.max_text_chars:
        message = f"the text has {len(text)} characters, at most {limits.max_text_chars}"
        most = limits.max_text_chars
        raise MediaError("too_large", message, len(text), most, "max_text_chars")
    return text


def _picture(content: bytes, kind: str, limits: Limits) -> Image.Image:
    accepted = ACCEPTED["image"]
    if ends_early(content, kind):
        message = f"the {kind} is truncated: its end is missing"
        raise MediaError("invalid_media", message, kind, accepted)
    try:
        # The size is in the header: a bomb is refused before its pixels are unpacked.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(content), formats=[_PILLOW[kind]])
        if image.width * image.height > limits.max_pixels:
            raise _too_many(image.width * image.height, limits.max_pixels)
        with _LARGE if image.width * image.height > LARGE_PIXELS else nullcontext():
            image.draft(None, (MOST_SIDE, MOST_SIDE))  # JPEG alone can unpack to less
            image.load()  # the first frame, to its last byte
            if not image.mode.startswith("I"):  # which Pillow cannot average
                image.thumbnail((MOST_SIDE, MOST_SIDE), reducing_gap=2.0)
            return on_white(ImageOps.exif_transpose(image))
    except MediaError:
        raise
    except UnidentifiedImageError as error:
        message = f"the {kind} is broken: it starts like one, but has no header of one"
        raise MediaError("invalid_media", message, kind, accepted) from error
    except Image.DecompressionBombError as error:  # Pillow's own limit, for what is far above ours
        size = re.search(r"\((\d+) pixels\)", str(error))
        most = min(limits.max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or limits.max_pixels))
        raise _too_many(int(size[1]) if size else None, most) from error
    except Exception as error:  # decoders raise whatever a broken file leads them to
        if "MAX_TEXT_" in str(error):  # Pillow's only word for it
            most = PngImagePlugin.MAX_TEXT_CHUNK
            message = f"a text beside the picture (zTXt, iTXt or iCCP) unpacks to over {most} bytes"
            raise MediaError("too_large", message, None, most) from error
        message = f"the {kind} is broken or truncated: {error}"
        raise MediaError("invalid_media", message, kind, accepted) from error


def _too_many(pixels: int | None, most: int) -> MediaError:
    size = "more" if pixels is None else f"{pixels}"
    message = f"the picture has {size} pixels, at most {most} are accepted"
    return MediaError("too_large", message, pixels, most, "max_pixels")


def on_white(image: Image.Image) -> Image.Image:
    """RGB, what is transparent shown on white."""
    if image.mode.startswith("I"):  # 16 bits: Pillow would clip, not scale, and all would be white
        levels = np.clip(np.asarray(image), 0, 65535).astype(np.uint16)
        return Image.fromarray((levels >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    rgba = image.convert("RGBA")
    canvas = Image.new("RGBA", rgba.size, "white")
    canvas.alpha_composite(rgba)
    return canvas.convert("RGB")
