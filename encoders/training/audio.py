"""Train the sound tower: spectrograms -> the text space.

Each sound is told apart from every text of the train split at once: since the text tower is
frozen, all of them fit in one matrix. Texts that mean the same (cosine > 0.97) share the target. A
picture of the same concept takes the text's place now and then, so that sounds find pictures, too.
"""

from __future__ import annotations

import json
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from safetensors.torch import save
from torch import nn
from torch.nn import functional as F

from encoders.audio import AudioConfig, AudioEncoder, AudioTower
from encoders.base import Vectors
from encoders.bundled import FOLDER, text_and_image
from encoders.log_mel import Floats
from encoders.training import contrastive
from encoders.training.audio_data import (
    augmented,
    draw,
    frames_of_batch,
    is_held_out,
    plain,
    spectrograms,
)
from encoders.training.data import Item, load_collection
from encoders.training.export_pretrained import halved
from encoders.training.precision import mixed_precision
from encoders.training.runs import Run


@dataclass(frozen=True)
class Settings:
    collection: Path
    run: Path
    cache: Path
    epochs: int = 20
    steps: int = 150  # per epoch
    batch: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    dropout: float = 0.2
    picture_share: float = 0.2  # of the loss that is against pictures of the same concept
    phrases: float = 0.0  # share of the texts that are "the sound of ..."; never of a spoken word
    from_stored: bool = False  # start from the stored tower instead of at random
    seed: int = 0
    device: str = "cpu"


@dataclass(frozen=True)
class Bank:
    """All texts of the train split: `vectors` (T, D), `same` (T, T) shares of the target.

    Both lie where the tower is trained.
    """

    vectors: torch.Tensor
    same: torch.Tensor
    row: dict[str, int]


class Trainee(nn.Module):
    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.tower = AudioTower(AudioConfig(), settings.dropout)
        self.logit_scale = nn.Parameter(torch.tensor(np.log(1 / 0.07), dtype=torch.float32))

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        with mixed_precision(batch.device.type):
            vectors = self.tower(batch)
        return F.normalize(vectors.float(), dim=-1)


def train(settings: Settings) -> None:
    torch.manual_seed(settings.seed)
    items = load_collection(settings.collection)
    sounds = [item for item in items if item.modality == "audio"]
    heard = spectrograms(sounds, settings.collection, settings.cache / "log_mel.npz")
    training = [item for item in sounds if item.split == "train" and not is_held_out(item)]
    text, _ = text_and_image()
    texts = contrastive.TextVectors(text, settings.cache / "texts.npz")
    bank = bank_of(training, texts, settings)
    pictures = picture_vectors(items, settings)

    trainee = Trainee(settings).to(settings.device)
    if settings.from_stored:
        trainee.tower.load_state_dict(AudioEncoder.open(FOLDER, text.space).tower.state_dict())
        fit_logit_scale(trainee, training, heard, bank)
    optimizer = torch.optim.AdamW(
        trainee.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    run = Run(settings.run, settings)
    done = run.resume(trainee, optimizer) or 0
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=settings.epochs * settings.steps + 1,
        last_epoch=done * settings.steps - 1 if done else -1,
    )  # fmt: skip
    by_source: dict[str, list[Item]] = defaultdict(list)
    for item in training:
        by_source[item.source].append(item)
    for epoch in range(done + 1, settings.epochs + 1):
        started = time.monotonic()
        torch.manual_seed(settings.seed + epoch)  # dropout's, so that a resumed run is the same
        rng = np.random.default_rng([settings.seed, epoch])
        losses = []
        for _ in track(range(settings.steps), description=f"epoch {epoch}"):
            batch = draw(by_source, settings.batch, rng)
            losses.append(step(trainee, optimizer, batch, heard, bank, pictures, settings, rng))
            schedule.step()
        figures = recalls(trainee, sounds, heard, texts)
        seconds = round(time.monotonic() - started, 1)
        run.log(epoch=epoch, loss=round(float(np.mean(losses)), 4), seconds=seconds, **figures)
        run.save(trainee, optimizer, epoch)
    store(trainee.tower)


@torch.inference_mode()
def fit_logit_scale(
    trainee: Trainee, items: Sequence[Item], heard: dict[str, Floats], bank: Bank
) -> None:
    """The scale at which the tower's loss is least: only the trained tower is stored, without it.

    A tower that goes on with the scale of an untrained one is led away from what it has learned.
    """
    drawn = [items[n] for n in np.random.default_rng(0).integers(len(items), size=512)]
    heard_as = torch.from_numpy(vectors_of(trainee.tower, drawn, heard)).to(bank.vectors.device)
    cosines = heard_as @ bank.vectors.T
    targets = bank.same[[bank.row[item.caption] for item in drawn]]
    scales = np.geomspace(10.0, contrastive.MAX_LOGIT_SCALE, 24).tolist()
    best = min(scales, key=lambda scale: float(F.cross_entropy(scale * cosines, targets)))
    trainee.logit_scale.fill_(float(np.log(best)))
    print(f"temperature 1/{best:.0f}", flush=True)


