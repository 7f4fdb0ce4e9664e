"""Train the sound generator: `python -m generator.training.train audio`.

First the mel autoencoder (`--part vae`), then on its latents the flow (`--part flow`). The
autoencoder's decoder alone can be trained on later (`--part decoder`): the latents stay as they
are, so the flow stays valid. Seeded and resumable; tells the losses of every epoch beside those
of the validation split, and draws the log-mels of some of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from encoders.training.precision import mixed_precision
from generator.audio import MelAutoencoder, SoundSettings, load_settings
from generator.checkpoint import load_weights, save_weights
from generator.latent_flow import LatentFlow, flow_loss, led_back
from generator.registry import WEIGHTS
from generator.training.arguments import (
    LEAD_UNTIL,
    add_without_memory,
    begin,
    bring_autoencoder,
    parsed,
    plan_of,
    starts_from_stored,
    training_parser,
)
from generator.training.epochs import descend, run_epochs, told
from generator.training.sound_memories import Drawn, SoundMemories
from generator.training.sounds import Sounds, augment, load_sounds, mel_sheet
from generator.training.text import text_encoder
from generator.weight_files import write_settings

BATCH, FLOW_BATCH = 16, 48
CHECKED = 256  # validation sounds that the flow is measured by
SHOWN = 6  # sounds of a sheet


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = training_parser("audio", __doc__, learning_rate=1e-3, epoch_steps=100)
    add = parser.add_argument
    add(
        "--part",
        choices=("all", "vae", "decoder", "flow"),
        default="all",
        help="all: the autoencoder (vae), then the flow",
    )
    add("--vae-steps", type=int, default=2000, help=f"of {BATCH} sounds")
    add("--decoder-steps", type=int, default=600, help=f"of {BATCH} sounds")
    add("--flow-steps", type=int, default=1200, help=f"of {FLOW_BATCH} sounds")
    add_without_memory(parser)
    return parsed(parser, argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Train the parts asked for, and write weights, settings and sheets.

    With `--from-stored` the autoencoder's decoder and the flow go on from the stored weights, and
    the flow is trained over the stored autoencoder; without memory the flow starts from nothing,
    since the stored one has learnt with one.
    """
    args = parse(argv)
    begin(args)
    settings = new_settings()
    encode = text_encoder()
    train = load_sounds(args.collection, "train", settings, args.cache, encode)
    held = load_sounds(args.collection, "validation", settings, args.cache, encode)
    print(f"{len(train)} sounds to train on, {len(held)} for validation", flush=True)
    if args.part in ("all", "vae"):
        train_autoencoder(args, settings, train, held)
    if args.part == "decoder":
        train_decoder(args, train, held)
    if args.part in ("all", "flow"):
        train_flow(args, train, held)


def new_settings() -> SoundSettings:
    """Of weights that are trained from nothing."""
    return SoundSettings(lead_until=LEAD_UNTIL)


def stored_autoencoder(args: argparse.Namespace) -> MelAutoencoder:
    """That of `args.weights`; with `--from-stored` the stored one, unless there is one."""
    bring_autoencoder(args, "audio")
    model = MelAutoencoder(load_settings(args.weights / "audio.json"))
    load_weights(model, args.weights / "audio_vae.safetensors")
    return model.to(args.device)


