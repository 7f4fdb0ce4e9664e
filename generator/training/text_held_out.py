"""How well the caption decoder does on texts that it has not learnt from.

Knows nothing about how it is trained.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from generator.caption_decoder import CaptionDecoder, Prompt
from generator.drafting import drafts
from generator.spelling import Spelling
from generator.text import tidy
from generator.training.text_batches import Batch, Lines, collate
from generator.training.text_data import Texts, neighbours_of
from generator.training.text_examples import Example, make_example

LossOf = Callable[[CaptionDecoder, Batch, str], torch.Tensor]
MOST = 512  # texts
SHOWN = 20  # of each kind of query


@dataclass(frozen=True)
class HeldOut:
    """Validation captions with memories out of their own split, by how they are asked for."""

    lines: Lines | None
    tokenizer: Tokenizer
    examples: dict[str, list[Example]]
    size: int
    device: str

    @classmethod
    def of(
        cls,
        data: Texts | None,
        tokenizer: Tokenizer,
        decoder: CaptionDecoder,
        args: argparse.Namespace,
    ) -> HeldOut:
        """Asked by texts, and by pictures and sounds, those that have some; none of too few."""
        if data is None or len(data.texts) < 32:
            return cls(None, tokenizer, {}, args.batch_size, args.device)
        near, random = neighbours_of(data.vectors, 8), np.random.default_rng(args.seed)
        examples = {}
        for name, seen in (("captions", 0.0), ("asked by pictures and sounds", 1.0)):
            rows = [row for row in range(len(data.texts)) if not seen or data.shown.of(row)]
            drawn = random.permutation(rows)[:MOST]
            examples[name] = [
                make_example(int(r), data, near, random, seen=seen, empty=args.without_memory)
                for r in drawn
            ]
        lines = Lines(tokenizer, data.texts, decoder)
        return cls(lines, tokenizer, examples, args.batch_size, args.device)

    def measure(self, decoder: CaptionDecoder, loss_of: LossOf, sheet: Path) -> str:
        """Their loss by kind of query; writes to `sheet` what is said of some."""
        if self.lines is None:
            return "no captions held out"
        told = []
        for name, examples in self.examples.items():
            told.append(f"{name} {self._loss(decoder, loss_of, examples, self.lines):.3f}")
        sheet.write_text("\n".join(self._samples(decoder)) + "\n", "utf-8")
        return "held-out " + ", ".join(told)

    @torch.no_grad()
    def _loss(
        self, decoder: CaptionDecoder, loss_of: LossOf, examples: Sequence[Example], lines: Lines
    ) -> float:
        losses = [
            loss_of(decoder, collate(examples[at : at + self.size], lines), self.device).item()
            for at in range(0, len(examples), self.size)
        ]
        return float(np.mean(losses)) if losses else math.nan

    def _samples(self, decoder: CaptionDecoder) -> list[str]:
        """The text, what is remembered, and what is said of it: greedily, and one draw."""
        assert self.lines is not None
        spelling, random = Spelling.of(self.tokenizer), torch.Generator().manual_seed(0)
        found = []
        for name, examples in self.examples.items():
            found.append(f"# {name}: wanted | remembered | likeliest | drawn")
            for example in examples[:SHOWN]:
                said = drafts(
                    decoder.cpu(),
                    [prompt_of(example, self.lines)],
                    temperatures=(0.0, 0.5),
                    randoms=(random, random),
                    spelling=spelling,
                )
                wanted = self._text(self.lines.written[example.target])
                known = " + ".join(self._text(self.lines.remembered[c]) for c in example.captions)
                found.append(" | ".join([wanted, known, *(self._text(each.ids) for each in said)]))
        decoder.to(self.device)
        return found

    def _text(self, ids: Sequence[int]) -> str:
        return tidy(self.tokenizer.decode(list(ids)))


def prompt_of(example: Example, lines: Lines) -> Prompt:
    """What serving would make of it."""
    captions = tuple(lines.remembered[row] for row in example.captions)
    return Prompt(
        vectors=example.vectors,
        shares=tuple(example.shares.tolist()),
        captions=captions,
        caption_shares=example.caption_shares,
        whole=tuple(
            len(ids) == lines.lengths[row]
            for ids, row in zip(captions, example.captions, strict=True)
        ),
    )
