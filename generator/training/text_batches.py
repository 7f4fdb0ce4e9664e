"""Examples as padded tensors: vectors, remembered captions and the text to be written.

Knows nothing about the collection.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

from generator.text import CAPTION, FUSED, IGNORED, NEIGHBOUR, QUERY, TARGET, CaptionDecoder
from generator.training.text_data import Texts, neighbours_of
from generator.training.text_examples import SEEN, Example, make_example
from generator.wording import Spelling

Batch = dict[str, torch.Tensor]


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


def example_batches(
    data: Texts,
    near: npt.NDArray[np.int32],
    lines: Lines,
    size: int,
    seed: tuple[int, int],
    seen: float = SEEN,
) -> Iterator[Batch]:
    """Endless batches; 16 at a time are sorted by length, so that little is padding."""
    random = np.random.default_rng(seed)
    while True:
        drawn = random.choice(len(data.texts), 16 * size, p=data.rates)
        examples = [make_example(int(row), data, near, random, seen=seen) for row in drawn]
        examples.sort(key=lines.length)
        for part in random.permutation(16):
            yield collate(examples[part * size :][:size], lines)


def held_out_batches(
    data: Texts | None,
    tokenizer: Tokenizer,
    decoder: CaptionDecoder,
    size: int,
    seed: int,
    seen: float = SEEN,
) -> list[Batch]:
    """Validation captions with memories out of their own split, asked by pictures and sounds in a
    share of `seen`; where that is 1, only captions that have some."""
    if data is None or len(data.texts) < 32:
        return []
    lines = Lines(tokenizer, data.texts, decoder)
    near, random = neighbours_of(data.vectors, 8), np.random.default_rng(seed)
    rows = [row for row in range(len(data.texts)) if seen < 1 or data.shown.of(row)]
    drawn = random.permutation(rows)[:512]
    examples = [make_example(int(row), data, near, random, seen=seen) for row in drawn]
    return [collate(examples[i : i + size], lines) for i in range(0, len(drawn), size)]
