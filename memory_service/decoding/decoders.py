"""Who decodes: this process, or workers. Both answer alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
from PIL import Image

from encoders import modalities, sounds
from encoders.base import Waveform
from encoders.media import Decoded, Limits, MediaError
from encoders.sounds import Recording, Segment
from memory_service.decoding.pool import Crashed, Pool

# What native code unpacks. Texts and series are read by Python itself, and what other packages
# decode may be anything, which no pipe can carry.
ISOLATED = ("image", "audio")


class Decoders(Protocol):
    def decode(self, modality: str, content: bytes, limits: Limits) -> Decoded:
        """As `encoders.modalities.decode`."""

    def cut(self, content: bytes, start_s: float, end_s: float) -> bytes:
        """As `encoders.sounds.cut`."""

    @property
    def lost(self) -> int:
        """Workers that crashed or hung, and were replaced."""

    def close(self) -> None: ...


class InProcess:
    lost = 0

    def decode(self, modality: str, content: bytes, limits: Limits) -> Decoded:
        return modalities.decode(modality, content, limits)

    def cut(self, content: bytes, start_s: float, end_s: float) -> bytes:
        return sounds.cut(content, start_s, end_s)

    def close(self) -> None:
        pass


class Workers:
    """Pictures and sounds are decoded by `pool`. Long sounds, which take a worker for as long as
    their segments are encoded, are read by `long_pool`, or they would hold up everything else.

    A crash, or silence for too long, is MediaError `invalid_media`: those bytes did it.
    """

    def __init__(self, pool: Pool, long_pool: Pool) -> None:
        self._pool = pool
        self._long_pool = long_pool
        pool.warm()

    @property
    def lost(self) -> int:
        return self._pool.lost + self._long_pool.lost

    def close(self) -> None:
        self._pool.close()
        self._long_pool.close()

    def decode(self, modality: str, content: bytes, limits: Limits) -> Decoded:
        if modality not in ISOLATED or not content:
            return modalities.decode(modality, content, limits)
        job = {"job": "decode", "modality": modality, "limits": asdict(limits)}
        answer, payload = _first(self._pool, job, content)
        kind = answer["media_type"]
        return Decoded(modality, kind, self._media(answer, payload, content, kind))

    def _media(self, answer: dict[str, Any], payload: bytearray, content: bytes, kind: str) -> Any:
        if answer["is"] == "picture":
            width, height = answer["size"]
            return Image.frombytes("RGB", (width, height), payload)
        if answer["is"] == "sound":
            return _waveform(answer, payload)
        rate, count = answer["sample_rate"], answer["frames"]
        return RemoteRecording(content, kind, rate, count, self._long_pool)

    def cut(self, content: bytes, start_s: float, end_s: float) -> bytes:
        job = {"job": "cut", "start_s": start_s, "end_s": end_s}
        return bytes(_first(self._pool, job, content)[1])


@dataclass(frozen=True)
class RemoteRecording(Recording):
    """A long sound that workers unpack."""

    pool: Pool = field(repr=False)

    def _job(self, name: str, **more: float) -> dict[str, Any]:
        own = {"kind": self.kind, "sample_rate": self.sample_rate, "frames": self.frames}
        return {"job": name, **own, **more}

    def read(self, start_s: float, end_s: float) -> Waveform:
        job = self._job("read", start_s=start_s, end_s=end_s)
        return _waveform(*_first(self.pool, job, self.content))

    def segments(self, length_s: float, step_s: float) -> Iterator[Segment]:
        job = self._job("segments", length_s=length_s, step_s=step_s)
        for answer, payload in _answers(self.pool, job, self.content):
            yield Segment(answer["start_s"], answer["end_s"], _waveform(answer, payload))


def _answers(
    pool: Pool, job: dict[str, Any], content: bytes
) -> Iterator[tuple[dict[str, Any], bytearray]]:
    try:
        with closing(pool.run(job, content)) as answers:
            for answer, payload in answers:
                if error := answer.get("error"):
                    listed = error["accepted"]
                    accepted = tuple(listed) if isinstance(listed, list) else listed
                    raise MediaError(**{**error, "accepted": accepted})
                yield answer, payload
    except Crashed as error:
        raise MediaError("invalid_media", str(error), None, ()) from error


def _first(pool: Pool, job: dict[str, Any], content: bytes) -> tuple[dict[str, Any], bytearray]:
    (found,) = _answers(pool, job, content)
    return found


def _waveform(answer: dict[str, Any], payload: bytearray) -> Waveform:
    return Waveform(np.frombuffer(payload, "<f4"), answer["sample_rate"])
