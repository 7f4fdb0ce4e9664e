"""The stages that train the picture autoencoder: both halves, or its decoder alone.

The decoder alone is trained on from the weights that are there; the latents stay as they are, so a
flow over them stays valid. Each epoch ends with a line, a sheet of held-out pictures above their
reconstructions, and a checkpoint.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from encoders.base import Vectors
from encoders.bundled import text_and_image
from encoders.openclip import OpenClipImageEncoder
from encoders.training.contrastive import one_per_concept, recall_at_k, same_concept
from encoders.training.data import Item, load_collection
from encoders.training.precision import mixed_precision
from generator.checkpoint import load_weights, save_weights
from generator.image import (
    Bytes,
    PictureAutoencoder,
    PictureSettings,
    load_settings,
    square,
    to_bytes,
    to_tensor,
)
from generator.training.checkpoints import Average, Stateful, keep, restore, set_rate
from generator.training.losses import Perception, PictureLoss, Shares, patch_critic

KL_WEIGHT = 1e-5
HELD_OUT = 192  # pictures of the validation split that every epoch is measured on
AT_ONCE = 64  # pictures, in what is not trained by
SHEET_COLUMNS, SHEET_ROWS = 16, 3


def load_pictures(
    args: argparse.Namespace, side_px: int
) -> tuple[list[Item], npt.NDArray[np.uint8]]:
    """The sources' pictures, (N, S, S, 3), made once and kept among the runs."""
    collection, cache = args.collection, args.runs
    items = [
        item
        for item in load_collection(collection)
        if item.modality == "image" and item.source in args.sources
    ]
    mark = hashlib.sha256(" ".join(item.id for item in items).encode()).hexdigest()[:12]
    path = cache / f"pictures-{side_px}-{mark}.npy"
    if path.exists():
        return items, np.load(path, mmap_mode="r")
    pictures = np.empty((len(items), side_px, side_px, 3), np.uint8)
    for row, item in enumerate(items):
        with Image.open(collection / item.path) as image:
            pictures[row] = square(image, side_px)
    np.save(path, pictures)
    return items, pictures


def augmented(pictures: torch.Tensor) -> torch.Tensor:
    """Flip half of them, and scale and shift each a little on white. (B, 3, S, S) in [-1, 1]."""
    count = len(pictures)
    scale = torch.empty(count).uniform_(0.95, 1.25)
    flip = torch.randint(0, 2, (count,)) * 2.0 - 1.0
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = scale * flip, scale
    theta[:, :, 2] = torch.empty(count, 2).uniform_(-0.1, 0.1)
    grid = F.affine_grid(theta, list(pictures.shape), align_corners=False)
    # Outside is white: shift so that padding zeros mean white.
    return F.grid_sample(pictures - 1, grid, align_corners=False) + 1


def train_autoencoder(args: argparse.Namespace) -> None:
    model = PictureAutoencoder(PictureSettings()).to(args.device)
    run(args, model, "autoencoder", args.autoencoder_steps, args.learning_rate)


def train_decoder(args: argparse.Namespace) -> None:
    """Goes on from the weights in `args.weights`, the encoder as it is there."""
    model = PictureAutoencoder(load_settings(args.weights / "image.json"))
    load_weights(model, args.weights / "image_vae.safetensors")
    model.requires_grad_(False)
    for part in (model.vae.decoder, model.vae.post_quant_conv):
        part.requires_grad_(True)
    # Faster, it first unlearns what the end of the training before it settled.
    rate = args.learning_rate / 5
    run(args, model.to(args.device), "decoder", args.decoder_steps, rate)


def run(
    args: argparse.Namespace, model: PictureAutoencoder, name: str, steps: int, highest: float
) -> None:
    """Train what requires a gradient; write weights, sheet and checkpoint after every epoch."""
    trained = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=highest, betas=(0.9, 0.99), weight_decay=1e-4)
    loss = picture_loss(args)
    average = Average(model)
    parts: dict[str, Stateful] = {
        "model": model,
        "optimizer": optimizer,
        "critic": loss.critic,
        "critic_optimizer": loss.optimizer,
    }
    checkpoint = args.runs / f"{name}.pt"
    step = restore(checkpoint, average, **parts) if args.resume else 0
    items, pictures = load_pictures(args, model.settings.side_px)
    rows = np.array([row for row, item in enumerate(items) if item.split == "train"])
    held_out = HeldOut.of(items, pictures)
    random = np.random.default_rng(args.seed + step)
    while step < steps:
        start, totals = time.monotonic(), Counter[str]()
        for _ in range(args.epoch_steps):
            set_rate(optimizer, highest, step, steps)
            chosen = np.sort(random.choice(rows, args.batch_size, replace=False))
            batch = augmented(to_tensor(pictures[chosen])).to(args.device)
            totals.update(picture_step(model, optimizer, loss, batch, step))
            average.update(model)
            step += 1
        speed = args.epoch_steps * args.batch_size / (time.monotonic() - start)
        with average.applied(model):
            quality = held_out.measure(model, args.runs / f"{name}-{step}.png")
            save_weights(model, args.weights / "image_vae.safetensors")
        terms = " ".join(f"{term} {total / args.epoch_steps:.4f}" for term, total in totals.items())
        print(f"step {step}/{steps} {terms}; {quality}; {speed:.0f} pictures/s", flush=True)
        keep(checkpoint, step, average, **parts)


