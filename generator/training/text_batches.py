"""Examples as padded tensors: vectors, remembered captions and the text to be written.

Knows nothing about the collection.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

from generator.caption_decoder import (
    CAPTION,
    FUSED,
    IGNORED,
    NEIGHBOUR,
    QUERY,
    TARGET,
    CaptionDecoder,
)
from generator.spelling import Spelling
from generator.training.text_data import Texts
from generator.training.text_examples import SEEN, Example, make_example

Batch = dict[str, torch.Tensor]
GROUP = 16  # batches


class Lines:
    """Texts as tokens: as they are remembered, and as they are to be written."""

    def __init__(self, tokenizer: Tokenizer, texts: Sequence[str], decoder: CaptionDecoder) -> None:
        self.decoder = decoder
        spelling, settings = Spelling.of(tokenizer), decoder.settings
        ids = [e.ids for e in tokenizer.encode_batch(texts, add_special_tokens=False)]
        self.remembered = [spelling.cut(row, settings.caption_tokens) for row in ids]
        self.written = [tuple(row[: settings.max_tokens]) for row in ids]
        self.lengths = [len(row) for row in ids]

    def length(self, example: Example) -> int:
        captions = sum(len(self.remembered[row]) for row in example.captions)
        return captions + len(self.written[example.target])


def collate(examples: Sequence[Example], lines: Lines) -> Batch:
    """Examples side by side: six slots of vectors, then captions and the text to write.

    Beside what the decoder reads: `labels`, IGNORED where nothing is to be written; the token that
    is `following` each position, and whether the pointer may use it (`pointable`): in captions,
    but not at the end of one that was cut.
    """
    settings = lines.decoder.settings
    slots = 2 + settings.neighbours
    rows = [_sequence(example, lines) for example in examples]
    size, length = len(rows), slots + max(len(row["tokens"]) for row in rows)
    fills = {"labels": IGNORED}
    arrays: dict[str, npt.NDArray[Any]] = {
        name: np.full((size, length), fills.get(name, 0), np.asarray(values).dtype)
        for name, values in rows[0].items()
    }
    vectors = np.zeros((size, slots, settings.dimension), np.float32)
    for at, (example, row) in enumerate(zip(examples, rows, strict=True)):
        count = len(example.vectors)
        vectors[at, :count] = example.vectors
        for name, values in row.items():
            arrays[name][at, slots : slots + len(values)] = values
        arrays["shares"][at, 2:count] = example.shares
        arrays["mask"][at, :count] = 1
    kinds = np.array([FUSED, QUERY] + [NEIGHBOUR] * settings.neighbours)
    arrays["tokens"] = arrays["tokens"][:, slots:]
    arrays["token_kinds"] = arrays["token_kinds"][:, slots:]
    arrays |= {"vectors": vectors, "vector_kinds": np.broadcast_to(kinds, (size, slots)).copy()}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _sequence(example: Example, lines: Lines) -> dict[str, npt.NDArray[Any]]:
    """What is known of each token: captions first, then the text to be written."""
    decoder = lines.decoder
    tokens: list[int] = []
    following: list[int] = []
    pointable: list[bool] = []
    shares: list[float] = []
    for caption, share in zip(example.captions, example.caption_shares, strict=True):
        shown = lines.remembered[caption]
        tokens += [decoder.separator, *shown]
        following += [*shown, decoder.eos]
        pointable += [*[True] * len(shown), len(shown) == lines.lengths[caption]]
        shares += [share] * (len(shown) + 1)
    target = lines.written[example.target]
    # A text that is too long does not end where it is cut.
    end = decoder.eos if len(target) == lines.lengths[example.target] else IGNORED
    prompt, rest = len(tokens), len(target) + 1
    return {
        "tokens": np.array([*tokens, decoder.bos, *target]),
        "token_kinds": np.array([CAPTION] * prompt + [TARGET] * rest),
        "following": np.array([*following, *[0] * rest]),
        "pointable": np.array([*pointable, *[False] * rest], bool),
        "labels": np.array([*[IGNORED] * prompt, *target, end]),
        "shares": np.array([*shares, *[0.0] * rest], np.float32),
        "mask": np.ones(prompt + rest, np.int64),
    }


class Batches:
    """Batches by step; GROUP in a row are drawn together and sorted by length, so that little is
    padding. What is in one depends on seed and step alone."""

    def __init__(
        self,
        data: Texts,
        near: npt.NDArray[np.int32],
        lines: Lines,
        size: int,
        seed: int,
        seen: float = SEEN,
        *,
        empty: bool = False,
    ) -> None:
        self._data, self._near, self._lines = data, near, lines
        self._size, self._seed, self._seen = size, seed, seen
        self._empty = empty
        self._number = -1
        self._group: list[Sequence[Example]] = []

    def at(self, step: int) -> Batch:
        number, place = divmod(step, GROUP)
        if number != self._number:
            self._number, self._group = number, self._drawn(number)
        return collate(self._group[place], self._lines)

    def _drawn(self, number: int) -> list[Sequence[Example]]:
        random = np.random.default_rng((self._seed, number))
        rows = random.choice(len(self._data.texts), GROUP * self._size, p=self._data.rates)
        examples = [
            make_example(
                int(row), self._data, self._near, random, seen=self._seen, empty=self._empty
            )
            for row in rows
        ]
        examples.sort(key=self._lines.length)
        return [examples[part * self._size :][: self._size] for part in random.permutation(GROUP)]
