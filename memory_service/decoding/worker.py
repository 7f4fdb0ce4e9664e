"""The process that decodes pictures and sounds: `python -m memory_service.decoding.worker BYTES`.

Reads one job after the other from stdin and answers on stdout, until stdin ends. Has no models, no
network and no files; its memory is bounded by the argument. Knows nothing of the service.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from typing import Any

from encoders import media, sounds
from encoders.base import Waveform
from encoders.errors import MediaError
from encoders.media import Limits
from memory_service.decoding import frames

Answer = tuple[dict[str, Any], bytes]


def main(max_bytes: int) -> None:
    _confine(max_bytes)
    out = os.dup(1)
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    while True:
        try:
            head, content = frames.receive(0)
        except frames.Ended:
            return
        try:
            for answer, payload in _work(head, bytes(content)):
                frames.send(out, {**answer, "more": True}, payload)
            frames.send(out, {"more": False})
        except MediaError as error:
            frames.send(out, {"error": vars(error)})
        except MemoryError:
            told = {"code": "too_large", "message": "it does not fit into the memory of a decoder"}
            frames.send(out, {"error": {**told, "found": None, "accepted": []}})
        except Exception as error:  # libsndfile, on bytes that were accepted once
            told = {"code": "invalid_media", "message": f"it cannot be decoded: {error}"}
            frames.send(out, {"error": {**told, "found": None, "accepted": []}})
        del head, content


def _confine(max_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    if sys.platform == "linux":  # elsewhere the address space is not bounded
        resource.setrlimit(resource.RLIMIT_AS, (max_bytes, max_bytes))


def _work(head: dict[str, Any], content: bytes) -> Iterator[Answer]:
    if head["job"] == "decode":
        decoded = media.decode(head["modality"], content, Limits(**head["limits"]))
        answer, payload = _packed(decoded.media)
        yield {**answer, "media_type": decoded.media_type}, payload
    elif head["job"] == "cut":
        yield {}, sounds.cut(content, head["start_s"], head["end_s"])
    else:
        recording = sounds.Recording(content, head["kind"], head["sample_rate"], head["frames"])
        if head["job"] == "read":
            yield _packed(recording.read(head["start_s"], head["end_s"]))
        else:
            for each in recording.segments(head["length_s"], head["step_s"]):
                answer, payload = _packed(each.sound)
                yield {**answer, "start_s": each.start_s, "end_s": each.end_s}, payload


def _packed(decoded: Any) -> Answer:
    if isinstance(decoded, Waveform):
        samples = decoded.samples.astype("<f4", copy=False).tobytes()
        return {"is": "sound", "sample_rate": decoded.sample_rate}, samples
    if isinstance(decoded, sounds.Recording):
        return {
            "is": "recording",
            "sample_rate": decoded.sample_rate,
            "frames": decoded.frames,
        }, b""
    return {"is": "picture", "size": decoded.size}, decoded.tobytes()  # RGB


if __name__ == "__main__":
    main(int(sys.argv[1]))
