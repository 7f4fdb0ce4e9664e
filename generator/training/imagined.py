"""How good a picture flow is while it learns: pictures of held-out concepts, made from their
nearest memories, and whether it is the query that sets them or the seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from encoders.base import Vectors
from encoders.bundled import text_and_image
from encoders.openclip import OpenClipImageEncoder
from encoders.training.contrastive import one_per_concept, recall_at_k, same_concept
from encoders.training.data import Item
from generator.image import Bytes, PictureAutoencoder, to_bytes
from generator.latent_flow import LatentFlow, led_back
from generator.training.image_data import FlowBatch, FlowData

QUERIES = 48
SEEDS = 2
COLUMNS = 16  # of the sheet
SHOWN = 0.3  # creativity of a row of the sheet


@dataclass(frozen=True)
class Imagined:
    """Captions of the validation split that ask, and what each is to find."""

    known: FlowBatch
    pictures: Bytes  # (Q, S, S, 3), the real ones
    nearest: Bytes  # (Q, S, S, 3), the best memory
    names: Vectors  # (C, D)
    relevant: npt.NDArray[np.bool_]  # (Q, C)
    image: OpenClipImageEncoder
    autoencoder: PictureAutoencoder
    data: FlowData

    @classmethod
    def of(
        cls, data: FlowData, items: list[Item], pictures: Bytes, autoencoder: PictureAutoencoder
    ) -> Imagined:
        """Rows as they are drawn for the loss: of small sources more often than their share."""
        rates = data.rates["validation"]
        count = min(QUERIES, int((rates > 0).sum()))
        rows = np.random.default_rng(0).choice(len(rates), count, replace=False, p=rates)
        held_out = [item for item, rate in zip(items, rates, strict=True) if rate > 0]
        asked = one_per_concept(held_out)
        text, image = text_and_image()
        near = data.near[0][rows, : data.neighbours]
        parts = [data.given(data.captions[r], n, True) for r, n in zip(rows, near, strict=True)]
        vectors, shares, memory = (
            torch.from_numpy(np.stack(each)) for each in zip(*parts, strict=True)
        )
        return cls(
            (data.latents[0, rows], vectors, shares, memory.flatten(1, 2)),
            pictures[rows],
            pictures[near[:, 0]],
            text.encode([item.caption for item in asked]),
            same_concept([items[row] for row in rows], asked),
            image,
            autoencoder,
            data,
        )

    def measure(self, flow: LatentFlow, sheet: Path) -> str:
        """At creativity 1: how often the caption is found, and the queries' share of the variance
        of vectors, against that of the seed.
        """
        drawn = [self.made(flow, 1.0, seed) for seed in range(SEEDS)]
        rows = [self.pictures, self.nearest, self.made(flow, SHOWN, 0, COLUMNS), *drawn]
        shown = [np.concatenate(list(each[:COLUMNS]), axis=1) for each in rows]
        Image.fromarray(np.concatenate(shown)).save(sheet)
        vectors = np.stack(
            [self.image.encode([Image.fromarray(each) for each in made]) for made in drawn]
        )  # (seeds, Q, D)
        found = [recall_at_k(each, self.names, self.relevant, 10) for each in vectors]
        by_seed = vectors.var(axis=0, ddof=1).sum()
        whole = vectors.reshape(-1, vectors.shape[-1]).var(axis=0, ddof=1).sum() * vectors.shape[1]
        share = 1 - by_seed / whole
        return f"imagined R@10 {np.mean(found):.3f}, share of the query {share:.2f}"

    @torch.inference_mode()
    def made(self, flow: LatentFlow, creativity: float, seed: int, count: int = QUERIES) -> Bytes:
        """(Q, S, S, 3) of the first `count` queries."""
        _, vectors, shares, memory = (each[:count] for each in self.known)
        settings = flow.settings
        random = torch.Generator().manual_seed(seed)
        noise = torch.randn((1, settings.latent_channels, *settings.grid), generator=random)
        start = (1 - creativity) * memory[:, : settings.latent_channels] + creativity * noise
        device = next(flow.parameters()).device
        given = (each.to(device) for each in (start, vectors, shares, memory))
        start, vectors, shares, memory = given
        tokens = flow.tokens(vectors, shares)
        latents = led_back(flow, start, tokens, memory, creativity)
        shape = (1, -1, 1, 1)
        mean, scale = (each.view(shape).to(device) for each in (self.data.mean, self.data.scale))
        return to_bytes(self.autoencoder.decode(latents * scale + mean))
