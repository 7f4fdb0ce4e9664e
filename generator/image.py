"""Pictures from memory: a variational autoencoder of 64x64 pictures, and a flow over its latents.

Creativity 0 decodes the latents of the heaviest remembered picture; above, they are noised and led
back by a rectified flow that sees the fused vector, the query and all the neighbours; 1 starts
from noise alone. Of several candidates, some start from other pictures that match nearly as well.
Knows nothing about encoders and storage.
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
from PIL import Image
from torch import nn

from encoders.base import Modality
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
from generator.weight_files import FILES, NAMES, fingerprint, read_settings

Bytes = npt.NDArray[np.uint8]
FEW_STEPS = 4  # of the flow: more candidates are made where these are enough


@dataclass(frozen=True)
class PictureSettings:
    """Sizes of both networks, and the scale of the latents."""

    side_px: int = 64
    unshuffle: int = 2  # pixels per side that become channels
    autoencoder_channels: tuple[int, ...] = (32, 64, 128)
    latent_channels: int = 8
    patches: bool = False  # whether latents also carry each patch's principal components
    flow_channels: tuple[int, ...] = (96, 160)
    token_width: int = 128
    dimension: int = 384
    neighbours: int = 4
    memory_slots: int = 3
    flow_steps: int = 8
    guidance: float = 2.5
    lead_until: float = 0.0  # as `guidance`, of `FlowSettings`
    latent_mean: tuple[float, ...] = ()  # per channel, measured after training
    latent_scale: tuple[float, ...] = ()
    latent_spread: tuple[float, ...] = ()  # `FlowSettings.spread`
    space_id: str = "bundled"

    @property
    def flow(self) -> FlowSettings:
        side = self.side_px // (self.unshuffle * 2 ** (len(self.autoencoder_channels) - 1))
        return FlowSettings(
            grid=(side, side),
            latent_channels=self.latent_channels,
            channels=self.flow_channels,
            token_width=self.token_width,
            dimension=self.dimension,
            neighbours=self.neighbours,
            slots=self.memory_slots,
            steps=self.flow_steps,
            guidance=self.guidance,
            lead_until=self.lead_until,
            spread=self.latent_spread,
        )


class PictureAutoencoder(nn.Module):
    """diffusers' `AutoencoderKL` behind `pixel_unshuffle`; pictures are (B, 3, S, S) in [-1, 1].

    Latents also carry what a linear map says of each patch of the picture, and decoding starts
    from it (a residual autoencoder, after Chen et al. 2024, DC-AE): the networks learn what is
    lacking. With `patches`, it is the patch's principal components, of unit variance each; else its
    mean colour, in the first three channels.
    """

    analysis: torch.Tensor  # (C, 3, P, P): what each channel reads of a patch
    synthesis: torch.Tensor  # (C, 3, P, P): what it adds to it

    def __init__(self, settings: PictureSettings) -> None:
        from generator.diffusers_import import AutoencoderKL

        super().__init__()
        self.settings = settings
        channels = settings.autoencoder_channels
        self.vae = AutoencoderKL(
            in_channels=3 * settings.unshuffle**2,
            out_channels=3 * settings.unshuffle**2,
            down_block_types=("DownEncoderBlock2D",) * len(channels),
            up_block_types=("UpDecoderBlock2D",) * len(channels),
            block_out_channels=channels,
            layers_per_block=1,
            latent_channels=settings.latent_channels,
            norm_num_groups=16,
            mid_block_add_attention=False,
        )
        if settings.patches:
            patch = settings.side_px // settings.flow.grid[0]
            for name in ("analysis", "synthesis"):
                empty = torch.zeros(settings.latent_channels, 3, patch, patch)
                self.register_buffer(name, empty)

    def posterior(self, pictures: torch.Tensor) -> Any:
        """diffusers' diagonal Gaussian over latents (B, C, H, W)."""
        from generator.diffusers_import import DiagonalGaussianDistribution

        moments = self.vae.encode(
            F.pixel_unshuffle(pictures, self.settings.unshuffle)
        ).latent_dist.parameters
        # (B, 2C, H, W): means, then logarithms of variances
        skipped = torch.zeros_like(moments)
        if self.settings.patches:
            patch = self.analysis.shape[-1]
            skipped[:, : len(self.analysis)] = F.conv2d(pictures, self.analysis, stride=patch)
        else:
            skipped[:, :3] = F.adaptive_avg_pool2d(pictures, self.settings.flow.grid)
        return DiagonalGaussianDistribution(moments + skipped)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Pictures (B, 3, S, S), about [-1, 1], of latents (B, C, H, W)."""
        detail = F.pixel_shuffle(self.vae.decode(latents).sample, self.settings.unshuffle)
        if self.settings.patches:
            patch = self.synthesis.shape[-1]
            return detail + F.conv_transpose2d(latents, self.synthesis, stride=patch)
        side = self.settings.side_px
        return detail + F.interpolate(latents[:, :3], (side, side), mode="bilinear")


def square(image: Image.Image, side_px: int) -> Bytes:
    """(S, S, 3) uint8: the whole picture on white, centred, proportions kept."""
    picture = image.convert("RGBA")
    picture.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    if max(picture.size) < side_px:  # thumbnail only shrinks
        scale = side_px / max(picture.size)
        size = [max(1, round(length * scale)) for length in picture.size]
        picture = picture.resize((size[0], size[1]), Image.Resampling.BICUBIC)
    canvas = Image.new("RGBA", (side_px, side_px), "white")
    corner = ((side_px - picture.width) // 2, (side_px - picture.height) // 2)
    canvas.alpha_composite(picture, corner)
    return np.asarray(canvas.convert("RGB"), np.uint8)


def to_tensor(pictures: Bytes) -> torch.Tensor:
    """(B, S, S, 3) uint8 -> (B, 3, S, S) float32 in [-1, 1]."""
    return torch.from_numpy(pictures.copy()).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_bytes(pictures: torch.Tensor) -> Bytes:
    """(B, 3, S, S) -> (B, S, S, 3) uint8."""
    scaled = (pictures.detach().float().clamp(-1, 1) + 1) * 127.5
    return np.asarray(scaled.round().byte().permute(0, 2, 3, 1).cpu().numpy(), np.uint8)


class PictureGenerator(Generator):
    """Makes a 64x64 RGB picture from a condition."""

    modality: ClassVar[Modality] = "image"
    latent: ClassVar[bool] = True

    def __init__(self, weights_dir: Path, runtime: str = "openvino", threads: int = 1) -> None:
        """`threads`: numeric ones of a call of OpenVINO; torch has its own setting."""
        files = [weights_dir / name for name in FILES["image"]]
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
        self.name = NAMES["image"]
        self.space_id = self.settings.space_id
        self.fingerprint = fingerprint(*files)

    @cached_property
    def autoencoder(self) -> PictureAutoencoder:
        """The torch module, loaded when it is first asked for."""
        return loaded(PictureAutoencoder(self.settings), self._files[1])

    @cached_property
    def flow(self) -> LatentFlow:
        """As `autoencoder`."""
        return loaded(LatentFlow(self.settings.flow), self._files[2])

    def generate(self, condition: Condition, *, seed: int, creativity: float) -> Generated:
        """A `PIL.Image.Image` RGB of 64x64 px.

        Without a remembered picture it is drawn from the learned prior at any creativity.
        `details`: ids of the pictures that were read and of the one that it starts from, the noise
        added, the steps.
        """
        return self.generate_each([condition], seeds=[seed], creativity=creativity)[0]

    def usual_candidates(self, creativity: float) -> int:
        return 8 if steps_for(self.settings.flow, creativity) <= FEW_STEPS else 4

    def generate_each(
        self, conditions: Sequence[Condition], *, seeds: Sequence[int], creativity: float
    ) -> list[Generated]:
        """Each remembered picture is encoded once, and the flow leads all back together."""
        require_creativity(creativity)
        seen = [each.ranked("image")[: self.settings.memory_slots] for each in conditions]
        known = {picture.id: picture.media for pictures in seen for picture in pictures}
        encoded = {id: self.encode(media) for id, media in known.items()}
        memories = [[encoded[picture.id] for picture in pictures] for pictures in seen]
        latents = sample_each(self._networks.flow, conditions, memories, creativity, seeds)
        return [
            self._generated(each, pictures, noise_for(creativity, pictures))
            for each, pictures in zip(latents, seen, strict=True)
        ]

    def _generated(
        self, latents: torch.Tensor, seen: Sequence[Neighbour], noise: float
    ) -> Generated:
        return Generated(
            media=Image.fromarray(self.decode(latents)),
            details={
                "starts_from": seen[0].id if seen else None,
                "read_memories": [picture.id for picture in seen],
                "noise": noise,
                "flow_steps": steps_for(self.settings.flow, noise),
                "runtime": self._networks.runtime,
                "precision": self._networks.precision,
            },
        )

    def recode(self, media: Sequence[Image.Image]) -> Image.Image:
        return Image.fromarray(self.decode(torch.stack([self.encode(m) for m in media]).mean(0)))

    @torch.inference_mode()
    def encode(self, image: Image.Image) -> torch.Tensor:
        """Standardised latents (1, C, H, W) of a picture."""
        pixels = to_tensor(square(image, self.settings.side_px)[None])
        mode: torch.Tensor = self._networks.encode(pixels)
        mean, scale = self.settings.latent_mean, self.settings.latent_scale
        return (mode - per_channel(mean)) / per_channel(scale)

    @torch.inference_mode()
    def decode(self, latents: torch.Tensor) -> Bytes:
        """(S, S, 3) uint8 of standardised latents (1, C, H, W)."""
        mean, scale = self.settings.latent_mean, self.settings.latent_scale
        raw = latents * per_channel(scale) + per_channel(mean)
        picture: Bytes = to_bytes(self._networks.decode(raw))[0]
        return picture


def load_settings(path: Path) -> PictureSettings:
    """Settings from JSON; lists become tuples."""
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in read_settings(path).items()
    }
    return PictureSettings(**values)
