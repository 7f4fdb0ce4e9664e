"""Texts from memory: a small GPT-2 that writes a caption from vectors and remembered captions.

The decoder reads, as one sequence of embeddings: the fused vector, the query, the vectors of up to
four neighbours, the captions of the neighbours that are texts, and then writes. In training half of
the queries for a text with pictures or sounds are one of these, and the others texts with noise on
their vectors (CapDec, Nukrai et al. 2022); the fused vector is drawn towards the remembered texts
(DeCap, Li et al. 2023). The remembered captions in the prompt (SmallCap, Ramos et al. 2023), and a
pointer into them mixed with the vocabulary's distribution (See et al. 2017), let it name what only
the memory knows.
Knows nothing about encoders and storage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import nn

import encoders.torchvision_import  # noqa: F401

# isort: split
from transformers import GPT2Config, GPT2LMHeadModel

from encoders.base import Modality, Vectors, normalize
from generator.base import Condition, Generated, Generator, derived_seed, require_creativity
from generator.checkpoint import loaded
from generator.weight_files import FILES, NAMES, fingerprint, read_settings
from generator.wording import Spelling, is_copy, repeated

FUSED, QUERY, NEIGHBOUR, CAPTION, TARGET = range(5)  # kinds of position, each with its embedding
STRAY = 0.6  # length of the random vector added to query and fused vector at creativity 1
DRAFTS = 8  # written side by side
TOGETHER = 2  # drafts that stray the same way
TOWARDS_TEXTS = 0.3  # strength of DeCap's projection
STRAY_FURTHER = (0.0, 0.6, 1.4)  # as long as every draft is a copy
# In cosines: of a draft's score (see `Draft`), and what being a copy takes away, which is all.
LIKELIHOOD, COPY = 0.03, 100.0
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


class _Writer:
    """Several texts in the making: the cache of their prompts, and the pointer's keys into it.

    `prompts` differ in their vectors alone; each is written on from `count` times.
    """

    def __init__(self, decoder: CaptionDecoder, prompts: Sequence[Prompt], count: int) -> None:
        self.decoder = decoder
        prefix = torch.stack([decoder.prefix(each) for each in prompts])
        output = decoder.gpt.transformer(inputs_embeds=prefix, use_cache=True)
        self.past = output.past_key_values
        self.past.batch_repeat_interleave(count)
        prompt = prompts[0]
        # What follows each position: after a caption its end, unless it was cut there.
        following = [t for caption in prompt.captions for t in (*caption, decoder.eos)]
        self.values = torch.tensor(following, dtype=torch.long)
        known = [
            known
            for caption, whole in zip(prompt.captions, prompt.whole, strict=True)
            for known in (*[True] * len(caption), whole)
        ]
        self.valid = torch.tensor(known, dtype=torch.bool)
        hidden = output.last_hidden_state[:, len(prompt.vectors) :]
        self.keys = decoder.copy_key(hidden).repeat_interleave(count, 0)  # (B, S, copy_width)

    def probabilities(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, V) of what follows `tokens` (B,)."""
        output = self.decoder.gpt.transformer(
            inputs_embeds=self.decoder.written(tokens[:, None]),
            past_key_values=self.past,
            use_cache=True,
        )
        self.past = output.past_key_values
        hidden = output.last_hidden_state[:, 0]  # (B, width)
        scores = self.decoder.pointing(hidden[:, None], self.keys)[:, 0]
        vocabulary, pointer = self.decoder.mixed(hidden, scores, self.valid.expand_as(scores))
        return vocabulary.exp().index_add(1, self.values, pointer)


@dataclass(frozen=True)
class Draft:
    """One way to say it: token ids without the end mark, and how likely it is to the decoder."""

    ids: tuple[int, ...]
    # Log-probability of its tokens, the mean plus the least: a word that breaks off has only one
    # unlikely token, its end.
    score: float


