"""The towers of `bundled` as OpenVINO computes them: without torch, and several times faster.

A graph (`bundled.visual.onnx`) holds no weights: it names places within the tower's safetensors
file, where OpenVINO reads them. Graphs lie beside the folder of weights, since ONNX reads only
files below the graph's own folder, and so that they do not count for the space's fingerprint.
Knows nothing about the service.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from encoders.base import Encoder, Space, Vectors, Waveform
from encoders.errors import ModelUnavailable
from encoders.graphs import FIRST_CALL, Graph, layout
from encoders.length_batches import batches_by_length
from encoders.picture import Preparation
from encoders.sound_windows import sound_vector
from encoders.word_pieces import WordPieces

# OpenVINO keeps the working memory of its largest pass, some 24 MB per picture, and is no faster
# with more pictures or word pieces at once than these.
PICTURES = 2
TEXTS = 32
TOKENS = 512  # word pieces, padding included
# A length other than the last call's costs a millisecond, one never seen before about six: a few
# more masked places cost less, as long as there are few texts.
LENGTH_STEP = 8
FEW_LENGTH_STEP = 16
FEW_TEXTS = 4
# In bfloat16, where there is hardware for it. Cosines with fp32 stay above .9999 for text; pictures
# fall below .998, and sounds gain little.
HALVED = frozenset({"text"})

LEAST_LENGTH = 64  # enough for every tower; what is computed at the start only warms it up


class Tower(Graph):
    """One compiled graph; safe to call from several threads."""

    def __init__(self, folder: Path, name: str, threads: int = 1) -> None:
        """`threads`: numeric threads of each call.

        Raises ModelUnavailable when the graph is missing or was made for other tensors.
        """
        path = graph_path(folder, name)
        layouts = folder.parent / f"{folder.name}.layouts.json"
        known = json.loads(layouts.read_text(encoding="utf-8")) if layouts.is_file() else {}
        if not path.is_file() or known.get(name) != layout(folder / f"{name}.safetensors"):
            raise ModelUnavailable(
                f"{path.name} does not belong to {name}.safetensors: run "
                "python -m encoders.training.export_onnx, or take the runtime torch"
            )
        super().__init__(path, threads, halved=name in HALVED)
        with FIRST_CALL:
            self(self._smallest())

    def _smallest(self) -> npt.NDArray[Any]:
        """An input of the lowest lengths that the graph takes, of its type."""
        [port] = self._compiled.inputs
        shape = [
            LEAST_LENGTH if each.is_dynamic else each.get_length() for each in port.partial_shape
        ]
        return np.ones([1, *shape[1:]], port.element_type.to_dtype())


def graph_path(folder: Path, name: str) -> Path:
    """Where the graph of a tower in `folder` lies."""
    return folder.parent / f"{folder.name}.{name}.onnx"


class OpenVinoImageEncoder(Encoder):
    modality = "image"

    def __init__(self, folder: Path, space: Space, threads: int = 1) -> None:
        self.space = space
        self._tower = Tower(folder, "visual", threads)
        self._preparation = Preparation.of(folder)

    def _encode(self, batch: Sequence[Any]) -> Vectors:
        rows = []
        for start in range(0, len(batch), PICTURES):
            pictures = batch[start : start + PICTURES]
            rows.append(self._tower(np.stack([self._preparation.pixels(p) for p in pictures])))
        return np.concatenate(rows)


class OpenVinoTextEncoder(Encoder):
    modality = "text"

    def __init__(self, folder: Path, space: Space, threads: int = 1) -> None:
        self.space = space
        self._tower = Tower(folder, "text", threads)
        self._word_pieces = WordPieces(folder)

    def _encode(self, batch: Sequence[Any]) -> Vectors:
        vectors = np.empty((len(batch), self.space.dimension), np.float32)
        for chosen in batches_by_length(batch, TEXTS):
            step = LENGTH_STEP if len(chosen) > FEW_TEXTS else FEW_LENGTH_STEP
            ids = self._word_pieces([batch[i] for i in chosen], step)
            rows = max(1, TOKENS // ids.shape[1])
            for first in range(0, len(ids), rows):
                vectors[chosen[first : first + rows]] = self._tower(ids[first : first + rows])
        return vectors


class OpenVinoAudioEncoder(Encoder):
    modality = "audio"

    def __init__(self, folder: Path, space: Space, threads: int = 1) -> None:
        self.space = space
        self._tower = Tower(folder, "audio", threads)

    def _encode(self, batch: Sequence[Waveform]) -> Vectors:
        return np.stack([sound_vector(sound, self._tower) for sound in batch])
