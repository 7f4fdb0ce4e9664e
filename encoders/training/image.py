"""Train the image tower: pictures -> the text space.

Contrastive, with several positives where captions agree. Two stages: first the projection, over
frozen features of ImageNet's network, starting as a reading of ImageNet's own classes (see
`class_head`), so that photographs, of which the collection has few, keep a meaning; then the
projection together with the network's last blocks, gently.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from encoders.base import normalize
from encoders.bundled import DIMENSION, FOLDER, text_and_image
from encoders.training import contrastive
from encoders.training.class_head import Classes, class_head
from encoders.training.data import Item, load_collection
from encoders.training.export_pretrained import (
    Tensors,
    halved,
    image_checkpoint,
    random_head,
    trunk_state,
)
from encoders.training.features import Floats, Maps, Tail, cached, features_of
from encoders.training.runs import Run


@dataclass(frozen=True)
class Settings:
    collection: Path
    run: Path
    cache: Path
    views: int = 3  # augmented views per train picture, besides the plain one
    head_views: int = 1  # of these, as many for the projection alone
    epochs: int = 2  # of the last blocks; one epoch sees every train picture once
    batch: int = 256
    learning_rate: float = 3e-4
    weight_decay: float = 0.05
    dropout: float = 0.3  # of the trunk's features
    head_steps: int = 600  # of the projection alone
    head_batch: int = 768
    head_learning_rate: float = 1e-3
    head_weight_decay: float = 0.1
    classes: bool = True  # start from ImageNet's classes instead of at random
    imagined: float = 0.2  # weight of the loss on imagined photographs
    twice: tuple[str, ...] = ()  # sources that are drawn twice as often
    phrases: float = 0.0  # share of the texts that are "a picture of ..."
    seed: int = 0
    device: str = "cpu"


IMAGINED = 256  # photographs per step


class Projection(nn.Module):
    """Trunk features (B, 1280) -> unit vectors (B, 384); `mlp` is open_clip's own module."""

    def __init__(self, weights: Tensors, dropout: float) -> None:
        from timm.layers import Mlp

        super().__init__()
        hidden, features = weights["head.mlp.fc1.weight"].shape
        self.mlp = Mlp(features, hidden, DIMENSION, bias=(True, False))
        self.load_state_dict({k.removeprefix("head."): v for k, v in weights.items()}, strict=False)
        self.dropout = nn.Dropout(dropout)
        self.logit_scale = nn.Parameter(torch.tensor(np.log(1 / 0.07), dtype=torch.float32))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.mlp(self.dropout(features)), dim=-1)


class Trainee(nn.Module):
    """The last blocks and the projection: maps (B, 112, 14, 14) -> unit vectors (B, 384)."""

    def __init__(self, tail: Tail, head: Projection) -> None:
        super().__init__()
        self.tail, self.head = tail, head

    def train(self, mode: bool = True) -> Trainee:
        super().train(mode)
        self.tail.eval()  # the statistics of its batch normalisation stay ImageNet's
        return self


def train(settings: Settings) -> None:
    torch.manual_seed(settings.seed)
    items = [i for i in load_collection(settings.collection) if i.modality == "image"]
    text, image = text_and_image()
    texts = contrastive.TextVectors(text, settings.cache / "texts.npz")
    tower = image.model.visual.requires_grad_(True)
    tower.load_state_dict(trunk_state(image_checkpoint(settings.cache)), strict=False)
    cache = settings.cache / "features"
    views = cached(image.model, items, settings.collection, range(settings.views + 1), cache)
    validation = [item for item in items if item.split == "validation"]
    training = [item for item in items if item.split == "train"]
    texts.of({t for item in training for t in contrastive.texts_of(item)})
    if settings.phrases:
        texts.of({t for item in training for t in contrastive.phrases_of(item)})
    training += [item for item in training if item.source in settings.twice]

    classes = Classes.load(texts, settings.cache).to(settings.device)
    start = class_head(classes) if settings.classes else random_head()
    trainee = Trainee(Tail(tower.get_submodule("trunk")), Projection(start, settings.dropout))
    trainee.to(settings.device)
    groups = [
        {"params": decayed, "weight_decay": decay}
        for decayed, decay in zip(by_dimensions(trainee), (settings.weight_decay, 0.0), strict=True)
    ]
    optimizer = torch.optim.AdamW(groups, settings.learning_rate)
    run = Run(settings.run, settings)
    done = run.resume(trainee, optimizer)
    if done is None:
        loss = train_head(trainee, training, views, texts, classes, settings)
        done = 0
        run.log(epoch=done, loss=loss, **recalls(trainee, validation, views[0], texts))
        run.save(trainee, optimizer, done)
    steps = len(training) // settings.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=settings.epochs * steps + 1,
        last_epoch=done * steps - 1 if done else -1,
    )  # fmt: skip
    for epoch in range(done + 1, settings.epochs + 1):
        started = time.monotonic()
        torch.manual_seed(settings.seed + epoch)  # dropout's, so that a resumed run is the same
        rng = random.Random(f"{settings.seed}:{epoch}")
        order = rng.sample(training, len(training))
        losses = []
        for number in track(range(steps), description=f"epoch {epoch}"):
            batch = order[number * settings.batch : (number + 1) * settings.batch]
            maps = torch.cat([rng.choice(views).of([item]) for item in batch])
            maps = maps.to(settings.device, memory_format=torch.channels_last)  # faster on a CPU
            features = trainee.train().tail(maps)
            extra = settings.imagined * imagined_loss(trainee.head, features.detach(), classes)
            drawn = [contrastive.draw_text(item, rng, settings.phrases) for item in batch]
            losses.append(step(trainee.head, features, optimizer, batch, drawn, texts, extra))
            schedule.step()
        figures = recalls(trainee, validation, views[0], texts)
        seconds = round(time.monotonic() - started, 1)
        run.log(epoch=epoch, loss=round(float(np.mean(losses)), 4), seconds=seconds, **figures)
        run.save(trainee, optimizer, epoch)
    store(tower.cpu().state_dict(), trainee.head.cpu())