@torch.inference_mode()
def drafts(
    decoder: CaptionDecoder,
    prompts: Sequence[Prompt],
    *,
    temperatures: Sequence[float],
    randoms: Sequence[torch.Generator],
    spelling: Spelling,
) -> list[Draft]:
    """A draft for each temperature by its generator: greedy at 0, else nucleus sampling (0.9).

    As many of them in turn write on from each of the prompts, which differ in their vectors alone.
    A draft begins with a word, and a word that begins like a remembered one goes on.
    """
    remembered = {word for caption in prompts[0].captions for word in spelling.words(caption)}
    count = len(randoms)
    writer = _Writer(decoder, prompts, count // len(prompts))
    written: list[list[int]] = [[] for _ in randoms]
    scores: list[list[float]] = [[] for _ in randoms]
    open_rows = set(range(count))
    tokens = torch.full((count,), decoder.bos)
    while open_rows and max(map(len, written)) < decoder.settings.max_tokens:
        probabilities = writer.probabilities(tokens)
        tokens = torch.full((count,), decoder.eos)
        for row in sorted(open_rows):
            ids, allowed = written[row], probabilities[row].clone()
            allowed[[decoder.bos, decoder.separator]] = 0
            if not ids:
                allowed[~spelling.begins] = 0
            elif spelling.breaks_off(ids, remembered):
                allowed[~spelling.goes_on] = 0
            allowed[_repeats(ids)] = 0
            token = _draw(allowed, temperatures[row], randoms[row])
            scores[row].append(float(probabilities[row, token].clamp(min=1e-9).log()))
            if token == decoder.eos:
                open_rows.remove(row)
            else:
                ids.append(token)
                tokens[row] = token
    return [
        Draft(tuple(ids), sum(logs) / len(logs) + min(logs))
        for ids, logs in zip(written, scores, strict=True)
    ]


def _repeats(ids: list[int]) -> list[int]:
    """Tokens that would repeat the last one, or a pair: a small decoder gets caught in loops."""
    if not ids:
        return []
    return [ids[-1], *(second for first, second in pairwise(ids) if first == ids[-1])]


def _draw(probabilities: torch.Tensor, temperature: float, random: torch.Generator) -> int:
    """One token of (V,); when sampled, out of the likeliest that hold 90 % together."""
    if temperature <= 0:
        return int(probabilities.argmax())
    sharpened = (probabilities.clamp(min=1e-30).log() / temperature).softmax(-1)
    probabilities, order = sharpened.sort(descending=True)
    kept = probabilities * ((probabilities.cumsum(-1) - probabilities) < 0.9)
    return int(order[torch.multinomial(kept, 1, generator=random)])


def strayed(prompt: Prompt, size: float, random: torch.Generator) -> Prompt:
    """Fused vector and query moved by one random vector of length `size`, to unit length again.

    The decoder has learnt from vectors with such noise: what it then writes is something near.
    """
    if size <= 0:
        return prompt
    drawn = torch.randn(prompt.vectors.shape[1], generator=random).numpy()
    moved = normalize(prompt.vectors[:2] + size * normalize(drawn))
    return replace(prompt, vectors=np.concatenate([moved, prompt.vectors[2:]]))


def towards_texts(vector: Vectors, texts: Vectors, *, strength: float) -> Vectors:
    """Draw `vector` (D,) towards the text vectors (N, D) it is nearest to; unit length.

    DeCap's projection, sum_i softmax(v.t_i / 0.05) t_i, mixed in by `strength`: pictures and sounds
    lie beside the texts in the space, and what is written is texts.
    """
    if not len(texts):
        return vector
    similarity = texts @ vector / 0.05
    weights = np.exp(similarity - similarity.max())
    projected = normalize(weights @ texts / weights.sum())
    return normalize((1 - strength) * vector + strength * projected)


def arranged(
    fused: Vectors,
    vectors: Vectors,
    ranking: Vectors,
    is_text: npt.NDArray[np.bool_],
    most: int,
) -> tuple[Vectors, npt.NDArray[np.int64], Vectors]:
    """What the decoder is told of a memory of vectors (N, D) with ranks and kinds (N,).

    Returns the fused vector drawn towards the remembered texts, the places of the `most` memories
    that are read, texts first and the best ranked first, and the shares of these.
    """
    order = np.lexsort((-ranking, ~is_text))[:most]
    total = max(float(ranking[order].sum()), 1e-12)
    # All texts count for the projection, also those too light to be read.
    drawn = towards_texts(fused, vectors[is_text], strength=TOWARDS_TEXTS)
    return drawn, order, np.asarray(ranking[order] / total, np.float32)


class TextGenerator(Generator):
    """Writes one sentence or phrase from a condition."""

    modality: ClassVar[Modality] = "text"
    seeds_stand_alone: ClassVar[bool] = False  # `generate` writes several drafts by one seed

    def __init__(self, weights_dir: Path) -> None:
        files = [weights_dir / name for name in FILES["text"]]
        self.settings = TextSettings(**read_settings(files[0]))
        self.tokenizer = Tokenizer.from_file(str(files[1]))
        decoder = CaptionDecoder(self.settings, *special_tokens(self.tokenizer))
        self.decoder = loaded(decoder, files[2])
        self.spelling = Spelling.of(self.tokenizer)
        self.name = NAMES["text"]
        self.space_id = self.settings.space_id
        self.fingerprint = fingerprint(*files)

    def generate(self, condition: Condition, *, seed: int, creativity: float) -> Generated:
        """A `str`: at creativity 0 what is remembered in the decoder's likeliest words; above, that
        of several drafts which the decoder itself thinks best of, and no copy if one is none.

        With creativity the meaning strays and the sampling warms. `details`: the remembered texts
        that were read, the temperature, and `is_copy`: the text repeats a remembered one, above 0
        because every draft did.
        """
        count = DRAFTS if creativity else 1
        seeds = [derived_seed(seed, number) for number in range(count)]
        return max(self._drafts(condition, seeds, creativity), key=lambda draft: draft.merit)

    def usual_candidates(self, creativity: float) -> int:
        return DRAFTS

    def candidates(
        self, condition: Condition, *, seeds: Sequence[int], creativity: float
    ) -> list[Generated]:
        """A draft for each seed; of an even number, two at a time stray the same way."""
        if len(seeds) == 1:
            return [self.generate(condition, seed=seeds[0], creativity=creativity)]
        return self._drafts(condition, seeds, creativity)

    def _drafts(
        self, condition: Condition, seeds: Sequence[int], creativity: float
    ) -> list[Generated]:
        """As long as every one is a copy, they are written again further away."""
        require_creativity(creativity)
        prompt, used = self._prompt(condition)
        temperature = 0.2 + 0.8 * creativity if creativity else 0.0
        remembered = [str(n.media) for n in condition.neighbours if n.modality == "text"]
        randoms = [torch.Generator().manual_seed(seed % 2**63) for seed in seeds]
        leaders = randoms[:: TOGETHER if len(randoms) % TOGETHER == 0 else 1]
        for further in STRAY_FURTHER if creativity else (0.0,):
            size = STRAY * creativity + further
            written = drafts(
                self.decoder,
                [strayed(prompt, size, each) for each in leaders],
                temperatures=[temperature] * len(randoms),
                randoms=randoms,
                spelling=self.spelling,
            )
            made = [self._generated(each, remembered, temperature, used) for each in written]
            if not all(each.details["is_copy"] for each in made):
                break
        return made

    def _generated(
        self, draft: Draft, remembered: Sequence[str], temperature: float, used: list[str]
    ) -> Generated:
        text = tidy(self.tokenizer.decode(list(draft.ids)))
        copy = is_copy(text, remembered)
        return Generated(
            media=text,
            details={
                "temperature": round(temperature, 3),
                "read_memories": used,
                "tokens": len(draft.ids),
                "is_copy": copy,
            },
            merit=LIKELIHOOD * (draft.score - 2 * repeated(text)) - COPY * copy,
        )

    def _prompt(self, condition: Condition) -> tuple[Prompt, list[str]]:
        """The best neighbours as a prompt, texts first, and the ids of those that are read."""
        neighbours = condition.neighbours
        vectors = np.zeros((len(neighbours), self.settings.dimension), np.float32)
        for row, neighbour in enumerate(neighbours):
            vectors[row] = neighbour.vector
        is_text = np.array([n.modality == "text" for n in neighbours], bool)
        fused, order, shares = arranged(
            condition.fused, vectors, condition.ranking, is_text, self.settings.neighbours
        )
        chosen = [(neighbours[at], float(w)) for at, w in zip(order, shares, strict=True)]
        texts = [(n, w) for n, w in chosen if n.modality == "text" and str(n.media).strip()]
        captions = [self._caption(str(n.media)) for n, _ in texts]
        prompt = Prompt(
            vectors=np.stack([fused, condition.query, *vectors[order]]).astype(np.float32),
            shares=tuple(weight for _, weight in chosen),
            captions=tuple(ids for ids, _ in captions),
            caption_shares=tuple(weight for _, weight in texts),
            whole=tuple(whole for _, whole in captions),
        )
        return prompt, [n.id for n, _ in texts]

    def _caption(self, text: str) -> tuple[tuple[int, ...], bool]:
        """Token ids of its beginning, and whether that is all of it."""
        # Longer texts are cut before they are tokenised: a book costs no more than its first line.
        ids = self.tokenizer.encode(text[:400], add_special_tokens=False).ids
        cut = self.spelling.cut(ids, self.settings.caption_tokens)
        return cut, len(cut) == len(ids)


def special_tokens(tokenizer: Tokenizer) -> tuple[int, int, int]:
    """Ids of the begin, end and separator marks."""
    begin, end, separator = (tokenizer.token_to_id(name) for name in ("<bos>", "<eos>", "<mem>"))
    if begin is None or end is None or separator is None:
        raise ValueError("the tokenizer lacks <bos>, <eos> or <mem>")
    return begin, end, separator


def tidy(text: str) -> str:
    """One line without doubled blanks."""
    return " ".join(text.split()) or "…"
