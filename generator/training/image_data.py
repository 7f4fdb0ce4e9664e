"""What the picture flow is trained on: latents, vectors, and each item's remembered neighbours."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from encoders.base import Vectors, normalize
from encoders.bundled import text_and_image
from encoders.training.contrastive import TextVectors
from encoders.training.data import Item, load_collection
from encoders.training.features import is_directed, picture_vectors_from_cache
from generator.fusion import fuse
from generator.image import Bytes, PictureAutoencoder, to_tensor

# latents (B, C, H, W), vectors (B, 2 + N, D), shares (B, 2 + N), memory (B, S (C + 1), H, W)
FlowBatch = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]

CANDIDATES = 12
# Same-concept neighbours (another style of the same emoji) as a declared share of the draws.
SAME_CONCEPT_SHARE = 0.3
DROP_MEMORY = 0.15  # no neighbour at all: the model must also know the query alone
DROP_ALL = 0.1  # for classifier-free guidance


@dataclass(frozen=True)
class FlowData:
    """Rows are pictures; `latents` are standardised."""

    latents: torch.Tensor  # (2, N, C, H, W): as it is, and in the mirror
    captions: Vectors  # (N, D) of the captions
    pictures: Vectors  # (N, D) of the pictures
    near: npt.NDArray[np.int64]  # (N, K) other concepts' rows of the same split, nearest first
    same: list[npt.NDArray[np.int64]]  # per row, the rows of the same concept
    splits: npt.NDArray[np.str_]
    turned: npt.NDArray[np.bool_]  # whether the mirror makes another thing of it
    mean: torch.Tensor
    scale: torch.Tensor
    neighbours: int = 4
    slots: int = 3

    def batch(self, random: np.random.Generator, size: int, split: str) -> FlowBatch:
        rows = random.choice(np.flatnonzero(self.splits == split), size)
        dimension = self.captions.shape[1]
        vectors = np.zeros((size, 2 + self.neighbours, dimension), np.float32)
        shares = np.zeros((size, 2 + self.neighbours), np.float32)
        channels, *grid = self.latents.shape[2:]
        memory = torch.zeros(size, self.slots, channels + 1, *grid)
        mirrored = np.where(self.turned[rows], 0, random.integers(0, 2, size))
        for place, row in enumerate(rows):
            if random.random() < DROP_ALL:
                continue
            # A query is a text, a picture, or both.
            share = random.choice([0.0, 1.0, random.random()], p=[0.4, 0.3, 0.3])
            query = share * self.pictures[row] + (1 - share) * self.captions[row]
            query /= np.linalg.norm(query)
            found = np.empty(0, np.int64)
            if random.random() >= DROP_MEMORY:
                found = self._remembered(random, int(row), query)
            fused, weights = fuse(query, self.pictures[found], "attention")
            order = np.argsort(-weights, kind="stable")[: self.neighbours]
            vectors[place, 0], vectors[place, 1] = fused, query
            vectors[place, 2 : 2 + len(order)] = self.pictures[found[order]]
            shares[place, 2 : 2 + len(order)] = weights[order]
            for slot, other in enumerate(found[order[: self.slots]]):
                side = 0 if self.turned[other] else int(random.integers(2))
                memory[place, slot, :-1] = self.latents[side, other]
                memory[place, slot, -1] = 1
        return (
            self.latents[mirrored, rows],
            torch.from_numpy(vectors),
            torch.from_numpy(shares),
            memory.flatten(1, 2),
        )

    def _remembered(
        self, random: np.random.Generator, row: int, query: Vectors
    ) -> npt.NDArray[np.int64]:
        """1 to N of the nearest other pictures; sometimes one of the same concept among them."""
        count = int(random.integers(1, self.neighbours + 1))
        found = random.choice(self.near[row], count, replace=False)
        if len(self.same[row]) and random.random() < SAME_CONCEPT_SHARE:
            found[0] = random.choice(self.same[row])
        return found


def flow_data(
    autoencoder: PictureAutoencoder, items: list[Item], pictures: Bytes, args: argparse.Namespace
) -> FlowData:
    latents = torch.stack(
        [encode_all(autoencoder, side, args.device) for side in (pictures, pictures[:, :, ::-1])]
    )
    mean, scale = latents.mean(dim=(0, 1, 3, 4)), latents.std(dim=(0, 1, 3, 4))
    shape = (1, 1, -1, 1, 1)
    captions, vectors = embed_all(items, args.collection, args.encoder_cache)
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
        near=nearest_others(vectors, captions, concepts, splits),
        same=same,
        splits=splits,
        turned=np.array([is_directed(item.caption) for item in items]),
        mean=mean,
        scale=scale,
        slots=autoencoder.settings.memory_slots,
    )


@torch.inference_mode()
def encode_all(autoencoder: PictureAutoencoder, pictures: Bytes, device: str) -> torch.Tensor:
    """Latents (N, C, H, W), not standardised."""
    parts = [
        autoencoder.posterior(to_tensor(pictures[start : start + 64]).to(device)).mode().cpu()
        for start in range(0, len(pictures), 64)
    ]
    return torch.cat(parts)


def embed_all(items: list[Item], collection: Path, cache: Path) -> tuple[Vectors, Vectors]:
    """Vectors (N, D) of captions and pictures; shares the cache of the encoders' training."""
    text, _ = text_and_image()
    captions = TextVectors(text, cache / "texts.npz").of(item.caption for item in items)
    every = load_collection(collection)
    pictures = picture_vectors_from_cache(every, collection, cache / "features")
    return captions, np.stack([pictures[item.id] for item in items])


def embed(encoder: Any, inputs: list[Any]) -> Vectors:
    from PIL import Image

    parts = []
    for start in range(0, len(inputs), 32):
        part = inputs[start : start + 32]
        if encoder.modality == "image":
            part = [Image.open(path).convert("RGBA") for path in part]
        parts.append(encoder.encode(part))
    return np.concatenate(parts)


def nearest_others(
    vectors: Vectors, captions: Vectors, concepts: list[str], splits: npt.NDArray[np.str_]
) -> npt.NDArray[np.int64]:
    """(N, CANDIDATES): the training pictures of other concepts that are most like each."""
    memory = np.flatnonzero(splits == "train")
    numbers = np.unique(concepts, return_inverse=True)[1]
    both = normalize(vectors + captions)
    near = np.empty((len(vectors), CANDIDATES), np.int64)
    for start in range(0, len(vectors), 512):
        rows = np.arange(start, min(start + 512, len(vectors)))
        cosines = both[rows] @ both[memory].T
        cosines[numbers[rows][:, None] == numbers[memory]] = -np.inf
        top = np.argpartition(-cosines, CANDIDATES, axis=1)[:, :CANDIDATES]
        order = np.argsort(-np.take_along_axis(cosines, top, axis=1), axis=1)
        near[rows] = memory[np.take_along_axis(top, order, axis=1)]
    return near
