"""What the picture flow is trained on: latents, vectors, and each item's remembered neighbours."""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from encoders.base import Vectors, normalize
from encoders.bundled import text_and_image
from encoders.training.contrastive import TextVectors
from encoders.training.data import Item
from encoders.training.features import is_directed
from generator.fusion import fuse
from generator.image import Bytes, PictureAutoencoder, to_tensor
from generator.training.epochs import told
from generator.training.image_autoencoder import rates_of
from generator.training.shown import bundled_towers, shown_vectors

Rows = npt.NDArray[np.int64]
# vectors (2 + N, D), shares (2 + N,), memory (S, C + 1, H, W)
Remembered = tuple[Vectors, Vectors, npt.NDArray[np.float32]]
# latents (B, C, H, W), vectors (B, 2 + N, D), shares (B, 2 + N), memory (B, S (C + 1), H, W)
FlowBatch = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]

CANDIDATES = 12
# Same-concept neighbours (another style of the same emoji) as a declared share of the draws.
SAME_CONCEPT_SHARE = 0.2
# The picture itself is remembered: what was stored is to come back.
OWN_SHARE = 0.15
ASKED_BY_TEXT = 0.6  # of the queries; the others are pictures, or both
CAPTIONED = 0.75  # of what a text recalls: the caption beside the picture
# Each is left out by itself, so that any subset of them is enough.
DROP_QUERY, DROP_FUSED, DROP_VECTORS, DROP_LATENTS = 0.1, 0.1, 0.1, 0.15
DROP_MEMORY = 0.1  # no neighbour at all: the model must also know the query alone
DROP_ALL = 0.1  # for classifier-free guidance


@dataclass(frozen=True)
class FlowData:
    """Rows are pictures; `latents` are standardised."""

    latents: torch.Tensor  # (2, N, C, H, W): as it is, and in the mirror
    captions: Vectors  # (N, D) of the captions
    pictures: Vectors  # (N, D) of the pictures
    # (N, K) other concepts' training rows, nearest first: by caption, by picture.
    near: tuple[Rows, Rows]
    same: list[Rows]  # per row, the rows of the same concept
    rates: dict[str, npt.NDArray[np.float64]]  # how often each row is drawn, by split
    turned: npt.NDArray[np.bool_]  # whether the mirror makes another thing of it
    mean: torch.Tensor
    scale: torch.Tensor
    neighbours: int = 4
    slots: int = 3
    without_memory: bool = False  # the same draws, and nothing of them is given

    def batch(self, random: np.random.Generator, size: int, split: str) -> FlowBatch:
        rates = self.rates[split]
        rows = random.choice(len(rates), size, p=rates)
        mirrored = np.where(self.turned[rows], 0, random.integers(0, 2, size))
        parts = [self.row(random, *each) for each in zip(rows, mirrored, strict=True)]
        vectors, shares, memory = (np.stack(each) for each in zip(*parts, strict=True))
        return (
            self.latents[mirrored, rows],
            torch.from_numpy(vectors),
            torch.from_numpy(shares),
            torch.from_numpy(memory).flatten(1, 2),
        )

    def row(self, random: np.random.Generator, row: int, side: int) -> Remembered:
        """What is known when the picture is to be made, some of it left out; mirrored on side 1."""
        by_text = random.random() < ASKED_BY_TEXT
        query = self.captions[row] if by_text else self.pictures[row]
        if not by_text and random.random() < 0.3:
            query = normalize((self.captions[row] + self.pictures[row])[None])[0]
        found = np.empty(0, np.int64)
        if random.random() >= DROP_MEMORY:
            found = self.remembered(random, row, by_text)
        captioned = by_text and random.random() < CAPTIONED
        vectors, shares, memory = self.given(query, found, captioned, side)
        parts = (vectors[:1], vectors[1:2], vectors[2:], memory)
        left_out = (DROP_FUSED, DROP_QUERY, DROP_VECTORS, DROP_LATENTS)
        nothing = random.random() < DROP_ALL
        for part, share in zip(parts, left_out, strict=True):
            if nothing or random.random() < share:
                part[:] = 0
        return vectors, shares, memory

    def given(self, query: Vectors, found: Rows, captioned: bool, side: int = 0) -> Remembered:
        """Vectors (2 + N, D), shares (2 + N,) and memory (S, C + 1, H, W), as in serving: where
        captions are remembered and a text asks, they come with their pictures.
        """
        if self.without_memory:
            found = found[:0]
        known = self.pictures[found]
        if captioned:
            known = np.concatenate([self.captions[found], known])
        fused, weights = fuse(query, known, "attention")
        vectors = np.zeros((2 + self.neighbours, len(query)), np.float32)
        shares = np.zeros(2 + self.neighbours, np.float32)
        heaviest = np.argsort(-weights, kind="stable")[: self.neighbours]
        vectors[0], vectors[1] = fused, query
        vectors[2 : 2 + len(heaviest)] = known[heaviest]
        shares[2 : 2 + len(heaviest)] = weights[heaviest]
        channels, *grid = self.latents.shape[2:]
        memory = np.zeros((self.slots, channels + 1, *grid), np.float32)
        # A memory is as good a match as the better of its two halves.
        matches = weights.reshape(-1, len(found)).max(axis=0) if len(found) else weights
        best = np.argsort(-matches, kind="stable")[: self.slots]
        for slot, other in enumerate(found[best]):
            memory[slot, :-1] = self.latents[0 if self.turned[other] else side, other]
            memory[slot, -1] = 1
        return vectors, shares, memory

    def remembered(self, random: np.random.Generator, row: int, by_text: bool) -> Rows:
        """1 to N of the nearest others; sometimes itself or one of the same concept among them."""
        count = self.neighbours if random.random() < 0.6 else int(random.integers(1, 4))
        found = random.choice(self.near[0 if by_text else 1][row], count, replace=False)
        drawn = random.random()
        if drawn < OWN_SHARE:
            found[0] = row
        elif len(self.same[row]) and drawn < OWN_SHARE + SAME_CONCEPT_SHARE:
            found[0] = random.choice(self.same[row])
        return found


