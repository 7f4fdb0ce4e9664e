"""What a made picture is compared by in training: pixels, the picture tower's view, a critic.

The recipe of VQGAN (Esser et al. 2021), with the bundled image tower in the place of VGG. Knows
nothing about generators.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from encoders.bundled import FOLDER, text_and_image
from encoders.picture import Preparation
from encoders.training.precision import mixed_precision

CRITIC_RATE = 4e-4
HEARD_OVER = 200  # steps over which the critic's voice grows to its full share


def pixel_loss(made: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """L1 and squared error of pixels, L1 of their differences.

    The squares bring colours early, the differences sharpen edges.
    """
    error = made - target
    loss = error.abs().mean() + 2 * error.square().mean()
    for axis in (2, 3):
        loss = loss + (made.diff(dim=axis) - target.diff(dim=axis)).abs().mean()
    return loss


@dataclass(frozen=True)
class Seen:
    """What the tower makes of B pictures."""

    maps: list[torch.Tensor]  # (B, C, H, W) after each of its five stages
    vectors: torch.Tensor  # (B, D), unit length


class Perception(nn.Module):
    """The bundled image tower, frozen, as something to compare pictures by."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, folder: Path = FOLDER) -> None:
        super().__init__()
        prepared = Preparation.of(folder)
        self.tower: Any = text_and_image(folder)[1].model.visual
        # Up to twice as fast.
        self.tower.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for name in ("mean", "std"):
            values = torch.tensor(getattr(prepared, name))[:, None, None]
            self.register_buffer(name, values)
        self.requires_grad_(False).eval()

    def shown(self, pictures: torch.Tensor, side_px: int) -> torch.Tensor:
        """(B, 3, P, P) of square pictures (B, 3, S, S) in [-1, 1], prepared as in serving."""
        size = (side_px, side_px)
        # With antialiasing, torch's bicubic kernel is Pillow's; without, it is another.
        resized = F.interpolate(pictures.clamp(-1, 1), size, mode="bicubic", antialias=True)
        levels: torch.Tensor = (resized.clamp(-1, 1) + 1) / 2
        return ((levels - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    def forward(self, pictures: torch.Tensor, side_px: int) -> Seen:
        """`side_px`: of what the tower gets; in serving 224, fewer cost less."""
        with mixed_precision(pictures.device.type):
            features, maps = self.tower.trunk.forward_intermediates(self.shown(pictures, side_px))
            vectors = self.tower.head(self.tower.trunk.forward_head(features))
        return Seen([each.float() for each in maps], F.normalize(vectors.float(), dim=1))


def map_distance(made: Seen, target: Seen) -> torch.Tensor:
    """Mean over stages and places of the squared distance of unit-length channel vectors.

    LPIPS (Zhang et al. 2018) without learned weights: 0 for equal pictures, at most 4.
    """
    distances = [
        (F.normalize(a, dim=1) - F.normalize(b, dim=1)).square().sum(dim=1).mean()
        for a, b in zip(made.maps, target.maps, strict=True)
    ]
    return torch.stack(distances).mean()


def vector_distance(made: Seen, target: Seen) -> torch.Tensor:
    """Mean 1 - cosine of the vectors that a memory is searched by."""
    return (1 - (made.vectors * target.vectors).sum(dim=1)).mean()


def patch_critic(width: int = 32) -> nn.Sequential:
    """PatchGAN (Isola et al. 2017): (B, 3, S, S) -> (B, 1, S/4, S/4), high where patches look real.

    Each value sees 26 px, so it is about edges and textures. Spectral norm (Miyato et al. 2018)
    bounds its slope.
    """
    layers: list[nn.Module] = []
    for inputs, outputs, kernel, stride in (
        (3, width, 4, 2),
        (width, 2 * width, 4, 2),
        (2 * width, 2 * width, 3, 1),
        (2 * width, 1, 3, 1),
    ):
        layers += [
            spectral_norm(nn.Conv2d(inputs, outputs, kernel, stride, padding=1)),
            nn.LeakyReLU(0.2),
        ]
    return nn.Sequential(*layers[:-1])


def hinge_loss(real: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
    """The critic's: real above 1, made below -1 (Lim & Ye 2017)."""
    return (F.relu(1 - real).mean() + F.relu(1 + made).mean()) / 2


@dataclass(frozen=True)
class Shares:
    """How much each judgement weighs beside the pixels' loss."""

    maps: float = 1.0
    vectors: float = 0.2
    critic: float = 0.1  # length of its gradient beside that of all others together
    critic_from: int = 600  # step at which it is first heard; it learns from the start
    tower_from: int = 0  # step at which the tower's stages and vector are first heard

    def of_critic(self, step: int) -> float:
        return self.critic * min(1.0, max(0.0, (step - self.critic_from) / HEARD_OVER))


def length_at(weights: torch.Tensor, made: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    """Length of the gradient by `weights` of a loss whose gradient by `made` is `slope`.

    Beside slopes of pixels, it counts what places have in common and not what is noise among them.
    """
    [found] = torch.autograd.grad(made, weights, slope.to(made.dtype), retain_graph=True)
    length: torch.Tensor = found.norm()
    return length


@dataclass
class PictureLoss:
    """All judgements together; owns the critic and trains it."""

    shares: Shares
    perception: Perception | None
    critic: nn.Module
    sides_px: Sequence[int] = (112, 128, 144)  # one of them is drawn at every step
    count: int | None = None  # pictures of a batch that the tower looks at; None: all
    optimizer: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.Adam(self.critic.parameters(), CRITIC_RATE, betas=(0.5, 0.99))

    def slope(
        self, made: torch.Tensor, target: torch.Tensor, step: int, last: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """The loss's gradient by the made pictures (B, 3, S, S), and each judgement's value.

        The critic's part is scaled to a share of the others' length, both as they arrive at `last`,
        the weights of the layer that made the pictures (VQGAN's adaptive weight).
        """
        leaf = made.detach().float().requires_grad_()
        terms = {"pixels": pixel_loss(leaf, target)}
        weights = {"pixels": 1.0, "maps": self.shares.maps, "vectors": self.shares.vectors}
        if self.perception is not None and step >= self.shares.tower_from:
            side_px = self.sides_px[int(torch.randint(len(self.sides_px), ()))]
            with torch.no_grad():
                real = self.perception(target[: self.count], side_px)
            seen = self.perception(leaf[: self.count], side_px)
            terms |= {"maps": map_distance(seen, real), "vectors": vector_distance(seen, real)}
        loss = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        [slope] = torch.autograd.grad(loss, leaf)
        if share := self.shares.of_critic(step):
            judged = self.critic(leaf).mean()
            [pull] = torch.autograd.grad(-judged, leaf)
            others, own = (length_at(last, made, each) for each in (slope, pull))
            slope = slope + share * others / own.clamp_min(1e-12) * pull
            terms["critic"] = judged
        return slope, {name: float(term.detach()) for name, term in terms.items()}

    def teach_critic(self, made: torch.Tensor, target: torch.Tensor) -> float:
        """One step of the critic's own; its loss."""
        loss = hinge_loss(self.critic(target), self.critic(made.detach().float()))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return float(loss.detach())
