"""Train the sound generator: `python -m generator.training.train audio`.

First the mel autoencoder (`--part vae`), then on its latents the flow (`--part flow`). The
autoencoder's decoder alone can be trained on later (`--part decoder`): the latents stay as they
are, so the flow stays valid. Seeded and resumable; prints the losses of every epoch beside those
of the validation split.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from encoders.training.precision import mixed_precision
from generator.audio import MelAutoencoder, SoundSettings, load_settings
from generator.checkpoint import load_weights, save_weights
from generator.latent_flow import LatentFlow, flow_loss
from generator.training.arguments import training_parser
from generator.training.sounds import (
    Sounds,
    augment,
    load_sounds,
    mixture,
    remember,
    similar_sounds,
)
from generator.training.text import schedule, text_encoder

VARIANTS = 2  # memories drawn for each sound, their mixtures encoded once


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = training_parser("audio", __doc__, learning_rate=1e-3, epoch_steps=100)
    parser.add_argument("--part", choices=("all", "vae", "decoder", "flow"), default="all")
    parser.add_argument("--vae-steps", type=int, default=600)
    parser.add_argument("--decoder-steps", type=int, default=600)
    parser.add_argument("--flow-steps", type=int, default=500)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Train the parts asked for, and write weights and settings."""
    args = parse(argv)
    torch.manual_seed(args.seed)
    args.runs.mkdir(parents=True, exist_ok=True)
    settings = SoundSettings()
    encode = text_encoder()
    train = load_sounds(args.collection, "train", settings, args.cache, encode)
    held = load_sounds(args.collection, "validation", settings, args.cache, encode)
    print(f"{len(train)} sounds to train on, {len(held)} for validation", flush=True)
    if args.part in ("all", "vae"):
        train_autoencoder(args, settings, train, held)
    if args.part == "decoder":
        train_decoder(args, load_settings(args.weights / "audio.json"), train, held)
    if args.part in ("all", "flow"):
        train_flow(args, load_settings(args.weights / "audio.json"), train, held)


def run_epochs(
    args: argparse.Namespace,
    name: str,
    module: nn.Module,
    steps: int,
    loss_of: Callable[[int], torch.Tensor],
    validate: Callable[[], float],
) -> None:
    """AdamW with warm-up and cosine; a checkpoint and a line per epoch."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=args.learning_rate, weight_decay=0.01)
    path, step = args.runs / f"{name}.pt", 0
    if args.resume and path.is_file():
        state = torch.load(path, weights_only=True, map_location="cpu")
        module.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step = int(state["step"])
    while step < steps:
        module.train()
        start, total, count = time.monotonic(), 0.0, 0
        while count < args.epoch_steps and step < steps:
            for group in optimizer.param_groups:
                group["lr"] = args.learning_rate * schedule(step, steps, warm_up=100)
            optimizer.zero_grad(set_to_none=True)
            with mixed_precision(args.device):
                loss = loss_of(step)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()
            total, count, step = total + loss.item(), count + 1, step + 1
        module.eval()
        seconds = time.monotonic() - start
        print(
            f"{name} step {step}/{steps} loss {total / count:.4f} "
            f"validation {validate():.4f} {seconds:.0f} s",
            flush=True,
        )
        state = {"step": step, "model": module.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save(state, path)


def train_autoencoder(
    args: argparse.Namespace, settings: SoundSettings, train: Sounds, held: Sounds
) -> None:
    """L1 on the mel and on its slopes in time and pitch, and a small KL."""
    model = MelAutoencoder(settings).to(args.device)
    batches = mel_batches(train, settings, args)

    def loss_of(_: int) -> torch.Tensor:
        mel = next(batches)
        posterior = model.posterior(mel)
        kl: torch.Tensor = posterior.kl().mean() / settings.latent_channels
        return reconstruction_loss(model.decode(posterior.sample()), mel) + 2e-5 * kl

    validate = partial(log_mel_distance, model, held, args.device)
    run_epochs(args, "vae", model, args.vae_steps, loss_of, validate)
    model.eval()
    latents = encode_all(model, train.mels[:: max(1, len(train) // 800)], args.device)
    settings = replace(
        settings,
        latent_mean=tuple(round(float(v), 4) for v in latents.mean((0, 2, 3))),
        latent_scale=tuple(round(float(v), 4) for v in latents.std((0, 2, 3))),
    )
    save_weights(model, args.weights / "audio_vae.safetensors")
    text = json.dumps(asdict(settings), indent=1)
    (args.weights / "audio.json").write_text(text + "\n", "utf-8")


def train_decoder(
    args: argparse.Namespace, settings: SoundSettings, train: Sounds, held: Sounds
) -> None:
    """The same loss on the frozen encoder's latents."""
    model = MelAutoencoder(settings).to(args.device)
    load_weights(model, args.weights / "audio_vae.safetensors")
    for part in (model.vae.encoder, model.vae.quant_conv):
        part.requires_grad_(False)
    batches = mel_batches(train, settings, args)

    def loss_of(_: int) -> torch.Tensor:
        mel = next(batches)
        with torch.no_grad():
            latents = model.posterior(mel).sample()
        return reconstruction_loss(model.decode(latents), mel)

    validate = partial(log_mel_distance, model, held, args.device)
    run_epochs(args, "decoder", model, args.decoder_steps, loss_of, validate)
    save_weights(model, args.weights / "audio_vae.safetensors")