def train_autoencoder(
    args: argparse.Namespace, settings: SoundSettings, train: Sounds, held: Sounds
) -> None:
    """L1 on the mel and on its slopes in time and pitch, and a small KL."""
    model = MelAutoencoder(settings).to(args.device)
    fit_autoencoder(args, "vae", model, args.vae_steps, train, held)
    latents = encode_all(model, train.mels[:: max(1, len(train) // 800)], args.device)
    settings = replace(
        settings,
        latent_mean=tuple(round(float(v), 4) for v in latents.mean((0, 2, 3))),
        latent_scale=tuple(round(float(v), 4) for v in latents.std((0, 2, 3))),
    )
    write_settings(settings, args.weights / "audio.json")


def train_decoder(args: argparse.Namespace, train: Sounds, held: Sounds) -> None:
    """The same loss on the frozen encoder's latents."""
    model = stored_autoencoder(args)
    for part in (model.vae.encoder, model.vae.quant_conv):
        part.requires_grad_(False)
    fit_autoencoder(args, "decoder", model, args.decoder_steps, train, held)


def fit_autoencoder(
    args: argparse.Namespace,
    name: str,
    model: MelAutoencoder,
    steps: int,
    train: Sounds,
    held: Sounds,
) -> None:
    """Train what requires a gradient, and leave the model with its averaged weights."""
    settings = model.settings
    trained = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=args.learning_rate, weight_decay=0.01)
    checked = HeldOutMels(normalised(held.mels[:: max(1, len(held) // 128)], settings))

    def update(_: int, random: np.random.Generator) -> dict[str, float]:
        mel = mel_batch(train, settings, random).to(args.device)
        with mixed_precision(args.device):
            posterior = model.posterior(mel)
            kl = posterior.kl().mean() / settings.latent_channels
            loss = reconstruction_loss(model.decode(posterior.sample()), mel) + 2e-5 * kl
        return {"loss": descend(loss, model, optimizer)}

    def epoch_ends(step: int) -> str:
        save_weights(model, args.weights / "audio_vae.safetensors")
        return checked.measure(model, args.device, args.runs / f"{name}-{step}.png")

    plan = plan_of(args, steps, args.learning_rate)
    run_epochs(plan, args.runs / f"{name}.pt", model, optimizer, update, epoch_ends)
    load_weights(model, args.weights / "audio_vae.safetensors")
    model.eval()


def mel_batch(sounds: Sounds, settings: SoundSettings, random: np.random.Generator) -> torch.Tensor:
    """(BATCH, 1, N_MELS, frames) of augmented sounds."""
    rows = random.choice(len(sounds), (2, BATCH), p=sounds.rates)
    pairs = zip(sounds.mels[rows[0]], sounds.mels[rows[1]], strict=True)
    mels = [augment(a.astype(np.float32), b.astype(np.float32), random) for a, b in pairs]
    return normalised(np.stack(mels), settings)


@dataclass(frozen=True)
class HeldOutMels:
    """Normalised log-mels of validation sounds (N, 1, N_MELS, frames)."""

    mels: torch.Tensor

    @torch.no_grad()
    def measure(self, model: MelAutoencoder, device: str, sheet: Path) -> str:
        """Mean |difference| of the log-mels and their reconstructions; draws some of them."""
        mel = self.mels.to(device)
        rebuilt = model.decode(model.posterior(mel).mode())
        mel_sheet([mel[:SHOWN, 0].cpu(), rebuilt[:SHOWN, 0].cpu()], sheet)
        distance = float((rebuilt - mel).abs().mean()) * model.settings.mel_scale
        return f"held-out log-mel distance {distance:.4f}"


def reconstruction_loss(rebuilt: torch.Tensor, mel: torch.Tensor) -> torch.Tensor:
    """Mean |difference|, and half of that of the differences between neighbouring pixels."""
    loss = (rebuilt - mel).abs().mean()
    for axis in (2, 3):
        loss = loss + 0.25 * (rebuilt.diff(dim=axis) - mel.diff(dim=axis)).abs().mean()
    return loss


def normalised(mels: npt.NDArray[Any], settings: SoundSettings) -> torch.Tensor:
    """(B, 1, N_MELS, frames), near zero mean and unit variance."""
    return (
        torch.from_numpy(mels.astype(np.float32))[:, None] - settings.mel_mean
    ) / settings.mel_scale


@torch.no_grad()
def encode_all(model: MelAutoencoder, mels: npt.NDArray[np.float16], device: str) -> torch.Tensor:
    """Posterior means (N, C, H, W) of log-mels."""
    parts = []
    for start in told(range(0, len(mels), 32), "encoding into latents"):
        batch = normalised(mels[start : start + 32], model.settings)
        parts.append(model.posterior(batch.to(device)).mode().cpu())
    return torch.cat(parts)


def train_flow(args: argparse.Namespace, train: Sounds, held: Sounds) -> None:
    """Rectified flow: the mean squared error of the velocity noise - data."""
    autoencoder = stored_autoencoder(args).eval()
    model = LatentFlow(autoencoder.settings.flow)
    if starts_from_stored(args):
        load_weights(model, WEIGHTS / "audio_flow.safetensors")
    model.to(args.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate, weight_decay=0.01)
    encode = partial(encode_all, autoencoder, device=args.device)
    learn, known = (
        SoundMemories(encode, autoencoder.settings, each, args.seed, empty=args.without_memory)
        for each in (train, held)
    )
    checked = HeldOutFlow(autoencoder, known.draw(np.random.default_rng(1), CHECKED, whole=True))

    def update(_: int, random: np.random.Generator) -> dict[str, float]:
        batch = learn.draw(random, FLOW_BATCH)
        with mixed_precision(args.device):
            loss = flow_loss(model, *(part.to(args.device) for part in batch))
        return {"loss": descend(loss, model, optimizer)}

    def epoch_ends(step: int) -> str:
        save_weights(model, args.weights / "audio_flow.safetensors")
        return checked.measure(model, args.device, args.runs / f"flow-{step}.png")

    plan = plan_of(args, args.flow_steps, args.learning_rate)
    run_epochs(plan, args.runs / "flow.pt", model, optimizer, update, epoch_ends)


@dataclass(frozen=True)
class HeldOutFlow:
    """Validation sounds with what is remembered of others."""

    autoencoder: MelAutoencoder
    batch: Drawn

    @torch.no_grad()
    def measure(self, model: LatentFlow, device: str, sheet: Path) -> str:
        """The velocity's error, and how much of what is drawn from noise alone the query decides.

        Draws log-mels: the sounds, what is remembered, and what is made at creativity .3 and 1.
        """
        batch = [part.to(device) for part in self.batch]
        with torch.random.fork_rng():
            torch.manual_seed(0)  # the same noise and times after every epoch
            error = float(flow_loss(model, *batch))
            latents, vectors, shares, memory = (part[:SHOWN] for part in batch)
            remembered = memory[:, :-1]
            noise = torch.randn((SHOWN, *latents.shape[1:]), device=device)
            tokens = model.tokens(vectors, shares)
            rows = [latents, remembered]
            for level in (0.3, 1.0):
                start = (1 - level) * remembered + level * noise
                rows.append(led_back(model, start, tokens, memory, level))
            one = noise[:1].expand_as(noise)
            asked = led_back(model, one, tokens, memory, 1.0).var(0).mean()
            seeds = led_back(
                model, noise, tokens[:1].expand_as(tokens), memory[:1].expand_as(memory), 1.0
            )
        self._draw(rows, sheet)
        share = float(asked / (asked + seeds.var(0).mean()))
        return f"held-out {error:.4f}, share of the query at creativity 1 {share:.2f}"

    def _draw(self, rows: Sequence[torch.Tensor], sheet: Path) -> None:
        settings = self.autoencoder.settings
        mean, scale = (
            torch.tensor(values, device=rows[0].device)[None, :, None, None]
            for values in (settings.latent_mean, settings.latent_scale)
        )
        mel_sheet([self.autoencoder.decode(row * scale + mean)[:, 0].cpu() for row in rows], sheet)


if __name__ == "__main__":
    main()
