"""Sounds from memory: a variational autoencoder of log-mels, and a generator over its latents.

Creativity 0 decodes the latents of the sound that matches best. Above, these are noised and then
led back by a small rectified-flow network (Liu et al. 2022; SDEdit, Meng et al. 2021) conditioned
on the fused vector, the query, the neighbours' vectors and those latents; creativity 1 starts from
noise alone. Of several candidates, some start from other sounds that match nearly as well.
Knows nothing about encoders (but their log-mel front end) and storage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from encoders.base import Modality, Waveform
from encoders.log_mel import FLOOR, HOP, N_MELS, SAMPLE_RATE, log_mel, resample
from generator.base import Condition, Generated, Generator, Neighbour, require_creativity
from generator.checkpoint import loaded
from generator.latent_flow import (
    FlowSettings,
    LatentFlow,
    noise_for,
    per_channel,
    sample_each,
    steps_for,
)
from generator.networks import open_networks
from generator.phase import griffin_lim, magnitude_from_log_mel
from generator.weight_files import FILES, NAMES, fingerprint, read_settings

Floats = npt.NDArray[np.float32]
FEW_STEPS = 4  # of the flow: more candidates are made where these are enough
MIN_DURATION_S = 1.0  # shorter sounds are kept up to here, silence included
AUDIBLE = 0.02  # of the peak: what is below at the end of a sound is silence


@dataclass(frozen=True)
class SoundSettings:
    """Sizes of both networks, and the scale of what they see."""

    frames: int = 128  # of 16 ms: 2.05 s; what is trained on, and the least that is made
    most_frames: int = 256  # a longer sound is remembered up to here: 4.1 s
    unshuffle: int = 4  # mel pixels per side that become channels
    autoencoder_channels: tuple[int, ...] = (48, 96)
    latent_channels: int = 8
    flow_channels: tuple[int, ...] = (64, 96)
    flow_steps: int = 8
    guidance: float = 2.0
    lead_until: float = 0.0  # as `guidance`, of `FlowSettings`
    mel_mean: float = -5.0
    mel_scale: float = 4.0
    latent_mean: tuple[float, ...] = ()  # per channel, measured after training
    latent_scale: tuple[float, ...] = ()
    space_id: str = "bundled"

    @property
    def side(self) -> int:
        """Mel pixels per side of a latent."""
        return self.unshuffle << (len(self.autoencoder_channels) - 1)

    @property
    def step(self) -> int:
        """Frames by which a sound can be longer: the flow halves its columns, too."""
        return self.side << (len(self.flow_channels) - 1)

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of the latents of the least that is made."""
        return N_MELS // self.side, self.frames // self.side

    @property
    def flow(self) -> FlowSettings:
        return FlowSettings(
            grid=self.grid,
            latent_channels=self.latent_channels,
            channels=self.flow_channels,
            steps=self.flow_steps,
            guidance=self.guidance,
            lead_until=self.lead_until,
        )


