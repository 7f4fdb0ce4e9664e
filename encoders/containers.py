"""Whether a file ends before the length that its own container promises.

Decoders read a cut file as a shorter one, or fill it up with silence. Knows nothing about samples.
"""

from __future__ import annotations

OGG_PAGE_HEADER = 27  # bytes before the segment table (RFC 3533, section 6)
STREAMED_WAV = 0x7FFF_F000
# A Xing or Info tag follows the 4 bytes of frame header and up to 32 of side information.
XING_OFFSET = 36


def ends_early(content: bytes, kind: str) -> bool:
    """True where a PNG, WAV, Ogg or MPEG container says that bytes are missing; else False.

    Unknown lengths are no reason to refuse: streamed WAV, MPEG without a Xing tag.
    """
    match kind:
        case "image/png":
            return b"IEND" not in content  # the name of the last chunk
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
    return not unknown and size + 8 > len(content) + 1


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
    return promised > len(content) - (start + tag - XING_OFFSET)