def picture_loss(args: argparse.Namespace) -> PictureLoss:
    shares = Shares(
        args.perceptual_weight, args.meaning_weight, args.adversarial_share, args.adversarial_from
    )
    wanted = shares.maps > 0 or shares.vectors > 0
    perception = Perception().to(args.device) if wanted else None
    return PictureLoss(shares, perception, patch_critic().to(args.device), args.perceptual_sides)


def picture_step(
    model: PictureAutoencoder,
    optimizer: torch.optim.Optimizer,
    loss: PictureLoss,
    batch: torch.Tensor,
    step: int,
) -> dict[str, float]:
    """One update of the model and one of the critic; the value of every judgement."""
    whole = next(model.vae.encoder.parameters()).requires_grad
    with mixed_precision(batch.device.type):
        with torch.set_grad_enabled(whole):
            posterior = model.posterior(batch)
            latents = posterior.sample()
        made = model.decode(latents)
    slope, terms = loss.slope(made, batch, step, model.vae.decoder.conv_out.weight)
    optimizer.zero_grad(set_to_none=True)
    total = (made.float() * slope).sum()  # its gradient by the pictures is the slope
    if whole:
        total = total + KL_WEIGHT * posterior.kl().float().mean()
    total.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_([each for each in model.parameters() if each.requires_grad], 1.0)
    optimizer.step()
    if loss.shares.critic > 0:
        terms["critic_loss"] = loss.teach_critic(made, batch)
    return terms


@dataclass(frozen=True)
class HeldOut:
    """Pictures of the validation split, and the texts that they are to find."""

    pictures: Bytes  # (N, S, S, 3)
    names: Vectors  # (C, D), one per concept
    relevant: npt.NDArray[np.bool_]  # (N, C)
    image: OpenClipImageEncoder
    vectors: Vectors  # (N, D), of the pictures

    @classmethod
    def of(
        cls,
        items: list[Item],
        pictures: Bytes,
        split: str = "validation",
        count: int = HELD_OUT,
    ) -> HeldOut:
        """So many of a split, evenly spread over the sources."""
        rows = np.array([row for row, item in enumerate(items) if item.split == split])
        rows = rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)]
        chosen = [items[row] for row in rows]
        asked = one_per_concept(chosen)
        text, image = text_and_image()
        names = text.encode([item.caption for item in asked])
        real = image.encode([Image.fromarray(each) for each in pictures[rows]])
        return cls(pictures[rows], names, same_concept(chosen, asked), image, real)

    def measure(self, model: PictureAutoencoder, sheet: Path) -> str:
        """PSNR in dB; of reconstructions encoded again the cosine to the original, and how often
        they find its caption.
        """
        made = reconstructed(model, self.pictures)
        write_sheet(self.pictures, made, sheet)
        error = np.square(made.astype(np.float64) - self.pictures).mean(axis=(1, 2, 3))
        psnr_db = float((10 * np.log10(255**2 / np.maximum(error, 1e-3))).mean())
        vectors = self.image.encode([Image.fromarray(each) for each in made])
        at_1, at_10 = self.recalls(vectors)
        cosine = float((vectors * self.vectors).sum(axis=1).mean())
        return (
            f"held-out PSNR {psnr_db:.2f} dB, cosine {cosine:.3f}, R@1 {at_1:.3f}, R@10 {at_10:.3f}"
        )

    def recalls(self, vectors: Vectors) -> tuple[float, float]:
        """Recall@1 and @10 of the captions by vectors (N, D) of what was made of the pictures."""
        at_1, at_10 = (recall_at_k(vectors, self.names, self.relevant, k) for k in (1, 10))
        return at_1, at_10


@torch.inference_mode()
def reconstructed(model: PictureAutoencoder, pictures: Bytes) -> Bytes:
    device = next(model.parameters()).device
    parts = []
    for start in range(0, len(pictures), AT_ONCE):
        target = to_tensor(pictures[start : start + AT_ONCE]).to(device)
        parts.append(to_bytes(model.decode(model.posterior(target).mode()).float()))
    return np.concatenate(parts)


def write_sheet(pictures: Bytes, made: Bytes, path: Path) -> None:
    """Originals above reconstructions, evenly from all of them."""
    count = min(len(pictures), SHEET_COLUMNS * SHEET_ROWS)
    shown = np.linspace(0, len(pictures) - 1, count).astype(int)
    rows = []
    for start in range(0, count - count % SHEET_COLUMNS or count, SHEET_COLUMNS):
        chosen = shown[start : start + SHEET_COLUMNS]
        rows += [np.concatenate(list(each[chosen]), axis=1) for each in (pictures, made)]
    Image.fromarray(np.concatenate(rows)).save(path)