def by_dimensions(module: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Matrices and kernels, which decay; scales, offsets and the temperature, which do not."""
    parameters = list(module.parameters())
    return [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]


def train_head(
    trainee: Trainee,
    items: Sequence[Item],
    views: Sequence[Maps],
    texts: contrastive.TextVectors,
    classes: Classes,
    settings: Settings,
) -> float:
    """The projection alone, over frozen features; the mean loss of its last 50 steps."""
    shown_views = views[: settings.head_views + 1]
    features = [features_of(trainee.tail, maps, items) for maps in shown_views]
    head, rng = trainee.head.train(), random.Random(settings.seed)
    rate, decay = settings.head_learning_rate, settings.head_weight_decay
    optimizer = torch.optim.AdamW(head.parameters(), rate, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, settings.head_steps + 1)
    losses = []
    for _ in track(range(settings.head_steps), description="projection"):
        rows = rng.sample(range(len(items)), min(settings.head_batch, len(items)))
        shown = torch.from_numpy(np.stack([rng.choice(features)[row] for row in rows]))
        shown = shown.to(settings.device)
        extra = settings.imagined * imagined_loss(head, shown, classes)
        batch = [items[row] for row in rows]
        drawn = [contrastive.draw_text(item, rng, settings.phrases) for item in batch]
        losses.append(step(head, shown, optimizer, batch, drawn, texts, extra))
        schedule.step()
    return round(float(np.mean(losses[-50:])), 4)


def imagined_loss(head: Projection, features: torch.Tensor, classes: Classes) -> torch.Tensor:
    """Cross entropy of imagined photographs' vectors against the names of ImageNet's classes."""
    photographs = classes.imagined(features[:IMAGINED])
    scale = head.logit_scale.exp().clamp(max=contrastive.MAX_LOGIT_SCALE)
    logits = scale * head(photographs) @ classes.names.T
    return F.cross_entropy(logits, classes.likely(photographs))


def step(
    head: Projection,
    features: torch.Tensor,
    optimizer: torch.optim.Optimizer,
    batch: Sequence[Item],
    drawn: Sequence[str],
    texts: contrastive.TextVectors,
    extra: torch.Tensor,
) -> float:
    """One update by the batch's features (B, 1280), the text drawn for each item and the `extra`
    loss; the batch's own loss.
    """
    vectors, logit_scale = head(features), head.logit_scale
    rows = texts.of(drawn), texts.of(item.caption for item in batch)
    said, meant = (torch.from_numpy(part).to(vectors.device) for part in rows)
    targets = contrastive.multi_positive_targets(meant)
    loss = contrastive.contrastive_loss(vectors, said, logit_scale, targets)
    optimizer.zero_grad()
    (loss + extra).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return float(loss.detach())


def recalls(
    trainee: Trainee, items: Sequence[Item], plain: Maps, texts: contrastive.TextVectors
) -> dict[str, float]:
    """Recall@10 text -> picture per source and style."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(f"{item.source} {item.style}".strip(), []).append(item)
    found = {}
    device = next(trainee.parameters()).device
    for name, members in groups.items():
        features = torch.from_numpy(features_of(trainee.tail, plain, members)).to(device)
        with torch.inference_mode():
            rows: Floats = trainee.head.eval()(features).cpu().numpy()
        asked = contrastive.one_per_concept(members)
        relevant = contrastive.same_concept(asked, members)
        queries = normalize(texts.of(item.caption for item in asked))
        found[name] = round(contrastive.recall_at_k(queries, rows, relevant, 10), 3)
    return found


def store(tower: dict[str, Any], head: Projection) -> None:
    """Write the committed image tower, as fp16."""
    path = FOLDER / "visual.safetensors"
    trunk = {name: tensor for name, tensor in tower.items() if name.startswith("trunk.")}
    trained = {f"head.mlp.{name}": tensor for name, tensor in head.mlp.state_dict().items()}
    save_file(halved({**trunk, **trained}), path)
    path.chmod(0o644)  # safetensors writes 0600