def is_word(item: Item) -> bool:
    return item.source in ("speech", "people")


def said_of(item: Item, rng: random.Random, phrases: float = 0.0) -> str:
    """A text that is true of a sound; of a spoken word always the word itself."""
    return item.caption if is_word(item) else contrastive.draw_text(item, rng, phrases)


def bank_of(items: Sequence[Item], texts: contrastive.TextVectors, settings: Settings) -> Bank:
    known = {text for item in items for text in contrastive.texts_of(item)}
    if settings.phrases:
        known |= {t for item in items if not is_word(item) for t in contrastive.phrases_of(item)}
    strings = sorted(known)
    vectors = torch.from_numpy(texts.of(strings)).to(settings.device)
    same = contrastive.multi_positive_targets(vectors)
    return Bank(vectors, same, {text: row for row, text in enumerate(strings)})


def picture_vectors(items: Sequence[Item], settings: Settings) -> dict[str, Vectors]:
    """Concept -> (N, D) vectors of its train pictures by the image tower as it is stored."""
    from encoders.training.features import picture_vectors_from_cache

    vectors = picture_vectors_from_cache(items, settings.collection, settings.cache / "features")
    heard = {item.concept for item in items if item.modality == "audio"}
    grouped: dict[str, list[Vectors]] = defaultdict(list)
    for item in items:
        if item.id in vectors and item.split == "train" and item.concept in heard:
            grouped[item.concept].append(vectors[item.id])
    return {concept: np.stack(rows) for concept, rows in grouped.items()}


def step(
    trainee: Trainee,
    optimizer: torch.optim.Optimizer,
    batch: Sequence[Item],
    heard: dict[str, Floats],
    bank: Bank,
    pictures: dict[str, Vectors],
    settings: Settings,
    rng: np.random.Generator,
) -> float:
    """One update; its loss."""
    frames = frames_of_batch(rng)
    order = rng.permutation(len(batch))
    inputs = np.stack(
        [
            augmented(heard[item.id], heard[batch[other].id], frames, rng)
            for item, other in zip(batch, order, strict=True)
        ]
    )
    words = random.Random(int(rng.integers(2**32)))
    rows = [bank.row[said_of(item, words, settings.phrases)] for item in batch]
    device = bank.vectors.device
    media = trainee.train()(torch.from_numpy(inputs).to(device))
    scale = trainee.logit_scale.exp().clamp(max=contrastive.MAX_LOGIT_SCALE)
    loss = F.cross_entropy(scale * media @ bank.vectors.T, bank.same[rows])
    seen = [i for i, item in enumerate(batch) if item.concept in pictures]
    if seen and settings.picture_share:
        chosen = [pictures[batch[i].concept] for i in seen]
        drawn = np.stack([rows_[int(rng.integers(len(rows_)))] for rows_ in chosen])
        shown = torch.from_numpy(drawn).to(device)
        captions = bank.vectors[[rows[i] for i in seen]]
        targets = contrastive.multi_positive_targets(captions)
        pairs = contrastive.contrastive_loss(media[seen], shown, trainee.logit_scale, targets)
        loss = (1 - settings.picture_share) * loss + settings.picture_share * pairs
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(trainee.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())


@torch.inference_mode()
def vectors_of(tower: nn.Module, items: Sequence[Item], heard: dict[str, Floats]) -> Vectors:
    """(N, D), unit length, each sound as the encoder hears it: whole, alone."""
    tower.eval()
    device = next(tower.parameters()).device
    alone = (torch.from_numpy(plain(heard[item.id])[None]).to(device) for item in items)
    rows = [tower(spectrogram).cpu() for spectrogram in alone]
    return F.normalize(torch.cat(rows), dim=-1).numpy()


def recalls(
    trainee: Trainee,
    sounds: Sequence[Item],
    heard: dict[str, Floats],
    texts: contrastive.TextVectors,
) -> dict[str, float]:
    """Recall@10 sound -> text of validation concepts, and of train concepts in unheard voices."""
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in sounds:
        if item.split == "validation":
            groups[f"{item.source} validation"].append(item)
        elif item.split == "train" and is_held_out(item):
            groups["human voice" if item.source == "stamps" else "new voice"].append(item)
    found = {}
    for name, members in groups.items():
        members = members[:150]
        asked = contrastive.one_per_concept(members)
        vectors = vectors_of(trainee.tower, members, heard)
        candidates = texts.of(item.caption for item in asked)
        relevant = contrastive.same_concept(members, asked)
        found[name] = round(contrastive.recall_at_k(vectors, candidates, relevant, 10), 3)
        found[f"{name} of"] = len(asked)
    return found


def store(tower: AudioTower) -> None:
    """Write the committed sound tower, as fp16."""
    sizes = json.dumps(asdict(AudioConfig()), indent=1)
    (FOLDER / "audio.json").write_text(sizes + "\n", encoding="utf-8")
    (FOLDER / "audio.safetensors").write_bytes(save(halved(tower.cpu().state_dict())))
