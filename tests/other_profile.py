"""Profile `other`: the fake encoders' vectors in a space of its own, for tests that re-embed.

Cosines are the same as in `fake`, the dimension is not. As a script it is the command line with
that profile, each item taking OTHER_PROFILE_S seconds to encode.
"""

import os
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from encoders import registry
from encoders.base import Encoder, Modality, Space
from encoders.fake import DIMENSION, FakeAudioEncoder, FakeImageEncoder, FakeTextEncoder

SPACE = Space("other", DIMENSION + 16, "other-1")
ENCODERS: dict[Modality, type[Encoder]] = {
    "image": FakeImageEncoder,
    "text": FakeTextEncoder,
    "audio": FakeAudioEncoder,
}
ORDER = np.random.default_rng(7).permutation(SPACE.dimension)

encoded: Counter[str] = Counter()  # by modality, since the last clear
broken: set[str] = set()  # texts that the encoder fails at


class OtherEncoder(Encoder):
    def __init__(self, modality: Modality) -> None:
        self.modality = modality  # type: ignore[misc]
        self.space = SPACE
        self._fake = ENCODERS[modality]()

    def _encode(self, batch: Sequence[Any]) -> np.ndarray:
        if self.modality == "text" and broken & set(batch):
            raise RuntimeError("cannot read this")
        encoded[self.modality] += len(batch)
        time.sleep(len(batch) * float(os.environ.get("OTHER_PROFILE_S", "0")))
        padded = np.pad(self._fake.encode(batch), ((0, 0), (0, SPACE.dimension - DIMENSION)))
        return padded[:, ORDER]


def loader(*modalities: Modality) -> Any:
    def load() -> registry.Profile:
        return registry.Profile("other", {each: OtherEncoder(each) for each in modalities})

    return load, frozenset()


def loaders() -> dict[str, Any]:
    """Those of the registry, and this one."""
    return {**registry._LOADERS, "other": loader(*ENCODERS)}


if __name__ == "__main__":
    registry._LOADERS = loaders()
    from memory_service.cli import app

    app(prog_name="memory-service")
