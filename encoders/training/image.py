"""Train the projection of the image tower: frozen trunk features -> the text space.

Contrastive, with several positives where captions agree. Runs for minutes on one core, since the
features are cached. The head starts as a reading of ImageNet's own classes (see `class_head`), so
that photographs, of which the collection has few, keep a meaning.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from encoders.base import normalize
from encoders.bundled import DIMENSION, FOLDER, text_and_image
from encoders.training import contrastive
from encoders.training.class_head import class_head
from encoders.training.data import Item, load_collection
from encoders.training.export_pretrained import halved, random_head
from encoders.training.features import cached
from encoders.training.runs import Run


@dataclass(frozen=True)
class Settings:
    collection: Path
    run: Path
    cache: Path
    views: int = 1  # augmented views per train picture, besides the plain one
    epochs: int = 10
    steps: int = 60  # per epoch
    batch: int = 768
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    dropout: float = 0.3  # of the trunk's features
    classes: bool = True  # start from ImageNet's classes instead of at random
    seed: int = 0


Features = list[dict[str, npt.NDArray[np.float32]]]  # per view: item id -> (1280,)


class Projection(nn.Module):
    """Trunk features (B, 1280) -> unit vectors (B, 384); `mlp` is open_clip's own module."""

    def __init__(self, weights: dict[str, torch.Tensor], dropout: float) -> None:
        from timm.layers import Mlp

        super().__init__()
        hidden, features = weights["head.mlp.fc1.weight"].shape
        self.mlp = Mlp(features, hidden, DIMENSION, bias=(True, False))
        self.load_state_dict({k.removeprefix("head."): v for k, v in weights.items()}, strict=False)
        self.dropout = nn.Dropout(dropout)
        self.logit_scale = nn.Parameter(torch.tensor(np.log(1 / 0.07), dtype=torch.float32))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.mlp(self.dropout(features)), dim=-1)


def train(settings: Settings) -> None:
    torch.manual_seed(settings.seed)
    items = [i for i in load_collection(settings.collection) if i.modality == "image"]
    text, image = text_and_image()
    texts = contrastive.TextVectors(text, settings.cache / "texts.npz")
    cache = settings.cache / "features"
    features = cached(image.model, items, settings.collection, settings.views, cache)
    by_split = {s: [i for i in items if i.split == s] for s in ("train", "validation")}
    texts.of({t for item in by_split["train"] for t in contrastive.texts_of(item)})

    start = class_head(texts, settings.cache) if settings.classes else random_head()
    head = Projection(start, settings.dropout)
    optimizer = torch.optim.AdamW(
        head.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    run = Run(settings.run, settings)
    done = run.resume(head, optimizer)
    if not done:
        run.log(epoch=0, **recalls(head, by_split["validation"], features[0], texts))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=settings.epochs * settings.steps + 1,
        last_epoch=done * settings.steps - 1 if done else -1,
    )  # fmt: skip
    for epoch in range(done + 1, settings.epochs + 1):
        started = time.monotonic()
        rng = random.Random(f"{settings.seed}:{epoch}")
        losses = []
        for _ in range(settings.steps):
            losses.append(step(head, optimizer, by_split["train"], features, texts, settings, rng))
            schedule.step()
        run.save(head, optimizer, epoch)
        figures = recalls(head, by_split["validation"], features[0], texts)
        seconds = round(time.monotonic() - started, 1)
        run.log(epoch=epoch, loss=round(float(np.mean(losses)), 4), seconds=seconds, **figures)
    store(head)


def step(
    head: Projection,
    optimizer: torch.optim.Optimizer,
    items: Sequence[Item],
    features: Features,
    texts: contrastive.TextVectors,
    settings: Settings,
    rng: random.Random,
) -> float:
    """One update on a random batch; its loss."""
    batch = rng.sample(items, min(settings.batch, len(items)))
    views = np.stack([features[rng.randrange(len(features))][item.id] for item in batch])
    drawn = texts.of(contrastive.draw_text(item, rng) for item in batch)
    captions = texts.of(item.caption for item in batch)
    targets = contrastive.multi_positive_targets(torch.from_numpy(captions))
    media = head.train()(torch.from_numpy(views))
    loss = contrastive.contrastive_loss(media, torch.from_numpy(drawn), head.logit_scale, targets)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return float(loss.detach())


def recalls(
    head: Projection,
    items: Sequence[Item],
    plain: dict[str, npt.NDArray[np.float32]],
    texts: contrastive.TextVectors,
) -> dict[str, float]:
    """Recall@10 text -> picture per source and style."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(f"{item.source} {item.style}".strip(), []).append(item)
    found = {}
    for name, members in groups.items():
        with torch.inference_mode():
            rows = head.eval()(torch.from_numpy(np.stack([plain[i.id] for i in members]))).numpy()
        asked = contrastive.one_per_concept(members)
        relevant = contrastive.same_concept(asked, members)
        queries = normalize(texts.of(item.caption for item in asked))
        found[name] = round(contrastive.recall_at_k(queries, rows, relevant, 10), 3)
    return found


def store(head: Projection) -> None:
    """Put the projection into the committed image tower, as fp16."""
    path = FOLDER / "visual.safetensors"
    kept = {k: v for k, v in load_file(path).items() if k.startswith("trunk.")}
    trained = {f"head.mlp.{name}": tensor for name, tensor in head.mlp.state_dict().items()}
    save_file({**kept, **halved(trained)}, path)
    path.chmod(0o644)  # safetensors writes 0600
