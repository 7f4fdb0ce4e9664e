"""The network that writes captions: a small GPT-2 over projected vectors and remembered captions.

What it reads, and where that comes from: `generator.text`. Knows nothing about conditions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import nn

import encoders.torchvision_import  # noqa: F401

# isort: split
from transformers import GPT2Config, GPT2LMHeadModel

from encoders.base import Vectors

FUSED, QUERY, NEIGHBOUR, CAPTION, TARGET = range(5)  # kinds of position, each with its embedding
IGNORED = -100  # label of positions without loss (the convention of torch and transformers)


@dataclass(frozen=True)
class TextSettings:
    """Sizes of the decoder, and how much of the memory it reads."""

    dimension: int = 384  # of the vectors' space
    width: int = 256
    layers: int = 4
    heads: int = 4
    vocabulary: int = 4096
    positions: int = 112
    copy_width: int = 64  # of the pointer's queries and keys
    neighbours: int = 4  # vectors and captions read, the heaviest first
    caption_tokens: int = 19  # per remembered caption; the rest is cut
    max_tokens: int = 24  # written
    space_id: str = "bundled"


@dataclass(frozen=True)
class Prompt:
    """What one text is written from; the first rows of `vectors` are fused vector and query."""

    vectors: Vectors  # (2 + N, D)
    shares: tuple[float, ...]  # (N,) of the neighbours
    captions: tuple[tuple[int, ...], ...]  # token ids of remembered texts
    caption_shares: tuple[float, ...]
    whole: tuple[bool, ...]  # of each caption; False: it went on
    reads: bool = True  # False: the captions are as if they were not there


class CaptionDecoder(nn.Module):
    """GPT-2 over a prefix of projected vectors and remembered captions."""

    def __init__(self, settings: TextSettings, bos: int, eos: int, separator: int) -> None:
        super().__init__()
        self.settings, self.bos, self.eos, self.separator = settings, bos, eos, separator
        config = GPT2Config(
            vocab_size=settings.vocabulary,
            n_positions=settings.positions,
            n_embd=settings.width,
            n_layer=settings.layers,
            n_head=settings.heads,
            resid_pdrop=0.05,
            embd_pdrop=0.05,
            attn_pdrop=0.0,
            bos_token_id=bos,
            eos_token_id=eos,
        )
        self.gpt = GPT2LMHeadModel(config)
        self.project = nn.Linear(settings.dimension, settings.width)
        self.kind = nn.Embedding(5, settings.width)
        self.share = nn.Linear(1, settings.width, bias=False)
        self.copy_query = nn.Linear(settings.width, settings.copy_width)
        self.copy_key = nn.Linear(settings.width, settings.copy_width)
        self.gate = nn.Linear(settings.width, 1)
        nn.init.constant_(self.gate.bias, -2.0)  # the vocabulary first

    def prefix(self, prompt: Prompt) -> torch.Tensor:
        """(P, width): the vectors, then the captions, each shifted by its kind and share."""
        device = self.kind.weight.device
        count = len(prompt.shares)
        kinds = torch.tensor([FUSED, QUERY] + [NEIGHBOUR] * count, device=device)
        shares = torch.tensor([0.0, 0.0, *prompt.shares], device=device)[:, None]
        # Unit vectors of 384 dimensions have entries near 0.05: scaled to unit variance.
        vectors = torch.from_numpy(prompt.vectors).to(device) * self.settings.dimension**0.5
        rows = [self.project(vectors) + self.kind(kinds) + self.share(shares)]
        for caption, share in zip(prompt.captions, prompt.caption_shares, strict=True):
            ids = torch.tensor([self.separator, *caption], device=device)
            tokens = self.gpt.transformer.wte(ids)
            rows.append(tokens + self.kind.weight[CAPTION] + self.share.weight[:, 0] * share)
        return torch.cat(rows)

    def written(self, ids: torch.Tensor) -> torch.Tensor:
        """Embeddings (..., width) of tokens of the text that is being written."""
        embedded: torch.Tensor = self.gpt.transformer.wte(ids) + self.kind.weight[TARGET]
        return embedded

    def pointing(self, hidden: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """Scores (..., T, S) of T positions (..., T, width) for S keys (..., S, copy_width)."""
        scores: torch.Tensor = self.copy_query(hidden) @ keys.transpose(-1, -2)
        scaled: torch.Tensor = scores / self.settings.copy_width**0.5
        return scaled

    def mixed(
        self, hidden: torch.Tensor, scores: torch.Tensor, valid: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Distributions of the next token after T positions: over the vocabulary, over a pointer.

        hidden (T, width); scores (T, S) for positions whose next tokens can be pointed at where
        `valid` (T, S). Returns log-probabilities (T, V) and the pointer's probabilities (T, S);
        together they sum to 1.
        """
        # A row without captions must not become NaN: its pointer is switched off by the gate.
        pointer = scores.float().masked_fill(~valid, -1e4).softmax(-1)
        gate = torch.sigmoid(self.gate(hidden).float()) * valid.any(-1, keepdim=True)
        vocabulary = self.gpt.lm_head(hidden).float().log_softmax(-1)
        return vocabulary + torch.log1p(-gate.clamp(max=1 - 1e-6)), pointer * gate


def special_tokens(tokenizer: Tokenizer) -> tuple[int, int, int]:
    """Ids of the begin, end and separator marks."""
    begin, end, separator = (tokenizer.token_to_id(name) for name in ("<bos>", "<eos>", "<mem>"))
    if begin is None or end is None or separator is None:
        raise ValueError("the tokenizer lacks <bos>, <eos> or <mem>")
    return begin, end, separator
