"""The stages that train the picture autoencoder: both halves, or its decoder alone.

The decoder alone is trained on from the weights that are there; the latents stay as they are, so a
flow over them stays valid. Each epoch ends with a line, a sheet of held-out pictures above their
reconstructions, and a checkpoint.
"""

from __future__ import annotations

import argparse
import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image

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
from generator.registry import WEIGHTS
from generator.training.arguments import LEAD_UNTIL, bring_autoencoder, plan_of
from generator.training.epochs import descend, run_epochs, told
from generator.training.growing import start_from_patches
from generator.training.losses import Perception, PictureLoss, Shares, patch_critic
from generator.weight_files import write_settings

KL_WEIGHT = 1e-6  # by ten times as much, half of the latents became noise
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
    for row, item in enumerate(told(items, f"reading pictures, {side_px} px")):
        with Image.open(collection / item.path) as image:
            pictures[row] = square(image, side_px)
    np.save(path, pictures)
    return items, pictures


@dataclass(frozen=True)
class Pictures:
    """What is trained on: as it is served, and with twice the detail, from which parts are cut."""

    whole: Bytes  # (N, S, S, 3)
    large: Bytes  # (N, 2 S, 2 S, 3)
    rates: npt.NDArray[np.float64]  # (N,)

    def batch(self, random: np.random.Generator, size: int) -> torch.Tensor:
        """(B, 3, S, S) in [-1, 1]: half of them parts, up to a quarter; half mirrored."""
        chosen = random.choice(len(self.rates), size, replace=False, p=self.rates)
        part = torch.from_numpy(random.random(size) < 0.5)[:, None, None, None]
        whole = to_tensor(self.whole[chosen])
        batch = torch.where(part, cut(to_tensor(self.large[chosen])), whole)
        mirrored = torch.from_numpy(random.random(size) < 0.5)[:, None, None, None]
        return torch.where(mirrored, batch.flip(3), batch)


def rates_of(items: list[Item], split: str) -> npt.NDArray[np.float64]:
    """How often each is drawn from a split: of small sources more often than their share.

    A fifth of the train split are stamps, though they are one in sixteen: what people store is
    more like them.
    """
    counts = Counter(item.source for item in items if item.split == split)
    rates: npt.NDArray[np.float64] = np.array(
        [counts[item.source] ** (-2 / 3) if item.split == split else 0.0 for item in items]
    )
    rates /= rates.sum()
    return rates


def cut(large: torch.Tensor) -> torch.Tensor:
    """(B, 3, S, S) of (B, 3, 2 S, 2 S): each scaled and shifted on white.

    Twice the detail comes in, so that what goes out is as sharp as a picture that was only reduced.
    """
    count = len(large)
    theta = torch.zeros(count, 2, 3)
    scale = torch.empty(count).uniform_(0.5, 1.1)
    theta[:, 0, 0] = theta[:, 1, 1] = scale
    reach = (1 - scale).abs()[:, None] + 0.05
    theta[:, :, 2] = torch.empty(count, 2).uniform_(-1, 1) * reach
    grid = F.affine_grid(theta, list(large.shape), align_corners=False)
    # Outside is white: shift so that padding zeros mean white.
    shown = F.grid_sample(large - 1, grid, align_corners=False) + 1
    return F.avg_pool2d(shown, 2)


def new_settings(args: argparse.Namespace) -> PictureSettings:
    """Of weights whose autoencoder is trained anew."""
    return PictureSettings(
        latent_channels=args.latent_channels, patches=True, lead_until=LEAD_UNTIL
    )


def train_autoencoder(args: argparse.Namespace) -> None:
    """From nothing but the principal components of patches, or from the stored weights as well."""
    settings = new_settings(args)
    model, before = PictureAutoencoder(settings), None
    items, pictures = load_pictures(args, settings.side_px)
    if args.from_stored:
        before = PictureAutoencoder(load_settings(WEIGHTS / "image.json"))
        load_weights(before, WEIGHTS / "image_vae.safetensors")
    learnt = Pictures(pictures, pictures, rates_of(items, "train"))
    some = learnt.whole[np.random.default_rng(args.seed).choice(len(items), 1500, p=learnt.rates)]
    start_from_patches(model, to_tensor(some), before)
    write_settings(settings, args.weights / "image.json")
    run(args, model.to(args.device), "autoencoder", args.autoencoder_steps, args.learning_rate)


def train_decoder(args: argparse.Namespace) -> None:
    """Goes on from the weights in `args.weights`, the encoder as it is there."""
    bring_autoencoder(args, "image")
    model = PictureAutoencoder(load_settings(args.weights / "image.json"))
    load_weights(model, args.weights / "image_vae.safetensors")
    model.requires_grad_(False)
    for part in (model.vae.decoder, model.vae.post_quant_conv):
        part.requires_grad_(True)
    # Faster, it first unlearns what the end of the training before it settled.
    rate = args.learning_rate / 3
    run(args, model.to(args.device), "decoder", args.decoder_steps, rate)


def run(
    args: argparse.Namespace, model: PictureAutoencoder, name: str, steps: int, highest: float
) -> None:
    """Train what requires a gradient; write weights, sheet and checkpoint after every epoch."""
    trained = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=highest, betas=(0.9, 0.99), weight_decay=1e-4)
    loss = picture_loss(args, steps, 0.0 if name == "decoder" else args.perceptual_from)
    side = model.settings.side_px
    items, large = load_pictures(args, 2 * side)
    pictures = load_pictures(args, side)[1]
    learnt = Pictures(pictures, large, rates_of(items, "train"))
    held_out = HeldOut.of(items, pictures)

    def update(step: int, random: np.random.Generator) -> dict[str, float]:
        batch = learnt.batch(random, args.batch_size).to(args.device)
        return picture_step(model, optimizer, loss, batch, step)

    def epoch_ends(step: int) -> str:
        save_weights(model, args.weights / "image_vae.safetensors")
        return held_out.measure(model, args.runs / f"{name}-{step}.png")

    run_epochs(
        plan_of(args, steps, highest),
        args.runs / f"{name}.pt",
        model,
        optimizer,
        update,
        epoch_ends,
        critic=loss.critic,
        critic_optimizer=loss.optimizer,
    )


def picture_loss(args: argparse.Namespace, steps: int, seen_from: float) -> PictureLoss:
    """`seen_from`: the share of the steps from which the tower is heard; what goes on from trained
    weights is judged by it from the first."""
    shares = Shares(
        args.perceptual_weight,
        args.meaning_weight,
        args.adversarial_share,
        critic_from=round(steps * args.adversarial_from),
        tower_from=round(steps * seen_from),
    )
    wanted = shares.maps > 0 or shares.vectors > 0
    perception = Perception().to(args.device) if wanted else None
    critic = patch_critic().to(args.device)
    return PictureLoss(shares, perception, critic, args.perceptual_sides, args.perceptual_count)


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
    total = (made.float() * slope).sum()  # its gradient by the pictures is the slope
    if whole:
        total = total + KL_WEIGHT * posterior.kl().float().mean()
    descend(total, model, optimizer)
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
