"""How like its target a made thing is: by the encoder, by other judges, and in itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from encoders.base import Modality, Vectors
from encoders.log_mel import resample
from memory_service.services.evaluation import metrics
from memory_service.services.evaluation.cases import Rows
from memory_service.services.evaluation.judges import Judge, judges
from memory_service.services.evaluation.lab import Lab
from memory_service.services.evaluation.metrics import Floats
from memory_service.services.evaluation.wording import Cider

SECOND = 16_000  # samples
HEADLINE = {"image": "recall_at_10", "audio": "recall_at_10", "text": "cosine"}
PAIRED = {
    "image": ("ssim", "psnr_db"),
    "audio": ("log_mel", "mse", "snr_db"),
    "text": ("cider",),
}
# What a curve against noise shows of what was made, and whether more of it is better.
QUALITY = {"image": ("ssim", True), "audio": ("log_mel", False), "text": ("cosine", True)}


class Scorer:
    """Of one modality. Targets are cases; the candidates of a ranking are all of them."""

    def __init__(self, lab: Lab, modality: Modality) -> None:
        self._lab = lab
        self._modality = modality
        cases = lab.cases
        self.pool = cases.having(modality)
        media = cases.media(modality, self.pool)
        self.judges = judges(modality)
        self._judged = {judge.key: judge.describe(media) for judge in self.judges}
        self._cider = Cider(media) if modality == "text" else None
        self._place = {int(place): row for row, place in enumerate(self.pool)}
        named = cases.one_per_group(cases.having("text"))
        self._names = cases.vectors("text", named) if len(named) else None
        self._row_of_group = {int(cases.groups[place]): row for row, place in enumerate(named)}

    @property
    def candidates(self) -> int:
        """Texts of different meaning that a made thing is compared with."""
        return 0 if self._names is None else len(self._names)

    def __call__(self, made: Sequence[Any], targets: Rows) -> tuple[Mapping[str, Floats], Vectors]:
        """Each measure (N,) of N made things, and their vectors (N, D)."""
        vectors = self._lab.encode(self._modality, made)
        own = self._lab.cases.vectors(self._modality, targets)
        found: dict[str, Floats] = {"cosine": np.sum(vectors * own, axis=1, dtype=np.float64)}
        found |= self._named(vectors, targets)
        for judge in self.judges:
            found |= self._by(judge, made, targets)
        rows = [self._beside(*pair) for pair in zip(made, self._originals(targets), strict=True)]
        for name in PAIRED[self._modality]:
            found[name] = np.array([row[name] for row in rows])
        return found, vectors

    def _beside(self, made: Any, target: Any) -> dict[str, float]:
        if self._cider is not None:
            return {"cider": self._cider(made, target)}
        return paired(self._modality, made, target)

    def _originals(self, targets: Rows) -> list[Any]:
        return self._lab.cases.media(self._modality, targets)

    def _named(self, vectors: Vectors, targets: Rows) -> dict[str, Floats]:
        """Does it find the text of its target among all texts?"""
        groups = self._lab.cases.groups[targets]
        if self._names is None or not all(int(group) in self._row_of_group for group in groups):
            return {}
        own = np.array([self._row_of_group[int(group)] for group in groups])
        place = metrics.ranks(vectors @ self._names.T, own)
        return {f"recall_at_{k}": (place < k).astype(np.float64) for k in (1, 10)}

    def _by(self, judge: Judge, made: Sequence[Any], targets: Rows) -> dict[str, Floats]:
        """Does another judge find its target among all items of the modality?"""
        scores = judge.describe(made) @ self._judged[judge.key].T
        own = np.array([self._place[int(place)] for place in targets])
        groups = self._lab.cases.groups
        for row, place in enumerate(targets):  # its group is no rival
            same = groups[self.pool] == groups[place]
            same[own[row]] = False
            scores[row, same] = -2.0
        place = metrics.ranks(scores, own)
        return {
            f"{judge.key}_cosine": scores[np.arange(len(own)), own].astype(np.float64),
            f"{judge.key}_recall_at_10": (place < 10).astype(np.float64),
        }


def scorers(lab: Lab) -> Mapping[Modality, Scorer]:
    """Of each modality that can be made; describing the candidates takes a while."""
    return {task.output: Scorer(lab, task.output) for task in lab.tasks()}


def paired(modality: Modality, made: Any, target: Any) -> dict[str, float]:
    """Measures of a made thing beside its target, which need no model."""
    if modality == "image":
        side = made.width
        pair = metrics.pixels(made, side), metrics.pixels(target, side)
        return {"ssim": metrics.ssim(*pair), "psnr_db": metrics.psnr_db(*pair)}
    if modality == "audio":
        length = max(SECOND, resample(made).size)
        heard = metrics.audible(made, length), metrics.audible(target, length)
        return {
            "log_mel": metrics.log_mel_distance(*heard),
            "mse": metrics.mse(*heard),
            "snr_db": metrics.snr_db(*heard),
        }
    return {}
