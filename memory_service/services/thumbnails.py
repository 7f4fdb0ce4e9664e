"""Small pictures of memories: a picture made smaller, a sound as its outline. Knows no HTTP."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from encoders.sounds import Recording
from memory_service.errors import NoThumbnail
from memory_service.records import Memory
from memory_service.services.active import ActiveModels, Service
from memory_service.services.memory import MemoryStore
from memory_service.storage.store import Store

SIDE = 256  # px, at most
SOUND_HEIGHT = 96
QUALITY = 85
PAPER, INK = 244, 76  # shades of grey
OF = ("image", "audio")


class ThumbnailService(Service):
    """Safe for use from several threads."""

    def __init__(self, store: Store, active: ActiveModels, memory: MemoryStore) -> None:
        self._store = store
        self._active = active
        self._memory = memory

    def get(self, memory_id: str) -> tuple[Memory, bytes]:
        """The memory and a JPEG of at most 256 x 256 px, made at the first call and kept.

        Raises NotFound; NoThumbnail for a text or a series; StorageFailure when damaged.
        """
        memory = self._memory.get(memory_id)
        if memory.modality not in OF:
            raise NoThumbnail(
                f"memory {memory_id} is of modality {memory.modality}, which has no thumbnail",
                found=memory.modality,
                accepted=list(OF),
            )
        kept = self._store.removal.thumbnails.read(memory.blob)
        if kept is not None:
            return memory, kept
        _, content = self._memory.content(memory_id)
        media = self._models.decode_stored(memory.modality, content, memory_id=memory_id).media
        made = _jpeg(outline(media) if memory.modality == "audio" else media)
        with self._store.catalog.write_lock:
            self._memory.get(memory_id)  # what is forgotten meanwhile must not leave one behind
            self._store.removal.thumbnails.write(memory.blob, made)
        return memory, made


def _jpeg(picture: Image.Image) -> bytes:
    small = picture.convert("RGB")
    small.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def outline(sound: Any) -> Image.Image:
    """A grey picture (SIDE, SOUND_HEIGHT): how loud a sound is from its beginning to its end."""
    peaks = np.array([np.abs(part).max(initial=0.0) for part in _parts(sound)])
    columns = np.interp(np.linspace(0, len(peaks) - 1, SIDE), np.arange(len(peaks)), peaks)
    half = np.abs(np.arange(SOUND_HEIGHT) - (SOUND_HEIGHT - 1) / 2)[:, None]  # (H, 1)
    inside = half <= np.maximum(columns * SOUND_HEIGHT / 2, 0.5)  # (H, W)
    return Image.fromarray(np.where(inside, INK, PAPER).astype(np.uint8))


def _parts(sound: Any) -> Iterator[npt.NDArray[np.float32]]:
    """About SIDE parts of equal length."""
    if isinstance(sound, Recording):
        length_s = sound.duration_s / SIDE
        for segment in sound.segments(length_s, length_s):
            yield segment.sound.samples
    else:
        yield from np.array_split(sound.samples, min(SIDE, len(sound.samples)))
