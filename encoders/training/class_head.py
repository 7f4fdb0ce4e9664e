"""A projection that reads ImageNet's classes, as the start of training.

The trunk was trained with a classifier of 1,000 classes, and each class has a name. Hidden unit j
of the projection is the classifier of a group of classes with like names, less a threshold, so
that it is silent unless the trunk is confident; its outgoing weights are the text vector of the
group's names. That is ConSE (Norouzi et al. 2013) with a threshold in place of the softmax, in the
shape of a two-layer projection, which training then adapts. Since the collection has hardly any
photographs, training would forget what it began with: `Classes` imagines features of photographs
for it to go on reading. Knows nothing about the collection.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import encoders.torchvision_import  # noqa: F401 - before open_clip

from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES  # isort: skip

from encoders.base import Vectors, normalize
from encoders.training.contrastive import TextVectors
from encoders.training.export_pretrained import image_checkpoint

HIDDEN = 768
THRESHOLD = 2.0  # logits below it do not count: most of the thousand
SHARPNESS = 1.5  # of the classes' probabilities
LOGIT = (8.0, 18.0)  # of the class that an imagined photograph shows
SCALE = 0.3  # keeps the projection's output near the size that a random one has


@dataclass(frozen=True)
class Classes:
    """ImageNet's classifier: `weight` (1000, 1280) and `bias` (1000,) of the trunk's features, and
    the text vectors of the classes' `names` (1000, 384).
    """

    weight: torch.Tensor
    bias: torch.Tensor
    names: torch.Tensor

    @classmethod
    def load(cls, texts: TextVectors, cache: Path) -> Classes:
        *_, weight, bias = image_checkpoint(cache).values()
        names = torch.from_numpy(texts.of(IMAGENET_CLASSNAMES))
        return cls(weight.float(), bias.float(), names)

    def to(self, device: str) -> Classes:
        """The same on another device."""
        return Classes(self.weight.to(device), self.bias.to(device), self.names.to(device))

    def imagined(self, features: torch.Tensor) -> torch.Tensor:
        """Features (B, 1280) as photographs would have them, made from those of other pictures.

        Each is scaled down at random and moved along the classifier of a random class, just until
        the logit of that class is as large as photographs have it.
        """
        device, count = features.device, len(features)
        chosen = self.weight[torch.randint(len(self.weight), (count,), device=device)]
        faded = features * torch.rand(count, 1, device=device)
        lacking = LOGIT[0] + (LOGIT[1] - LOGIT[0]) * torch.rand(count, 1, device=device)
        lacking = lacking - (faded * chosen).sum(dim=1, keepdim=True)
        moved = faded + lacking.clamp(min=0) / (chosen**2).sum(dim=1, keepdim=True) * chosen
        return moved.relu()

    def likely(self, features: torch.Tensor) -> torch.Tensor:
        """(B, 1000), rows sum to 1: which classes the features show."""
        return torch.softmax(SHARPNESS * (features @ self.weight.T + self.bias), dim=1)


def class_head(classes: Classes) -> dict[str, torch.Tensor]:
    """Tensors named as open_clip names the projection's: head.mlp.fc1.weight (768, 1280), ..."""
    weight, bias, names = classes.weight, classes.bias, classes.names.numpy()
    group = torch.from_numpy(grouped(names, HIDDEN))
    # The sum of a group's classifiers, not their mean: one confident class is enough.
    membership = torch.nn.functional.one_hot(group, HIDDEN).float().T  # (768, 1000)
    counts = membership.sum(dim=1, keepdim=True)
    meaning = normalize((membership @ torch.from_numpy(names)).numpy())
    return {
        "head.mlp.fc1.weight": membership @ weight / counts.sqrt() * SCALE,
        "head.mlp.fc1.bias": ((membership @ bias[:, None]) / counts.sqrt() - THRESHOLD)[:, 0]
        * SCALE,
        "head.mlp.fc2.weight": torch.from_numpy(meaning).T.contiguous() * SCALE,
    }


def grouped(vectors: Vectors, count: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Group (N,), 0 to count - 1, of vectors (N, D): nearest pairs merge until few enough."""
    group = np.arange(len(vectors))
    cosines = vectors @ vectors.T
    first, second = np.triu_indices(len(vectors), 1)
    order = np.argsort(-cosines[first, second], kind="stable")
    left = len(vectors)
    for i, j in zip(first[order], second[order], strict=True):
        if left == count:
            break
        if group[i] != group[j]:
            group[group == group[j]] = group[i]
            left -= 1
    return np.unique(group, return_inverse=True)[1].astype(np.int64)
