"""Train the picture generator: `python -m generator.training.train image`.

Two stages: the autoencoder on all training pictures, then the flow over its latents, conditioned on
retrieved neighbours. The decoder alone can be trained on later (`--stage decoder`): the
latents stay as they are, so the flow stays valid. Seeded and resumable.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from encoders.training.precision import mixed_precision
from generator.checkpoint import save_weights
from generator.image import PictureAutoencoder, PictureSettings
from generator.latent_flow import LatentFlow, flow_loss
from generator.training.arguments import training_parser
from generator.training.checkpoints import Average, keep, restore, set_rate
from generator.training.image_autoencoder import load_pictures, train_autoencoder, train_decoder
from generator.training.image_data import FlowBatch, flow_data
from generator.training.losses import Shares


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = training_parser("image", __doc__, learning_rate=1e-3, epoch_steps=250)
    parser.add_argument("--sources", nargs="+", default=["stamps", "emoji", "openclipart"])
    parser.add_argument("--encoder-cache", type=Path, default=Path("runs/encoders"))
    parser.add_argument(
        "--stage", choices=("autoencoder", "decoder", "flow", "both"), default="both"
    )
    parser.add_argument("--autoencoder-steps", type=int, default=5000)
    parser.add_argument("--decoder-steps", type=int, default=1800)
    parser.add_argument("--flow-steps", type=int, default=6000)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--flow-batch-size", type=int, default=64)
    add_losses(parser)
    return parser.parse_args(argv)


def add_losses(parser: argparse.ArgumentParser) -> None:
    """What the autoencoder and the decoder are judged by beside their pixels; 0 leaves it out."""
    group = parser.add_argument_group("losses of pictures")
    usual = Shares()
    group.add_argument("--perceptual-weight", type=float, default=usual.maps, help="tower's stages")
    group.add_argument("--meaning-weight", type=float, default=usual.vectors, help="its vector")
    group.add_argument(
        "--perceptual-sides",
        type=int,
        nargs="+",
        default=[112, 128, 144],
        help="px that the tower gets, drawn at every step",
    )
    group.add_argument(
        "--adversarial-share",
        type=float,
        default=usual.critic,
        help="length of the critic's gradient beside that of all others",
    )
    group.add_argument("--adversarial-from", type=int, default=usual.critic_from, help="step")


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    args.runs.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    if args.stage in ("autoencoder", "both"):
        train_autoencoder(args)
    if args.stage == "decoder":
        train_decoder(args)
    if args.stage in ("flow", "both"):
        train_flow(args)


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
        step = restore(checkpoint, average, model=flow, optimizer=optimizer) if args.resume else 0
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
            keep(checkpoint, step, average, model=flow, optimizer=optimizer)


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
