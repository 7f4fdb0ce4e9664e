"""Train the picture generator: `python -m generator.training.train image`.

Two stages: the autoencoder on all training pictures, then the flow over its latents, conditioned on
retrieved neighbours. The decoder alone can be trained on later (`--stage decoder`): the
latents stay as they are, so the flow stays valid. Seeded and resumable.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from encoders.training.data import Item
from encoders.training.precision import mixed_precision
from generator.checkpoint import load_weights, save_weights
from generator.image import Bytes, PictureAutoencoder, PictureGenerator, load_settings
from generator.latent_flow import LatentFlow, flow_loss, per_channel
from generator.registry import WEIGHTS
from generator.training.arguments import plan_of, training_parser
from generator.training.epochs import descend, run_epochs
from generator.training.growing import start_from_flow
from generator.training.image_autoencoder import load_pictures, train_autoencoder, train_decoder
from generator.training.image_data import FlowBatch, FlowData, encode_all, flow_data
from generator.training.imagined import Imagined
from generator.training.losses import Shares
from generator.weight_files import write_settings


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = training_parser("image", __doc__, learning_rate=1e-3, epoch_steps=250)
    parser.add_argument("--sources", nargs="+", default=["stamps", "emoji", "openclipart"])
    parser.add_argument("--encoder-cache", type=Path, default=Path("runs/encoders"))
    parser.add_argument(
        "--stage", choices=("autoencoder", "decoder", "flow", "both"), default="both"
    )
    parser.add_argument("--latent-channels", type=int, default=16)
    parser.add_argument("--autoencoder-steps", type=int, default=5000)
    parser.add_argument("--decoder-steps", type=int, default=1800)
    parser.add_argument("--flow-steps", type=int, default=6000)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--flow-batch-size", type=int, default=64)
    parser.add_argument("--flow-learning-rate", type=float, default=5e-4)
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
        "--perceptual-count", type=int, default=None, help="of a batch that it looks at; all"
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
    """Over the latents of the autoencoder in `args.weights`."""
    settings = load_settings(args.weights / "image.json")
    autoencoder = PictureAutoencoder(settings).eval()
    load_weights(autoencoder, args.weights / "image_vae.safetensors")
    items, pictures = seen_pictures(args, settings.side_px)
    data = flow_data(autoencoder.to(args.device), items, pictures, args)
    settings = replace(
        settings,
        latent_mean=tuple(round(float(v), 5) for v in data.mean),
        latent_scale=tuple(round(float(v), 5) for v in data.scale),
        latent_spread=tuple(round(float(v), 5) for v in data.latents.std(dim=(0, 1, 3, 4))),
    )
    write_settings(settings, args.weights / "image.json")
    flow = LatentFlow(settings.flow)
    if args.from_stored:
        start_from_stored(flow, data, pictures)
    flow.to(args.device)
    optimizer = torch.optim.AdamW(flow.parameters(), lr=args.flow_learning_rate)
    fixed = data.batch(np.random.default_rng(1), 256, "validation")
    imagined = Imagined.of(data, items, pictures, autoencoder)

    def update(_: int, random: np.random.Generator) -> dict[str, float]:
        batch = data.batch(random, args.flow_batch_size, "train")
        with mixed_precision(args.device):
            loss = flow_loss(flow, *(part.to(args.device) for part in batch))
        return {"loss": descend(loss, flow, optimizer)}

    def epoch_ends(step: int) -> str:
        save_weights(flow, args.weights / "image_flow.safetensors")
        quality = imagined.measure(flow, args.runs / f"flow-{step}.png")
        return f"held-out {validation_loss(flow, fixed, args.device):.4f}, {quality}"

    plan = plan_of(args, args.flow_steps, args.flow_learning_rate)
    run_epochs(plan, args.runs / "flow.pt", flow, optimizer, update, epoch_ends)


def start_from_stored(flow: LatentFlow, data: FlowData, pictures: Bytes) -> None:
    """From the stored flow, whose latents may be others."""
    before = PictureGenerator(WEIGHTS, runtime="torch")
    some = np.random.default_rng(0).choice(len(pictures), min(1000, len(pictures)), replace=False)
    mean, scale = (
        per_channel(each) for each in (before.settings.latent_mean, before.settings.latent_scale)
    )
    read = (encode_all(before.autoencoder, pictures[some], "cpu") - mean) / scale
    start_from_flow(flow, before.flow, data.latents[0, some], read)


def seen_pictures(args: argparse.Namespace, side_px: int) -> tuple[list[Item], Bytes]:
    """Those of the splits that a training may see."""
    items, pictures = load_pictures(args, side_px)
    rows = [row for row, item in enumerate(items) if item.split in ("train", "validation")]
    return [items[row] for row in rows], pictures[rows]


@torch.no_grad()
def validation_loss(flow: LatentFlow, batch: FlowBatch, device: str) -> float:
    with torch.random.fork_rng():
        torch.manual_seed(0)  # the same noise and times after every epoch
        with mixed_precision(device):
            return float(flow_loss(flow, *(part.to(device) for part in batch)))
