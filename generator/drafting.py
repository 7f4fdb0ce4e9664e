"""Drafts of a text, side by side: what the decoder writes from a prompt, word by word.

Whatever it thinks likely, whole characters and words that there are come out (`Spelling`).
Knows nothing about conditions and memories.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch.nn.functional import gelu, pad, scaled_dot_product_attention

from generator.caption_decoder import CaptionDecoder, Prompt
from generator.spelling import Spelling
from generator.wording import goes_on_after

MOST_LIKELY = 256  # tokens, of which one is drawn
MOST_TRIED = 64  # draws until one spells something
NOTHING_WRITTEN = -100.0  # score of a draft without a token: below all others


class Writer:
    """Several texts in the making: the cache of their prompts, and the pointer's keys into it.

    `prompts` differ in their vectors and in whether their captions are read; each is written on
    from `count` times. Computes what the decoder's own class does, without its preparations of
    each token, which take longer.
    """

    def __init__(self, decoder: CaptionDecoder, prompts: Sequence[Prompt], count: int) -> None:
        self.decoder = decoder
        prefix = torch.stack([decoder.prefix(each) for each in prompts])
        self.cache: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.length = 0
        read = len(prompts[0].vectors)  # positions that all see, before those of the captions
        hidden = self._forward(prefix)[:, read:]
        reads = torch.tensor([each.reads for each in prompts]).repeat_interleave(count)[:, None]
        self.behind = hidden.shape[1] * ~reads  # (B, 1): positions that a row goes without
        self.seen: torch.Tensor | None = None  # (B, 1, 1, most); None: every position
        if not reads.all():
            most = self.length + decoder.settings.max_tokens
            self.seen = torch.ones(len(reads), 1, 1, most, dtype=torch.bool)
            self.seen[..., read : self.length] = reads[..., None, None]
        room = (0, 0, 0, decoder.settings.max_tokens)
        self.cache = [
            (
                pad(keys, room).repeat_interleave(count, 0),
                pad(values, room).repeat_interleave(count, 0),
            )
            for keys, values in self.cache
        ]
        prompt = prompts[0]
        # What follows each position: after a caption its end, unless it was cut there.
        following = [t for caption in prompt.captions for t in (*caption, decoder.eos)]
        self.values = torch.tensor(following, dtype=torch.long)
        known = [
            known
            for caption, whole in zip(prompt.captions, prompt.whole, strict=True)
            for known in (*[True] * len(caption), whole)
        ]
        self.valid = torch.tensor(known, dtype=torch.bool) & reads  # (B, S)
        self.keys = decoder.copy_key(hidden).repeat_interleave(count, 0)  # (B, S, copy_width)

    def probabilities(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, V) of what follows `tokens` (B,)."""
        hidden = self._forward(self.decoder.written(tokens[:, None]))[:, 0]  # (B, width)
        scores = self.decoder.pointing(hidden[:, None], self.keys)[:, 0]
        vocabulary, pointer = self.decoder.mixed(hidden, scores, self.valid)
        return vocabulary.exp().index_add(1, self.values, pointer)

    def _forward(self, embedded: torch.Tensor) -> torch.Tensor:
        """Hidden states (B, T, width) after `embedded` ones, the first, or one more of each row."""
        gpt = self.decoder.gpt.transformer
        batch, count, width = embedded.shape
        heads = self.decoder.settings.heads
        start, self.length = self.length, self.length + count
        places = torch.arange(start, self.length)
        hidden = embedded + gpt.wpe.weight[places - self.behind if start else places]
        seen = self.seen[..., : self.length] if start and self.seen is not None else None
        for layer, block in enumerate(gpt.h):
            joined = block.attn.c_attn(block.ln_1(hidden)).view(batch, count, 3, heads, -1)
            query, key, value = joined.permute(2, 0, 3, 1, 4)  # (B, heads, T, width / heads)
            if start == 0:
                self.cache.append((key, value))
            else:
                keys, values = self.cache[layer]
                keys[:, :, start : self.length], values[:, :, start : self.length] = key, value
                key, value = keys[:, :, : self.length], values[:, :, : self.length]
            found = scaled_dot_product_attention(query, key, value, seen, is_causal=start == 0)
            hidden = hidden + block.attn.c_proj(found.transpose(1, 2).reshape(batch, count, width))
            hidden = hidden + block.mlp.c_proj(
                gelu(block.mlp.c_fc(block.ln_2(hidden)), approximate="tanh")
            )
        return gpt.ln_f(hidden)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Draft:
    """One way to say it: token ids without the end mark, and how likely it is to the decoder.

    `ended`: by the decoder; False: at the last word before the most tokens that there may be.
    """

    ids: tuple[int, ...]
    # Log-probability of its tokens, the mean plus the least: a word that breaks off has only one
    # unlikely token, its end.
    score: float
    ended: bool
    reads: bool  # the captions of its prompt


