"""Sentence embeddings to measure with: glosses of WordNet, by the bundled text tower.

Computed once, and kept in a folder that git ignores. Knows nothing about what is measured.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from encoders.registry import load_profile
from generator.training.wordnet import find_wordnet

CACHE = Path("runs/bench")
PARTS = ("noun", "verb", "adj", "adv")
QUERIES = 1000
BATCH = 64
CHUNK = 4096  # vectors that are kept together: an interrupted run goes on behind them


@dataclass(frozen=True)
class Glosses:
    """`texts` and their unit vectors (N, D) to store; `queries` (Q, D) are of other glosses."""

    texts: list[str]
    vectors: npt.NDArray[np.float32]
    queries: npt.NDArray[np.float32]
    space: str


def texts_of(folder: Path) -> Iterator[str]:
    """ "owl: nocturnal bird of prey ...", each meaning once."""
    for part in PARTS:
        for line in (folder / f"data.{part}").read_text("utf-8", "replace").splitlines():
            fields, _, gloss = line.partition(" | ")
            if gloss:
                yield f"{fields.split()[4].replace('_', ' ')}: {gloss.strip()}"


def glosses(count: int, *, cache: Path = CACHE, threads: int = 1) -> Glosses:
    """`count` of them, drawn from all parts of speech, always the same ones.

    Raises RuntimeError without WordNet (Debian package wordnet-base) or with less than `count`.
    """
    found = sorted(set(texts_of(find_wordnet(cache / "wordnet"))))
    if len(found) < count + QUERIES:
        raise RuntimeError(f"WordNet has {len(found)} glosses, {count + QUERIES} are needed")
    order = np.random.default_rng(0).permutation(len(found))[: count + QUERIES]
    texts = [found[place] for place in order]  # the queries first
    vectors, space = _encoded(texts, cache, threads)
    return Glosses(texts[QUERIES:], vectors[QUERIES:], vectors[:QUERIES], space)


def _encoded(texts: list[str], cache: Path, threads: int) -> tuple[npt.NDArray[np.float32], str]:
    encoder = load_profile("bundled", threads=str(threads)).encoders["text"]
    folder = cache / f"glosses-{encoder.space.fingerprint[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    chunks = []
    for start in range(0, len(texts), CHUNK):
        wanted = texts[start : start + CHUNK]
        path = folder / f"{start}.npy"
        kept = np.load(path) if path.exists() else np.zeros((0, encoder.space.dimension))
        if len(kept) < len(wanted):
            kept = _encode(encoder, wanted, f"{start + len(wanted)} of {len(texts)}")
            np.save(path, kept)
        chunks.append(kept[: len(wanted)])
    encoder.close()
    return np.concatenate(chunks).astype(np.float32), encoder.space.id


def _encode(encoder: object, texts: list[str], progress: str) -> npt.NDArray[np.float32]:
    """Texts of like length together: a batch is as long as its longest."""
    started = time.monotonic()
    order = np.argsort([len(text) for text in texts])
    vectors: npt.NDArray[np.float32] | None = None
    for start in range(0, len(texts), BATCH):
        batch = order[start : start + BATCH]
        made = encoder.encode([texts[place] for place in batch])  # type: ignore[attr-defined]
        if vectors is None:
            vectors = np.empty((len(texts), made.shape[1]), np.float32)
        vectors[batch] = made
    assert vectors is not None
    print(f"encoded {progress} ({len(texts) / (time.monotonic() - started):.0f}/s)", flush=True)
    return vectors
