"""Whether a file ends before the length that its own container promises, or is damaged inside.

Decoders read a cut file as a shorter one, or fill it up with silence. Knows nothing about samples.
"""

from __future__ import annotations

import zlib

PNG_END = b"IEND\xaeB`\x82"  # name and checksum of the last chunk
OGG_PAGE_HEADER = 27  # bytes before the segment table (RFC 3533, section 6)
STREAMED_WAV = 0x7FFF_F000
# A Xing or Info tag follows 4 bytes of frame header and 32, 17 or 9 of side information.
XING_OFFSETS = (36, 21, 13)
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def ends_early(content: bytes, kind: str) -> bool:
    """True where a PNG, WAV, Ogg or MPEG container says that bytes are missing; else False.

    Unknown lengths are no reason to refuse: streamed WAV, MPEG without a Xing tag.
    """
    match kind:
        case "image/png":
            return PNG_END not in content
        case "audio/wav":
            return _wav_ends_early(content)
        case "audio/ogg":
            return _ogg_ends_early(content)
        case "audio/mpeg":
            return _mpeg_ends_early(content)
    return False


def _wav_ends_early(content: bytes) -> bool:
    size = int.from_bytes(content[4:8], "little")
    # 0 and about 2^31 or 2^32: written while streaming. Some forget the padding byte at the end.
    unknown = size == 0 or size >= STREAMED_WAV
    if unknown or size + 8 > len(content) + 1:
        return not unknown
    at = 12
    while at + 8 <= len(content):
        size = int.from_bytes(content[at + 4 : at + 8], "little")
        if content[at : at + 4] == b"data":
            return size < STREAMED_WAV and at + 8 + size > len(content)
        at += 8 + size + size % 2
    return False


def _ogg_ends_early(content: bytes) -> bool:
    at = 0
    while content[at : at + 4] == b"OggS":
        table = at + OGG_PAGE_HEADER
        if table > len(content):
            return True
        segments = content[table - 1]
        end = table + segments + sum(content[table : table + segments])
        if end > len(content) or table + segments > len(content):
            return True
        at = end
    rest = content[at : at + 4]
    return bool(rest) and b"OggS".startswith(rest)


def ogg_is_damaged(content: bytes) -> bool:
    """True where a page's checksum (RFC 3533, section 6) does not fit, or bytes are between pages.

    libsndfile passes over such pages, and what it then makes of the rest is not always the same.
    """
    at = 0
    while content[at : at + 4] == b"OggS":
        table = at + OGG_PAGE_HEADER
        segments = content[table - 1]
        end = table + segments + sum(content[table : table + segments])
        page = content[at : at + 22] + bytes(4) + content[at + 26 : end]
        if _ogg_checksum(page) != int.from_bytes(content[at + 22 : at + 26], "little"):
            return True
        at = end
    return b"OggS" in content[at:]


def _ogg_checksum(page: bytes) -> int:
    """CRC-32 with the highest bit first and no inversions: zlib's, turned round."""
    turned = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{turned:032b}"[::-1], 2)


def _mpeg_ends_early(content: bytes) -> bool:
    """By the number of bytes in the tag of the first frame (Xing: variable rate, Info: fixed)."""
    start = 0
    if content[:3] == b"ID3" and len(content) >= 10:
        size = 0
        for byte in content[6:10]:  # 7 bits each
            size = size << 7 | byte & 0x7F
        start = 10 + size
    head = content[start : start + 4096]
    tag = max(head.find(b"Xing"), head.find(b"Info"))
    if tag < 0:
        return start >= len(content)
    flags = int.from_bytes(head[tag + 4 : tag + 8], "big")
    if not flags & 2:  # no number of bytes
        return False
    at = tag + 8 + (4 if flags & 1 else 0)  # behind the number of frames
    promised = int.from_bytes(head[at : at + 4], "big")
    header = next((o for o in XING_OFFSETS if tag >= o and _frame_header(head[tag - o :])), tag)
    return promised > len(content) - (start + tag - header)


def _frame_header(content: bytes) -> bool:
    """Eleven bits of sync (ISO 11172-3), and a version, layer, bit rate and rate that there are."""
    return content[0] == 0xFF and content[1] >= 0xE0 and content[1] & 6 != 0 and content[2] < 0xF0