@torch.inference_mode()
def drafts(
    decoder: CaptionDecoder,
    prompts: Sequence[Prompt],
    *,
    temperatures: Sequence[float],
    randoms: Sequence[torch.Generator],
    spelling: Spelling,
    known: Collection[str] = (),
) -> list[Draft]:
    """A draft for each temperature by its generator: greedy at 0, else nucleus sampling (0.9).

    As many of them in turn write on from each of the prompts, which are those of one `Writer`.
    A draft begins with a word, a word that begins like a remembered one goes on, and of words only
    those of the spelling's lexicon and `known` ones, in lower case, come out.
    """
    words = {word for caption in prompts[0].captions for word in spelling.words(caption)}
    count = len(randoms)
    each_times = count // len(prompts)
    reads = [each.reads for each in prompts for _ in range(each_times)]
    begun = [words if each else set() for each in reads]
    writer = Writer(decoder, prompts, each_times)
    written: list[list[int]] = [[] for _ in randoms]
    scores: list[list[float]] = [[] for _ in randoms]
    open_rows, cut_rows = set(range(count)), set[int]()
    tokens = torch.full((count,), decoder.bos)
    while open_rows and max(map(len, written)) < decoder.settings.max_tokens:
        probabilities = writer.probabilities(tokens)
        tokens = torch.full((count,), decoder.eos)
        for row in sorted(open_rows):
            ids, allowed = written[row], probabilities[row].clone()
            allowed[[decoder.bos, decoder.separator]] = 0
            if not spelling.pending(ids):  # characters share bytes, and words double letters
                allowed[[each for each in _repeats(ids) if not spelling.goes_on[each]]] = 0
            if not ids:
                allowed[~spelling.begins] = 0
            elif spelling.breaks_off(ids, begun[row]):
                allowed[~spelling.goes_on] = 0
            if not spelling.may_end(ids, known) or goes_on_after(spelling.text(ids)):
                allowed[decoder.eos] = 0
            token = _spelt(allowed, temperatures[row], randoms[row], ids, spelling, known, decoder)
            if token is None:
                cut_rows.add(row)
            else:
                scores[row].append(float(probabilities[row, token].clamp(min=1e-9).log()))
            if token in (None, decoder.eos):
                open_rows.remove(row)
            else:
                ids.append(token)
                tokens[row] = token
    cut_rows |= open_rows
    for row in cut_rows:
        _cut(written[row], begun[row], spelling, known)
    return [
        Draft(tuple(ids), _score(logs), row not in cut_rows, reads[row])
        for row, (ids, logs) in enumerate(zip(written, scores, strict=True))
    ]


def _score(logs: Sequence[float]) -> float:
    """Of the logarithms of the tokens' probabilities."""
    return sum(logs) / len(logs) + min(logs) if logs else NOTHING_WRITTEN


def _spelt(
    allowed: torch.Tensor,
    temperature: float,
    random: torch.Generator,
    ids: Sequence[int],
    spelling: Spelling,
    known: Collection[str],
    decoder: CaptionDecoder,
) -> int | None:
    """A token of those `allowed` (V,) that spells something; None where there is none, or, of those
    that are sampled, none among so many: a draft at a dead end is not worth looking at all."""
    for _ in range(MOST_TRIED if temperature > 0 else len(allowed)):
        if float(allowed.max()) <= 0:
            return None
        token = _draw(allowed, temperature, random)
        if token == decoder.eos or spelling.may_follow(ids, token, known):
            return token
        allowed[token] = 0
    return None


def _cut(
    ids: list[int],
    remembered: Collection[tuple[int, ...]],
    spelling: Spelling,
    known: Collection[str],
) -> None:
    """Leaves out half a character, and a last word that could not be finished."""
    while ids and (spelling.breaks_off(ids, remembered) or not spelling.may_end(ids, known)):
        ids.pop()


def _repeats(ids: list[int]) -> list[int]:
    """Tokens that would repeat the last one, or a pair: a small decoder gets caught in loops."""
    if not ids:
        return []
    return [ids[-1], *(second for first, second in pairwise(ids) if first == ids[-1])]


def _draw(probabilities: torch.Tensor, temperature: float, random: torch.Generator) -> int:
    """One token of (V,); when sampled, out of the likeliest that together hold 90 %."""
    if temperature <= 0:
        return int(probabilities.argmax())
    sharpened = (probabilities.clamp(min=1e-30).log() / temperature).softmax(-1)
    probabilities, order = sharpened.topk(min(MOST_LIKELY, len(sharpened)))
    kept = probabilities * ((probabilities.cumsum(-1) - probabilities) < 0.9)
    return int(order[torch.multinomial(kept, 1, generator=random)])