class MelAutoencoder(nn.Module):
    """diffusers' `AutoencoderKL` behind `pixel_unshuffle`; mels are (B, 1, N_MELS, frames)."""

    def __init__(self, settings: SoundSettings) -> None:
        from generator.diffusers_import import AutoencoderKL

        super().__init__()
        self.settings = settings
        channels = settings.autoencoder_channels
        self.vae = AutoencoderKL(
            in_channels=settings.unshuffle**2,
            out_channels=settings.unshuffle**2,
            down_block_types=("DownEncoderBlock2D",) * len(channels),
            up_block_types=("UpDecoderBlock2D",) * len(channels),
            block_out_channels=channels,
            layers_per_block=1,
            latent_channels=settings.latent_channels,
            norm_num_groups=16,
            mid_block_add_attention=False,
        )

    def posterior(self, mel: torch.Tensor) -> Any:
        """diffusers' diagonal Gaussian over latents of normalised mels."""
        return self.vae.encode(F.pixel_unshuffle(mel, self.settings.unshuffle)).latent_dist

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Normalised mels (B, 1, N_MELS, frames) of latents (B, C, H, W)."""
        return F.pixel_shuffle(self.vae.decode(latents).sample, self.settings.unshuffle)


def audible(sound: Waveform) -> Floats:
    """Samples at 16 kHz from where the sound becomes audible, scaled to a peak of 1."""
    samples = resample(sound)
    peak = float(np.abs(samples).max(initial=0.0))
    samples = samples / peak if peak > 1e-4 else samples
    loud = np.flatnonzero(np.abs(samples) > 0.05)
    return samples[max(0, int(loud[0]) - HOP) if len(loud) else 0 :]


def frames_for(sounds: Sequence[Floats], settings: SoundSettings) -> int:
    """Frames that the longest of audible sounds takes, in steps of what the networks can make."""
    ends = [np.flatnonzero(np.abs(samples) > AUDIBLE) for samples in sounds]
    longest = max((int(loud[-1]) for loud in ends if len(loud)), default=0)
    wanted = -(-longest // (HOP * settings.step)) * settings.step
    return min(max(wanted, settings.frames), settings.most_frames)


def mel_of(samples: Floats, frames: int) -> Floats:
    """Log-mel (N_MELS, frames); shorter sounds are followed by silence."""
    cut = samples[: frames * HOP]
    return log_mel(np.pad(cut, (0, frames * HOP - len(cut))))[:, :frames]


def mel_window(sound: Waveform, settings: SoundSettings) -> Floats:
    """Log-mel (N_MELS, frames) of the audible beginning of a sound, as it is trained on."""
    return mel_of(audible(sound), settings.frames)


class SoundGenerator(Generator):
    """Makes one to four seconds of sound from a condition, as long as what is remembered."""

    modality: ClassVar[Modality] = "audio"
    latent: ClassVar[bool] = True

    def __init__(self, weights_dir: Path, runtime: str = "openvino", threads: int = 1) -> None:
        """`threads`: numeric ones of a call of OpenVINO; torch has its own setting."""
        files = [weights_dir / name for name in FILES["audio"]]
        self.settings = load_settings(files[0])
        self._files = files
        self._networks = open_networks(
            weights_dir,
            self.modality,
            self.settings.flow,
            lambda: (self.autoencoder, self.flow),
            runtime=runtime,
            threads=threads,
        )
        self.name = NAMES["audio"]
        self.space_id = self.settings.space_id
        self.fingerprint = fingerprint(*files)

    @cached_property
    def autoencoder(self) -> MelAutoencoder:
        """The torch module, loaded when it is first asked for."""
        return loaded(MelAutoencoder(self.settings), self._files[1])

    @cached_property
    def flow(self) -> LatentFlow:
        """As `autoencoder`."""
        return loaded(LatentFlow(self.settings.flow), self._files[2])

    def generate(self, condition: Condition, *, seed: int, creativity: float) -> Generated:
        """A 16 kHz `Waveform` of 1 to 4.1 s with a peak of 0.9.

        Without a remembered sound it is drawn from the learned prior at any creativity, and has at
        most 2.05 s.
        `details`: the id of the sound that it starts from, the noise that was added, the steps.
        """
        return self.generate_each([condition], seeds=[seed], creativity=creativity)[0]

    def usual_candidates(self, creativity: float) -> int:
        return 2 if steps_for(self.settings.flow, creativity) <= FEW_STEPS else 1

    def generate_each(
        self, conditions: Sequence[Condition], *, seeds: Sequence[int], creativity: float
    ) -> list[Generated]:
        """Each start is read once, and the flow leads those of one length together."""
        require_creativity(creativity)
        heard = [each.ranked("audio") for each in conditions]
        first = {sounds[0].id: sounds[0].media for sounds in heard if sounds}
        encoded = {id: self._remembered(media) for id, media in first.items()}
        memories = [[encoded[sounds[0].id]] if sounds else [] for sounds in heard]
        latents = sample_each(self._networks.flow, conditions, memories, creativity, seeds)
        return [
            self._generated(each, sounds, noise_for(creativity, sounds), seed)
            for each, sounds, seed in zip(latents, heard, seeds, strict=True)
        ]

    def _generated(
        self, latents: torch.Tensor, sounds: Sequence[Neighbour], noise: float, seed: int
    ) -> Generated:
        samples = griffin_lim(magnitude_from_log_mel(self.decode(latents)), seed=seed)
        return Generated(
            media=Waveform(finish(samples), SAMPLE_RATE),
            details={
                "starts_from": sounds[0].id if sounds else None,
                "read_memories": [sound.id for sound in sounds[:1]],
                "noise": noise,
                "flow_steps": steps_for(self.settings.flow, noise),
                "runtime": self._networks.runtime,
                "precision": self._networks.precision,
                "phase": "griffin-lim, 32 iterations, momentum 0.99",
            },
        )

    def recode(self, media: Sequence[Waveform]) -> Waveform:
        known = [audible(each) for each in media]
        frames = frames_for(known, self.settings)
        latents = torch.stack([self.encode(mel_of(each, frames)) for each in known]).mean(0)
        samples = griffin_lim(magnitude_from_log_mel(self.decode(latents)))
        return Waveform(finish(samples), SAMPLE_RATE)

    @torch.inference_mode()
    def encode(self, mel: Floats) -> torch.Tensor:
        """Standardised latents (1, C, H, W) of a log-mel (N_MELS, frames)."""
        scaled = (torch.from_numpy(mel) - self.settings.mel_mean) / self.settings.mel_scale
        mode: torch.Tensor = self._networks.encode(scaled[None, None])
        return (mode - per_channel(self.settings.latent_mean)) / per_channel(
            self.settings.latent_scale
        )

    @torch.inference_mode()
    def decode(self, latents: torch.Tensor) -> Floats:
        """Log-mel (N_MELS, frames) of standardised latents (1, C, H, W)."""
        raw = latents * per_channel(self.settings.latent_scale) + per_channel(
            self.settings.latent_mean
        )
        mel = self._networks.decode(raw)[0, 0] * self.settings.mel_scale + self.settings.mel_mean
        return np.asarray(mel.clamp(float(np.log(FLOOR)), 6.0).numpy(), np.float32)

    def _remembered(self, sound: Waveform) -> torch.Tensor:
        """Latents (1, C, H, W), as long as the sound is heard."""
        samples = audible(sound)
        return self.encode(mel_of(samples, frames_for([samples], self.settings)))


def finish(samples: Floats) -> Floats:
    """Cut the silent tail (not below a second), fade out over 20 ms, scale to a peak of 0.9."""
    peak = float(np.abs(samples).max(initial=0.0))
    if peak < 1e-6:
        return samples
    loud = np.flatnonzero(np.abs(samples) > 0.01 * peak)
    end = max(int(loud[-1]) + SAMPLE_RATE // 20, int(MIN_DURATION_S * SAMPLE_RATE))
    kept = samples[:end] * np.float32(0.9 / peak)
    fade = min(SAMPLE_RATE // 50, len(kept))
    kept[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    return kept


def load_settings(path: Path) -> SoundSettings:
    """Settings from JSON; lists become tuples."""
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in read_settings(path).items()
    }
    return SoundSettings(**values)
