"""The collection's sounds as log-mels, with the vectors of their captions and of their neighbours.

Knows nothing about the networks that learn from them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import torch

from encoders.base import Vectors, Waveform, normalize
from encoders.training.data import Item, load_collection
from encoders.training.data.speech import TEST_VOICES
from generator.audio import SoundSettings, mel_window
from generator.training.epochs import told
from generator.training.errors import Refused
from generator.training.mixing import heard_weights, mix
from generator.training.shown import bundled_towers, chosen, shown_vectors
from generator.training.text_data import Encode, noisy, vectors_of

Floats = npt.NDArray[np.float32]
# How much of a batch comes from a source: effects are few and matter most, spoken words are many.
SHARES = {"effect": 0.3, "sonic-pi": 0.2, "midi": 0.3, "speech": 0.2}


@dataclass(frozen=True)
class Sounds:
    """Sounds of one split."""

    items: list[Item]
    mels: npt.NDArray[np.float16]  # (N, N_MELS, frames)
    vectors: Vectors  # (N, D) of the captions
    heard: Vectors  # (N, D) of the sounds
    rates: npt.NDArray[np.float64]  # (N,), sum 1

    def __len__(self) -> int:
        return len(self.items)


def kind_of(item: Item) -> str:
    """The key of `SHARES`: stamps hold effects and spoken descriptions."""
    if item.source == "stamps":
        return "effect" if item.style == "effect" else "speech"
    return item.source


def load_sounds(
    collection: Path, split: str, settings: SoundSettings, cache: Path, encode: Encode
) -> Sounds:
    """Sounds of a split, of spoken words a few voices each; log-mels and vectors are kept in the
    cache folder."""
    items = [i for i in load_collection(collection) if i.modality == "audio" and i.split == split]
    if split == "train":
        items = [i for i in items if not (i.source == "speech" and i.style in TEST_VOICES)]
    few = {i.id for i in chosen(items)}
    items = [i for i in items if i.source != "speech" or i.id in few]
    if not items:
        raise Refused(
            f"there are no {split} sounds in {collection}: build it by "
            "python -m encoders.training.data"
        )
    key = hashlib.sha256(repr([(i.id, settings.frames) for i in items]).encode()).hexdigest()[:16]
    path = cache / f"mels-{split}-{key}.npy"
    if not path.is_file():
        mels = np.stack(
            [mel_window(read(collection / i.path), settings) for i in told(items, "log-mels")]
        )
        cache.mkdir(parents=True, exist_ok=True)
        np.save(path, mels.astype(np.float16))
    vectors = vectors_of([i.caption for i in items], cache / "caption_vectors.npz", encode)
    heard = shown_vectors(items, collection, cache / "heard.npz", bundled_towers())
    kinds = [kind_of(i) for i in items]
    rates = np.array([SHARES.get(kind, 0.1) / kinds.count(kind) for kind in kinds])
    stacked = np.stack([heard[i.id] for i in items])
    return Sounds(items, np.load(path), vectors, stacked, rates / rates.sum())


def read(path: Path) -> Waveform:
    """A sound file as mono."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return Waveform(samples.mean(1), int(rate))


def augment(mel: Floats, other: Floats, random: np.random.Generator) -> Floats:
    """Start later (half of the time), another loudness, and now and then a second sound with it."""
    if random.random() < 0.15:
        mel = mix([mel, other], [1.0, float(random.uniform(0.3, 1.0))])
    if random.random() < 0.5:
        shift = int(random.integers(1, 24))
        silence = np.full((mel.shape[0], shift), mel.min(), mel.dtype)
        mel = np.concatenate([silence, mel[:, :-shift]], 1)
    floor = np.log(1e-5)
    return np.asarray(np.maximum(mel + random.uniform(-1.0, 0.2), floor), np.float32)


@dataclass(frozen=True)
class Remembered:
    """A memory that one sound may be generated from."""

    rows: tuple[int, ...]  # of the sounds in it, the best match first
    weights: tuple[float, ...]  # of these
    vectors: Vectors  # (2 + 4, D): fused, query, neighbours; rows of zeros where none
    shares: Vectors  # (2 + 4,)


