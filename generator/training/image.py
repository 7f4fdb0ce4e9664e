"""Train the picture generator: `python -m generator.training.train image`.

Two stages: the autoencoder on all training pictures, then the flow over its latents, conditioned on
retrieved neighbours. The autoencoder learns by pixels alone at first, then also by what the picture
tower sees, at last also by a critic. Its decoder alone can be trained on later (`--stage decoder`):
the latents stay as they are, so the flow stays valid. Seeded and resumable. Times and figures:
docs/experiments.md.
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
from generator.training.arguments import (
    add_without_memory,
    begin,
    bring_autoencoder,
    parsed,
    plan_of,
    starts_from_stored,
    training_parser,
)
from generator.training.epochs import descend, run_epochs
from generator.training.growing import start_from_flow
from generator.training.image_autoencoder import load_pictures, train_autoencoder, train_decoder
from generator.training.image_data import FlowBatch, FlowData, encode_all, flow_data
from generator.training.imagined import Imagined
from generator.training.losses import Shares
from generator.weight_files import write_settings


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = training_parser("image", __doc__, learning_rate=6e-4, epoch_steps=500)
    sources = ["stamps", "emoji", "openclipart"]
    add = parser.add_argument
    add("--sources", nargs="+", default=sources, help="whose pictures are learnt from")
    add(
        "--stage",
        choices=("autoencoder", "decoder", "flow", "both"),
        default="both",
        help="both: the autoencoder, then the flow",
    )
    add("--latent-channels", type=int, default=32, help="of 8x8 latents; the package has 32")
    add("--autoencoder-steps", type=int, default=5000, help="of --batch-size pictures")
    add("--decoder-steps", type=int, default=1800, help="of --batch-size pictures")
    add("--flow-steps", type=int, default=10_000, help="of --flow-batch-size pictures")
    add("--batch-size", type=int, default=16, help="of the autoencoder and the decoder")
    add("--flow-batch-size", type=int, default=32, help="of the flow")
    add("--flow-learning-rate", type=float, default=5e-4, help="the flow's highest")
    add_losses(parser)
    add_without_memory(parser)
    return parsed(parser, argv)


def add_losses(parser: argparse.ArgumentParser) -> None:
    """What the autoencoder and the decoder are judged by beside their pixels; 0 leaves it out."""
    group = parser.add_argument_group("losses of pictures")
    usual = Shares()
    group.add_argument(
        "--perceptual-weight", type=float, default=usual.maps, help="of the picture tower's stages"
    )
    group.add_argument("--meaning-weight", type=float, default=usual.vectors, help="of its vector")
    group.add_argument(
        "--perceptual-from",
        type=share,
        default=0.72,
        help="share of the autoencoder's steps from which the tower is heard",
    )
    group.add_argument(
        "--perceptual-sides",
        type=int,
        nargs="+",
        default=[112, 128],
        help="px that the tower gets, drawn at every step",
    )
    group.add_argument(
        "--perceptual-count", type=int, default=4, help="pictures of a batch that it looks at"
    )
    group.add_argument(
        "--adversarial-share",
        type=float,
        default=0.05,
        help="length of the critic's gradient beside that of all others",
    )
    group.add_argument(
        "--adversarial-from",
        type=share,
        default=0.8,
        help="share of the steps from which the critic is heard; it learns from the start",
    )


def share(text: str) -> float:
    """Raises ArgumentTypeError where it is none."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no share, from 0 to 1")
    return value


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    begin(args)
    if args.stage in ("autoencoder", "both"):
        train_autoencoder(args)
    if args.stage == "decoder":
        train_decoder(args)
    if args.stage in ("flow", "both"):
        train_flow(args)


def train_flow(args: argparse.Namespace) -> None:
    """Over the latents of the autoencoder in `args.weights`. Without memory it starts from
    nothing, unless `args.start` says otherwise: the stored flow has learnt with one."""
    bring_autoencoder(args, "image")
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
    if starts_from_stored(args):
        start_from_stored(flow, data, pictures, args.weights)
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


def start_from_stored(flow: LatentFlow, data: FlowData, pictures: Bytes, weights: Path) -> None:
    """From the stored flow, whose latents may be others than those of `weights`."""
    vae = "image_vae.safetensors"
    if (weights / vae).read_bytes() == (WEIGHTS / vae).read_bytes():
        load_weights(flow, WEIGHTS / "image_flow.safetensors")
        return
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
