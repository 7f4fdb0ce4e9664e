"""Train the picture generator: `python -m generator.training.train image`.

Two stages: the autoencoder on all training pictures, then the flow over its latents, conditioned on
retrieved neighbours. Seeded and resumable; writes a sample sheet after every epoch.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from encoders.training.data import Item, load_collection
from encoders.training.precision import mixed_precision
from generator.checkpoint import save_weights
from generator.image import Bytes, PictureAutoencoder, PictureSettings, square, to_bytes, to_tensor
from generator.latent_flow import LatentFlow, flow_loss
from generator.training.arguments import training_parser
from generator.training.image_data import FlowBatch, flow_data

KL_WEIGHT = 1e-5
EMA_DECAY = 0.999


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = training_parser("image", __doc__, learning_rate=1e-3, epoch_steps=250)
    parser.add_argument("--sources", nargs="+", default=["stamps", "emoji", "openclipart"])
    parser.add_argument("--encoder-cache", type=Path, default=Path("runs/encoders"))
    parser.add_argument("--stage", choices=("autoencoder", "flow", "both"), default="both")
    parser.add_argument("--autoencoder-steps", type=int, default=5000)
    parser.add_argument("--flow-steps", type=int, default=6000)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--flow-batch-size", type=int, default=64)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    args.runs.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    if args.stage in ("autoencoder", "both"):
        train_autoencoder(args)
    if args.stage in ("flow", "both"):
        train_flow(args)


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


def reconstruction_loss(made: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """L1 and squared error of pixels, L1 of their differences.

    The squares bring colours early, the differences sharpen edges.
    """
    error = made - target
    loss = error.abs().mean() + 2 * error.square().mean()
    for axis in (2, 3):
        loss = loss + (made.diff(dim=axis) - target.diff(dim=axis)).abs().mean()
    return loss


def train_autoencoder(args: argparse.Namespace) -> None:
    settings = PictureSettings()
    model = PictureAutoencoder(settings).to(args.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate, weight_decay=1e-4)
    average = Average(model)
    checkpoint = args.runs / "autoencoder.pt"
    step = restore(checkpoint, model, optimizer, average) if args.resume else 0
    items, pictures = load_pictures(args, settings.side_px)
    rows = np.array([row for row, item in enumerate(items) if item.split == "train"])
    held_out = np.array([row for row, item in enumerate(items) if item.split == "validation"])[:64]
    random = np.random.default_rng(args.seed + step)
    while step < args.autoencoder_steps:
        start, total = time.monotonic(), 0.0
        for _ in range(args.epoch_steps):
            set_rate(optimizer, args.learning_rate, step, args.autoencoder_steps)
            chosen = np.sort(random.choice(rows, args.batch_size, replace=False))
            batch = augmented(to_tensor(pictures[chosen])).to(args.device)
            total += autoencoder_step(model, optimizer, batch)
            average.update(model)
            step += 1
        rate = args.epoch_steps * args.batch_size / (time.monotonic() - start)
        with average.applied(model):
            quality = reconstruct_sheet(model, pictures[held_out], args.runs / f"ae-{step}.png")
            save_weights(model, args.weights / "image_vae.safetensors")
        print(
            f"step {step}/{args.autoencoder_steps} loss {total / args.epoch_steps:.4f} "
            f"held-out PSNR {quality:.2f} dB, {rate:.0f} pictures/s",
            flush=True,
        )
        keep(checkpoint, step, model, optimizer, average)


def autoencoder_step(
    model: PictureAutoencoder, optimizer: torch.optim.Optimizer, batch: torch.Tensor
) -> float:
    optimizer.zero_grad(set_to_none=True)
    with mixed_precision(batch.device.type):
        posterior = model.posterior(batch)
        made = model.decode(posterior.sample())
    loss = reconstruction_loss(made.float(), batch) + KL_WEIGHT * posterior.kl().float().mean()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())


def train_flow(args: argparse.Namespace) -> None:
    settings = PictureSettings()
    autoencoder = PictureAutoencoder(settings).to(args.device)
    with Average.of(args.runs / "autoencoder.pt", autoencoder).applied(autoencoder):
        items, pictures = load_pictures(args, settings.side_px)
        data = flow_data(autoencoder, items, pictures, args)
        settings = replace(
            settings,
            latent_mean=tuple(round(float(v), 5) for v in data.mean),
            latent_scale=tuple(round(float(v), 5) for v in data.scale),
        )
        (args.weights / "image.json").write_text(json.dumps(asdict(settings), indent=1) + "\n")
        flow = LatentFlow(settings.flow).to(args.device)
        optimizer = torch.optim.AdamW(flow.parameters(), lr=args.learning_rate / 2)
        average = Average(flow)
        checkpoint = args.runs / "flow.pt"
        step = restore(checkpoint, flow, optimizer, average) if args.resume else 0
        random = np.random.default_rng(args.seed + step)
        fixed = data.batch(np.random.default_rng(1), 48, "validation")
        while step < args.flow_steps:
            start, total = time.monotonic(), 0.0
            for _ in range(args.epoch_steps):
                set_rate(optimizer, args.learning_rate / 2, step, args.flow_steps)
                batch = data.batch(random, args.flow_batch_size, "train")
                total += flow_step(flow, optimizer, batch, args.device)
                average.update(flow)
                step += 1
            rate = args.epoch_steps * args.flow_batch_size / (time.monotonic() - start)
            with average.applied(flow):
                held_out = validation_loss(flow, fixed, args.device)
                save_weights(flow, args.weights / "image_flow.safetensors")
            print(
                f"step {step}/{args.flow_steps} loss {total / args.epoch_steps:.4f} "
                f"held-out {held_out:.4f}, {rate:.0f} pictures/s",
                flush=True,
            )
            keep(checkpoint, step, flow, optimizer, average)


def flow_step(
    flow: LatentFlow, optimizer: torch.optim.Optimizer, batch: FlowBatch, device: str
) -> float:
    optimizer.zero_grad(set_to_none=True)
    with mixed_precision(device):
        loss = flow_loss(flow, *(part.to(device) for part in batch))
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(flow.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())


@torch.inference_mode()
def validation_loss(flow: LatentFlow, batch: FlowBatch, device: str) -> float:
    state = torch.get_rng_state()
    torch.manual_seed(0)  # the same noise and times every epoch
    loss = float(flow_loss(flow, *(part.to(device) for part in batch)))
    torch.set_rng_state(state)
    return loss


@torch.inference_mode()
def reconstruct_sheet(model: PictureAutoencoder, pictures: Bytes, path: Path) -> float:
    """Write originals above reconstructions; returns the mean PSNR in dB."""
    target = to_tensor(pictures).to(next(model.parameters()).device)
    made = model.decode(model.posterior(target).mode()).float()
    error = ((made.clamp(-1, 1) - target) / 2).square().mean(dim=(1, 2, 3))
    rows = []
    for start in range(0, min(len(pictures), 48), 16):
        rows.append(np.concatenate(list(pictures[start : start + 16]), axis=1))
        rows.append(np.concatenate(list(to_bytes(made[start : start + 16])), axis=1))
    Image.fromarray(np.concatenate(rows)).save(path)
    return float((-10 * torch.log10(error.clamp_min(1e-8))).mean())


class Average:
    """Exponential moving average of a module's parameters: sharper than the last step's."""

    def __init__(self, module: nn.Module) -> None:
        self.state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        self.updates = 0

    @classmethod
    def of(cls, checkpoint: Path, module: nn.Module) -> Average:
        average = cls(module)
        average.state = torch.load(checkpoint, weights_only=True)["average"]
        return average

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        self.updates += 1
        decay = min(EMA_DECAY, (1 + self.updates) / (10 + self.updates))
        for name, tensor in module.state_dict().items():
            self.state[name].lerp_(tensor.to(self.state[name].dtype), 1 - decay)

    def applied(self, module: nn.Module) -> _Applied:
        """Context in which the module has the averaged parameters, in evaluation mode."""
        return _Applied(self, module)


class _Applied:
    def __init__(self, average: Average, module: nn.Module) -> None:
        self._average, self._module = average, module

    def __enter__(self) -> None:
        self._own = {name: tensor.clone() for name, tensor in self._module.state_dict().items()}
        self._module.load_state_dict(self._average.state)
        self._module.eval()

    def __exit__(self, *_: object) -> None:
        self._module.load_state_dict(self._own)
        self._module.train()


def set_rate(optimizer: torch.optim.Optimizer, peak: float, step: int, steps: int) -> None:
    """Linear warm-up over 100 steps, then half a cosine down to 2 %."""
    share = min(1.0, max(0, step - 100) / max(1, steps - 100))
    factor = min(1.0, (step + 1) / 100) * (0.02 + 0.49 * (1 + math.cos(math.pi * share)))
    for group in optimizer.param_groups:
        group["lr"] = peak * factor


def keep(
    path: Path, step: int, module: nn.Module, optimizer: torch.optim.Optimizer, average: Average
) -> None:
    state = {
        "step": step,
        "model": module.state_dict(),
        "optimizer": optimizer.state_dict(),
        "average": average.state,
        "updates": average.updates,
    }
    torch.save(state, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


def restore(
    path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, average: Average
) -> int:
    """Go on from the checkpoint; 0 when there is none."""
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    module.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    average.state, average.updates = state["average"], state["updates"]
    return int(state["step"])
