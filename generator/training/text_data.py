"""What the caption decoder learns from: texts, and their vectors.

Texts are the captions and tags of the collection's training split, and WordNet's names and
definitions for breadth. Knows nothing about the decoder's weights.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from encoders.base import Vectors, normalize
from generator.training.shown import Shown
from generator.training.wordnet import Synset, captioned, find_wordnet, synsets

SPECIAL = ["<pad>", "<bos>", "<eos>", "<mem>"]
Encode = Callable[[list[str]], Vectors]


@dataclass(frozen=True)
class Texts:
    """Unique texts with their vectors and how often each is drawn relative to the others."""

    texts: list[str]
    vectors: Vectors  # (N, D)
    rates: npt.NDArray[np.float64]  # (N,), sum 1
    shown: Shown  # pictures and sounds
    parts: Mapping[int, tuple[int, ...]] = field(default_factory=dict)  # of texts that name two
    nothing: Vectors | None = None  # (D,) of a text that says nothing; None: nobody asks so


def wordnet_texts(cache: Path) -> dict[str, float]:
    """Text -> rate. Names come bare and as "A name."; senses met in real text come more often."""
    rates: dict[str, float] = {}
    for synset in synsets(find_wordnet(cache)):
        rate = 1.0 if synset.tagged and synset.concrete else 0.5 if synset.tagged else 0.2
        for text, share in _forms(synset):
            rates[text] = max(rates.get(text, 0.0), rate * share)
    return rates


def _forms(synset: Synset) -> tuple[tuple[str, float], ...]:
    return (
        (captioned(synset), 1.0),
        (synset.name, 1.0),
        (synset.definition, 0.3),
    )


def caption_texts(captions: Sequence[str], tags: Sequence[Sequence[str]]) -> dict[str, float]:
    """Text -> rate for captions, and for the tags of an item as one comma-separated text."""
    rates = {tidy_caption(caption): 1.0 for caption in captions}
    for row in tags:
        if len(row) >= 2:
            rates.setdefault(", ".join(row[:4]), 0.3)
    rates.pop("", None)
    return rates


def tidy_caption(caption: str) -> str:
    """One line of at most 24 words, cut after a sentence where there is one."""
    words = " ".join(caption.split())
    first = re.split(r"(?<=[.!?]) ", words)[0]
    return " ".join(first.split()[:24])


def pairs_of(texts: Sequence[str], count: int, seed: int) -> dict[str, tuple[str, str]]:
    """`count` texts that name two things, with the two texts that they are made of."""
    short = [t for t in texts if re.fullmatch(r"An? [a-z ]+\.", t) and t.count(" ") <= 2]
    random = np.random.default_rng(seed)
    joints = ("and", "with", "beside", "on", "and")
    found = {}
    for _ in range(count if len(short) > 1 else 0):
        one, other = (short[i] for i in random.choice(len(short), 2, replace=False))
        joint = joints[int(random.integers(len(joints)))]
        found[f"{one[:-1]} {joint} {other[0].lower()}{other[1:]}"] = (one, other)
    return found


def train_tokenizer(texts: Sequence[str], vocabulary: int) -> Tokenizer:
    """Byte-level BPE: any text can be written, whatever it was trained on."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sorted(texts), trainer)
    return tokenizer


def vectors_of(texts: list[str], cache: Path, encode: Encode) -> Vectors:
    """Vectors (N, D) of `texts`; those already in the cache file are not encoded again."""
    known: dict[str, int] = {}
    stored = np.zeros((0, 0), np.float16)
    if cache.is_file():
        with np.load(cache) as archive:
            known = {str(text): row for row, text in enumerate(archive["texts"])}
            stored = archive["vectors"]
    missing = sorted({text for text in texts if text not in known})
    if missing:
        fresh = encode(missing).astype(np.float16)
        stored = np.concatenate([stored, fresh]) if len(known) else fresh
        known |= {text: len(known) + row for row, text in enumerate(missing)}
        cache.parent.mkdir(parents=True, exist_ok=True)
        np.savez(cache, texts=np.array(list(known)), vectors=stored)
    rows = [known[text] for text in texts]
    return normalize(stored[rows].astype(np.float32))


def cached_neighbours(vectors: Vectors, count: int, cache: Path) -> npt.NDArray[np.int32]:
    """`neighbours_of`, kept in a file named by the vectors: it takes minutes for 100,000 texts."""
    digest = hashlib.sha256(np.ascontiguousarray(vectors).tobytes()).hexdigest()[:16]
    path = cache / f"neighbours-{count}-{digest}.npy"
    if not path.is_file():
        np.save(path, neighbours_of(vectors, count))
    found: npt.NDArray[np.int32] = np.load(path)
    return found


def neighbours_of(vectors: Vectors, count: int, chunk: int = 2048) -> npt.NDArray[np.int32]:
    """Rows (N, count) of the most similar other texts, most similar first (IVF: nearly exact)."""
    import faiss

    faiss.omp_set_num_threads(1)
    lists = max(1, int(len(vectors) ** 0.5) // 2)
    quantizer = faiss.IndexFlatIP(vectors.shape[1])
    index = faiss.IndexIVFFlat(quantizer, vectors.shape[1], lists, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    index.nprobe = max(8, lists // 16)
    found = np.zeros((len(vectors), count), np.int32)
    for start in range(0, len(vectors), chunk):
        rows = np.arange(start, min(start + chunk, len(vectors)))
        _, hits = index.search(vectors[rows], count + 1)
        for row, line in zip(rows, hits, strict=True):
            found[row] = line[line != row][:count]
    return found


def noisy(vector: Vectors, random: np.random.Generator) -> Vectors:
    """CapDec's noise, its size drawn anew: cosine to the text between 1 and 0.55.

    CapDec found a variance of .016 best for CLIP; here text and picture of one thing are nearer to
    each other, and the drawn size lets exact texts stay exact.
    """
    size = 1.5 * max(0.0, random.random() - 0.3) / 0.7
    noise = random.standard_normal(len(vector)) * (size / len(vector) ** 0.5)
    return normalize(vector + noise)
