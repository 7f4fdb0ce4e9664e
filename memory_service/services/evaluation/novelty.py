"""How new a made thing is beside what it was made from: by what it means, and by what it looks,
sounds or reads like.

Either alone is misled: cosines fall with blur and noise, and a memory drawn with noise on it is no
new thing; pixels, mels and words differ where two things say the same. So a thing is novel only
where neither says that it is a copy. Knows nothing about rungs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from encoders.base import Modality, Vectors
from memory_service.services import likeness
from memory_service.services.evaluation import metrics
from memory_service.services.evaluation.cases import Rows
from memory_service.services.evaluation.lab import Lab
from memory_service.services.evaluation.metrics import Floats
from memory_service.services.evaluation.wording import same

SAME = 0.95  # cosine from which two count as the same
# Media novelty below which a thing counts as a copy. Of pictures and sounds what is asked of
# recall: what is near enough to be a memory that came back is too near to be a new thing.
COPY_BELOW: Mapping[Modality, float] = {
    "image": 0.20,  # 1 - SSIM
    "audio": 1.0,  # log-mel distance; 1.3 times that of the autoencoder
    "text": 0.25,  # share of the words that are no quote
}


class Novelty:
    """Of one modality; what the memories look like is computed once."""

    def __init__(self, lab: Lab, output: Modality) -> None:
        self._lab, self._output = lab, output
        self._as_shown: dict[int, Vectors] = {}  # by place: see `_shown`

    def measures(
        self, media: Sequence[Any], vectors: Vectors, memories: Sequence[Rows]
    ) -> Mapping[str, Floats]:
        """Each (N,), of N made things, their vectors (N, D), and the places of the cases that each
        was made from; none where one was made from nothing.

        `to_memory`: cosine to the nearest of the memories; `to_shown`: to the nearest of these as a
        generator shows them, at its size and through its autoencoder; `novelty`: 1 less the larger
        of both, so that a small or blurred copy is a copy. `media_novelty`: the distance to the
        most alike of the memories (`likeness`), pictures at the size of the made one. `novel`: 1
        where neither of the two is that of a copy. Of texts, `quoted`: whether it has the words of
        one of them.
        """
        if not all(len(memory) for memory in memories):
            return {}
        cases, output = self._lab.cases, self._output
        pairs = list(zip(memories, vectors, strict=True))
        near = np.array([(cases.vectors(output, m) @ v).max() for m, v in pairs], np.float64)
        known = [cases.media(output, memory) for memory in memories]
        found: dict[str, Floats] = {"to_memory": near}
        if output == "text":
            quoted = [
                any(same(text, each) for each in texts)
                for text, texts in zip(media, known, strict=True)
            ]
            found["quoted"] = np.array(quoted, np.float64)
        else:
            shown = [max((self._shown(p) @ v).max() for p in m.tolist()) for m, v in pairs]
            found["to_shown"] = np.array(shown, np.float64)
            near = np.maximum(near, found["to_shown"])
        found["novelty"] = np.maximum(1 - near, 0)
        apart = [self._apart(*pair) for pair in zip(media, known, strict=True)]
        found["media_novelty"] = np.array(apart, np.float64)
        found["novel"] = no_copy(output, found["novelty"], found["media_novelty"])
        return found

    def _apart(self, made: Any, known: Sequence[Any]) -> float:
        shown = [shrunk(self._output, each, made) for each in known]
        distances = [likeness.distance(self._output, made, each) for each in shown]
        return max(0.0, min(each for each in distances if each is not None))

    def _shown(self, place: int) -> Vectors:
        """(1 or 2, D): a memory at the size in which things are made, and recoded."""
        if place not in self._as_shown:
            generator = self._lab.generator(self._output)
            assert generator is not None
            media = self._lab.cases.media(self._output, [place])
            recoded = generator.recode(media)
            shown = [
                shrunk(self._output, media[0], recoded),
                *([] if recoded is None else [recoded]),
            ]
            self._as_shown[place] = self._lab.encode(self._output, shown)
        return self._as_shown[place]


def no_copy(modality: Modality, novelty: Floats, media_novelty: Floats) -> Floats:
    """(N,): 1 where neither the cosine nor the media say copy, else 0."""
    new = ~copied(novelty) & ~copied_as_media(modality, media_novelty)
    return new.astype(np.float64)


def copied(novelty: Floats) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """(N,): a copy by the cosine."""
    return np.asarray(novelty < 1 - SAME)


def copied_as_media(
    modality: Modality, media_novelty: Floats
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """(N,): a copy as it is seen, heard or read."""
    return np.asarray(media_novelty < COPY_BELOW[modality])


def shrunk(modality: Modality, original: Any, made: Any) -> Any:
    """A real picture at the size of a made one; anything else as it is."""
    if modality != "image" or made is None:
        return original
    from PIL import Image

    return Image.fromarray(metrics.pixels(original, made.width))