def remember(
    target: int,
    sounds: Sounds,
    similar: npt.NDArray[np.int64],
    count: int,
    random: np.random.Generator,
) -> Remembered:
    """Neighbours for a sound: itself among them (25 %), none (10 %), else others like it.

    `similar` (N, 12) are the rows of the sounds with the nearest captions, those of other concepts
    in 85 of 100 draws, so that copying the neighbour is not what is learnt. The query is a text,
    a sound, or both; of what is remembered come the sound's vector, its text's, or both.
    """
    query = _asked(target, sounds, random)
    vectors = np.zeros((2 + count, len(query)), np.float32)
    shares = np.zeros(2 + count, np.float32)
    kind = random.random()
    rows = np.zeros(0, np.int64)
    best = np.zeros(0)
    if kind >= 0.10:
        rows = random.choice(similar[target], int(random.integers(1, count + 1)), replace=False)
        if kind < 0.35:
            rows[0] = target
        memories, episode = _vectors_of(rows, sounds, random)
        scores = memories @ query / (0.02 * 25.0 ** random.random())
        weights = np.exp(scores - scores.max())
        weights /= weights.sum()
        best = np.zeros(len(rows))
        np.maximum.at(best, episode, weights)
        vectors[0] = weights @ memories
        order = np.argsort(-weights, kind="stable")[:count]
        vectors[2 : 2 + len(order)], shares[2 : 2 + len(order)] = memories[order], weights[order]
    vectors[0] = normalize(query + vectors[0])
    vectors[1] = query
    order = np.argsort(-best, kind="stable")
    return Remembered(tuple(rows[order].tolist()), tuple(best[order].tolist()), vectors, shares)


def _asked(target: int, sounds: Sounds, random: np.random.Generator) -> Vectors:
    """By its text (70 %), by a sound (15 %), or by both."""
    kind = random.random()
    text = noisy(sounds.vectors[target], random)
    if kind < 0.7:
        return text
    heard = noisy(sounds.heard[target], random)
    return heard if kind < 0.85 else normalize(text + heard)


def _vectors_of(
    rows: npt.NDArray[np.int64], sounds: Sounds, random: np.random.Generator
) -> tuple[Vectors, npt.NDArray[np.int64]]:
    """Vectors (M, D) of what is remembered, and of each its place in `rows`."""
    vectors, episode = [], []
    for place, row in enumerate(rows.tolist()):
        kind = random.random()
        if kind < 0.8:
            vectors.append(sounds.heard[row])
            episode.append(place)
        if kind > 0.2:
            vectors.append(sounds.vectors[row])
            episode.append(place)
    return np.stack(vectors), np.array(episode)


def similar_sounds(sounds: Sounds, count: int, seed: int) -> npt.NDArray[np.int64]:
    """(N, count) rows of similar captions: of other concepts, but for 15 in 100 of the rows."""
    random = np.random.default_rng(seed)
    concepts = np.array([i.concept for i in sounds.items])
    found = np.zeros((len(sounds), count), np.int64)
    for row, vector in enumerate(sounds.vectors):
        scores = sounds.vectors @ vector
        # Equal captions (one word, many voices) would all tie: break ties at random.
        scores = scores + random.random(len(scores)) * 0.02
        scores[row] = -1
        if random.random() >= 0.15:
            scores[concepts == concepts[row]] = -1
        found[row] = np.argpartition(-scores, count)[:count]
    return found


def mixture(mels: npt.NDArray[np.float16], rows: Sequence[int], shares: Sequence[float]) -> Floats:
    """The log-mel of the sounds of a memory: the best, with another that matches nearly as well."""
    weights = heard_weights(shares[: len(rows)])
    return mix([mels[row].astype(np.float32) for row in rows], weights)


def mel_sheet(rows: Sequence[torch.Tensor], path: Path) -> None:
    """Draw rows of normalised log-mels (N, N_MELS, frames) below each other, low pitches below."""
    from PIL import Image

    lines = [
        np.concatenate([np.pad(mel.float().numpy()[::-1], 1, constant_values=9) for mel in row], 1)
        for row in rows
    ]
    grey = np.clip((np.concatenate(lines) + 2) / 4 * 255, 0, 255).astype(np.uint8)
    Image.fromarray(grey).save(path)