def mel_batches(
    sounds: Sounds, settings: SoundSettings, args: argparse.Namespace
) -> Iterator[torch.Tensor]:
    """Endless (16, 1, N_MELS, frames) of augmented sounds."""
    random = np.random.default_rng(args.seed)
    while True:
        rows = random.choice(len(sounds), (2, 16), p=sounds.rates)
        pairs = zip(sounds.mels[rows[0]], sounds.mels[rows[1]], strict=True)
        mels = [augment(a.astype(np.float32), b.astype(np.float32), random) for a, b in pairs]
        yield normalised(np.stack(mels), settings).to(args.device)


@torch.no_grad()
def log_mel_distance(model: MelAutoencoder, held: Sounds, device: str) -> float:
    """Mean |difference| of held-out log-mels and their reconstructions."""
    settings = model.settings
    mel = normalised(held.mels[:: max(1, len(held) // 128)].astype(np.float32), settings)
    mel = mel.to(device)
    rebuilt = model.decode(model.posterior(mel).mode())
    return float((rebuilt - mel).abs().mean()) * settings.mel_scale


def reconstruction_loss(rebuilt: torch.Tensor, mel: torch.Tensor) -> torch.Tensor:
    """Mean |difference|, and half of that of the differences between neighbouring pixels."""
    loss = (rebuilt - mel).abs().mean()
    for axis in (2, 3):
        loss = loss + 0.25 * (rebuilt.diff(dim=axis) - mel.diff(dim=axis)).abs().mean()
    return loss


def normalised(mels: npt.NDArray[np.float32], settings: SoundSettings) -> torch.Tensor:
    """(B, 1, N_MELS, frames), near zero mean and unit variance."""
    return (torch.from_numpy(mels)[:, None] - settings.mel_mean) / settings.mel_scale


@torch.no_grad()
def encode_all(model: MelAutoencoder, mels: npt.NDArray[np.float16], device: str) -> torch.Tensor:
    """Posterior means (N, C, H, W) of log-mels."""
    parts = []
    for start in range(0, len(mels), 32):
        batch = normalised(mels[start : start + 32].astype(np.float32), model.settings)
        parts.append(model.posterior(batch.to(device)).mode().cpu())
    return torch.cat(parts)


def train_flow(
    args: argparse.Namespace, settings: SoundSettings, train: Sounds, held: Sounds
) -> None:
    """Rectified flow: the mean squared error of the velocity noise - data."""
    autoencoder = MelAutoencoder(settings).to(args.device).eval()
    load_weights(autoencoder, args.weights / "audio_vae.safetensors")
    model = LatentFlow(settings.flow).to(args.device)
    learn = memory_batches(autoencoder, train, args, 48)
    random = torch.Generator().manual_seed(args.seed + 1)
    check = next(memory_batches(autoencoder, held, args, 256, variants=1))

    def loss_of(_: int) -> torch.Tensor:
        latents, memory, vectors, shares = next(learn)
        # Dropped independently: the memory's latents, and everything at once for guidance.
        no_memory = torch.rand(len(latents), generator=random) < 0.15
        nothing = torch.rand(len(latents), generator=random) < 0.12
        memory = memory * ~(no_memory | nothing)[:, None, None, None].to(args.device)
        vectors = vectors * ~nothing[:, None, None].to(args.device)
        return flow_loss(model, latents, vectors, shares, memory)

    @torch.no_grad()
    def validate() -> float:
        latents, memory, vectors, shares = check
        with torch.random.fork_rng():
            torch.manual_seed(0)  # the same noise after every epoch
            return float(flow_loss(model, latents, vectors, shares, memory))

    run_epochs(args, "flow", model, args.flow_steps, loss_of, validate)
    save_weights(model, args.weights / "audio_flow.safetensors")


def memory_batches(
    autoencoder: MelAutoencoder,
    sounds: Sounds,
    args: argparse.Namespace,
    size: int,
    variants: int = VARIANTS,
) -> Iterator[tuple[torch.Tensor, ...]]:
    """Endless (latents, memory channels, vectors, shares); mixtures are encoded once."""
    settings = autoencoder.settings
    random = np.random.default_rng(args.seed)
    similar = similar_sounds(sounds, min(12, len(sounds) - 1), args.seed)
    memories = [
        [remember(row, sounds, similar, settings.flow.neighbours, random) for _ in range(variants)]
        for row in range(len(sounds))
    ]
    mean, scale = (
        torch.tensor(v)[None, :, None, None] for v in (settings.latent_mean, settings.latent_scale)
    )
    latents = (encode_all(autoencoder, sounds.mels, args.device) - mean) / scale
    known: list[torch.Tensor] = []
    for variant in range(variants):
        mels = [
            mixture(sounds.mels, m[variant].rows, m[variant].shares[2:].tolist())
            if m[variant].rows
            else np.zeros(sounds.mels.shape[1:], np.float32)
            for m in memories
        ]
        encoded = encode_all(autoencoder, np.stack(mels).astype(np.float16), args.device)
        standard = torch.cat([(encoded - mean) / scale, torch.ones_like(encoded[:, :1])], 1)
        present = torch.tensor([bool(m[variant].rows) for m in memories])
        known.append(standard * present[:, None, None, None])
    while True:
        rows = random.choice(len(sounds), size, p=sounds.rates)
        picks = random.integers(variants, size=size)
        drawn = [memories[row][pick] for row, pick in zip(rows, picks, strict=True)]
        yield (
            latents[rows].to(args.device),
            torch.stack([known[p][r] for r, p in zip(rows, picks, strict=True)]).to(args.device),
            torch.from_numpy(np.stack([m.vectors for m in drawn])).to(args.device),
            torch.from_numpy(np.stack([m.shares for m in drawn])).to(args.device),
        )


if __name__ == "__main__":
    main()
