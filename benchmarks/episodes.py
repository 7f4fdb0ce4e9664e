"""Episodes of one text with a given vector, as the store takes them: no encoder has to run."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from memory_service.ids import new_id
from memory_service.records import Episode, Memory
from memory_service.storage.intake import NewEpisode, NewMemory
from memory_service.storage.spaces import Embedding


def episode(
    text: str,
    vector: npt.NDArray[np.float32],
    space: tuple[str, str],
    *,
    namespace: str,
    number: int,
    created_at: float,
) -> NewEpisode:
    """`vector` (D,) of unit length, `space` its id and fingerprint; `number` becomes metadata."""
    content, memory_id, episode_id = text.encode(), new_id(), new_id()
    memory = Memory(
        id=memory_id,
        sequence=0,
        namespace=namespace,
        episode_id=episode_id,
        modality="text",
        media_type="text/plain",
        blob="",
        size_bytes=len(content),
        metadata={"number": number},
        created_at=created_at,
        text=text,
    )
    record = Episode(episode_id, namespace, created_at, (memory,))
    return NewEpisode(record, [NewMemory(content, (Embedding(space, vector),))])