def flow_data(
    autoencoder: PictureAutoencoder, items: list[Item], pictures: Bytes, args: argparse.Namespace
) -> FlowData:
    latents = cached_latents(autoencoder, pictures, args)
    mean = latents.mean(dim=(0, 1, 3, 4))
    scale = latents.std(dim=(0, 1, 3, 4)) / prominence(autoencoder)
    shape = (1, 1, -1, 1, 1)
    captions, vectors = embed_all(items, args)
    splits = np.array([item.split for item in items])
    concepts = [item.concept for item in items]
    rows_of: dict[str, list[int]] = {}
    for row, concept in enumerate(concepts):
        rows_of.setdefault(concept, []).append(row)
    same = [
        np.array([other for other in rows_of[concept] if other != row], dtype=np.int64)
        for row, concept in enumerate(concepts)
    ]
    return FlowData(
        latents=(latents - mean.view(shape)) / scale.view(shape),
        captions=captions,
        pictures=vectors,
        near=(
            nearest_others(captions, concepts, splits),
            nearest_others(vectors, concepts, splits),
        ),
        same=same,
        rates={split: rates_of(items, split) for split in ("train", "validation")},
        turned=np.array([is_directed(item.caption) for item in items]),
        mean=mean,
        scale=scale,
        slots=autoencoder.settings.memory_slots,
        without_memory=args.without_memory,
    )


def cached_latents(
    autoencoder: PictureAutoencoder, pictures: Bytes, args: argparse.Namespace
) -> torch.Tensor:
    """Latents (2, N, C, H, W), not standardised, of pictures and their mirrors; computed once."""
    digest = hashlib.sha256((args.weights / "image_vae.safetensors").read_bytes())
    digest.update(np.ascontiguousarray(pictures).data)
    path = args.runs / f"latents-{digest.hexdigest()[:12]}.npy"
    if not path.exists():
        sides = (pictures, pictures[:, :, ::-1])
        latents = torch.stack([encode_all(autoencoder, side, args.device) for side in sides])
        np.save(path, latents.numpy())
    return torch.from_numpy(np.load(path))


def prominence(autoencoder: PictureAutoencoder) -> torch.Tensor:
    """(C,): the standard deviation that each latent has for the flow.

    Principal components of patches keep a part of their order of size: what is fine drowns in
    little noise, and so is drawn last.
    """
    if not autoencoder.settings.patches:
        return torch.ones(autoencoder.settings.latent_channels)
    lengths = autoencoder.synthesis.cpu().flatten(1).norm(dim=1)
    shares: torch.Tensor = (lengths / lengths.max()).sqrt()
    return shares


@torch.inference_mode()
def encode_all(autoencoder: PictureAutoencoder, pictures: Bytes, device: str) -> torch.Tensor:
    """Latents (N, C, H, W), not standardised."""
    parts = [
        autoencoder.posterior(to_tensor(pictures[start : start + 64]).to(device)).mode().cpu()
        for start in told(range(0, len(pictures), 64), "encoding into latents")
    ]
    return torch.cat(parts)


def embed_all(items: list[Item], args: argparse.Namespace) -> tuple[Vectors, Vectors]:
    """Vectors (N, D) of captions and pictures, by the towers of the bundled profile."""
    text, _ = text_and_image()
    captions = TextVectors(text, args.cache / "texts.npz").of(item.caption for item in items)
    seen = shown_vectors(items, args.collection, args.cache / "shown.npz", bundled_towers())
    return captions, np.stack([seen[item.id] for item in items])


def nearest_others(vectors: Vectors, concepts: list[str], splits: npt.NDArray[np.str_]) -> Rows:
    """(N, CANDIDATES): the training pictures of other concepts that are most like each."""
    memory = np.flatnonzero(splits == "train")
    count = min(CANDIDATES, len(memory) - 1)
    numbers = np.unique(concepts, return_inverse=True)[1]
    near = np.empty((len(vectors), count), np.int64)
    for start in range(0, len(vectors), 512):
        rows = np.arange(start, min(start + 512, len(vectors)))
        cosines = vectors[rows] @ vectors[memory].T
        cosines[numbers[rows][:, None] == numbers[memory]] = -np.inf
        top = np.argpartition(-cosines, count, axis=1)[:, :count]
        order = np.argsort(-np.take_along_axis(cosines, top, axis=1), axis=1)
        near[rows] = memory[np.take_along_axis(top, order, axis=1)]
    return near
