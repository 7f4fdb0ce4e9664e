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
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

from encoders.base import Modality, Vectors, normalize
from generator.base import (
    Condition,
    Generated,
    Generator,
    Neighbour,
    derived_seed,
    require_creativity,
)
from generator.caption_decoder import CaptionDecoder, Prompt, TextSettings, special_tokens
from generator.checkpoint import loaded
from generator.drafting import Draft, drafts
from generator.quoting import passage, quotable
from generator.spelling import Spelling, word_list, words_in
from generator.weight_files import FILES, NAMES, fingerprint, read_settings
from generator.wording import ends, goes_on_after, is_copy, likeness, once, rounded_off, slips

STRAY = 0.6  # length of the random vector added to query and fused vector at creativity 1
DRAFTS = 8  # written side by side
TOGETHER = 2  # drafts that stray the same way
TOWARDS_TEXTS = 0.3  # strength of DeCap's projection
STRAY_FURTHER = (0.0, 0.6, 1.4)  # as long as every draft is a copy
FREE = 0.5  # creativity from which on captions are left unread where every draft is a copy
# Cosine of query and best match from which on what is meant is what is remembered: all drafts read
# its captions. Below, one of so many ways to stray does; the others know the memories by their
# vectors alone, since a decoder that reads what another thing is called calls it so.
RECOGNISED, ONE_READS_OF = 0.9, 4  # docs/experiments.md
RECOGNISED_IN_PART = 0.75  # by words and something else, which lie apart: nothing is near to both
# In cosines: of a draft's score (see `Draft`), and what being a copy takes away, or being cut by
# the most tokens there may be. Both are more than any cosine: the last resort.
LIKELIHOOD, COPY, CUT = 0.03, 100.0, 10.0
SLIP = 0.15  # each
ENDLESS = 0.1  # without a full stop, where what is remembered has one
MOST_READ = 400  # characters of a remembered text
NEARLY = 0.5  # likeness to a remembered text from which on that text is what was meant


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
        self.spelling = Spelling.of(self.tokenizer, word_list())
        self.name = NAMES["text"]
        self.space_id = self.settings.space_id
        self.fingerprint = fingerprint(*files)

    def generate(self, condition: Condition, *, seed: int, creativity: float) -> Generated:
        """A `str`: at creativity 0 what is remembered in the decoder's likeliest words, or word for
        word where the decoder cannot write it; above, that of several drafts which the decoder
        itself thinks best of, and no copy if one is none.

        With creativity the meaning strays and the sampling warms. `details`: the remembered texts
        that were read, the temperature, and `is_copy`: the text repeats a remembered one, above 0
        because every draft did. `quoted_from`: what was quoted, `memory_id` with the characters
        `start` to `end`. `ended`: False where the text was cut at the most tokens there may be.
        """
        require_creativity(creativity)
        if not creativity:
            return self._recalled(condition, seed)
        seeds = [derived_seed(seed, number) for number in range(DRAFTS)]
        return max(self._drafts(condition, seeds, creativity), key=lambda draft: draft.merit)

    def usual_candidates(self, creativity: float) -> int:
        return DRAFTS

    def candidates(
        self, condition: Condition, *, seeds: Sequence[int], creativity: float, refused: int = 0
    ) -> list[Generated]:
        """A draft for each seed; of an even number, two at a time stray the same way, the further
        the more often they were refused."""
        if len(seeds) == 1 and not refused:
            return [self.generate(condition, seed=seeds[0], creativity=creativity)]
        return self._drafts(condition, seeds, creativity, refused)

    def _recalled(self, condition: Condition, seed: int) -> Generated:
        """What the best remembered text says: itself, where the decoder has not the room for it,
        comes to no end, or writes nearly that."""
        best = self._best(condition)
        if best is None:
            return self._drafts(condition, [seed], 0.0)[0]
        if not self._fits(_said(best)):
            return _quoted(best, condition.words)
        (made,) = self._drafts(condition, [seed], 0.0)
        if not made.details["ended"]:
            return _quoted(best, condition.words)
        texts = [each for each in condition.ranked("text") if _said(each)]
        nearest = max(texts, key=lambda each: likeness(made.media, _said(each)))
        if likeness(made.media, _said(nearest)) >= NEARLY and made.media != _said(nearest):
            return _quoted(nearest, condition.words)
        return made

    def _best(self, condition: Condition) -> Neighbour | None:
        """The best remembered text, where one may be quoted."""
        texts = (each for each in condition.ranked("text") if _said(each))
        return next(texts, None) if condition.quotes else None

    def _drafts(
        self, condition: Condition, seeds: Sequence[int], creativity: float, refused: int = 0
    ) -> list[Generated]:
        """As long as every one is a copy, they are written again further away."""
        require_creativity(creativity)
        prompt, used = self._prompt(condition)
        temperature = 0.2 + 0.8 * creativity if creativity else 0.0
        remembered = [str(n.media) for n in condition.neighbours if n.modality == "text"]
        best = self._best(condition)
        # Part of a text that is too long, and no more, is no use: then rather all of it.
        long = None if best is None or self._fits(_said(best)) else _quoted(best, condition.words)
        mixed = creativity > 0 and not refused and long is None and not _recognised(condition)
        randoms = [torch.Generator().manual_seed(seed % 2**63) for seed in seeds]
        leaders = randoms[:: TOGETHER if len(randoms) % TOGETHER == 0 else 1]
        for further, reads in _steps(creativity, refused, long is not None):
            size = STRAY * creativity + further
            ways = _ways(prompt, condition, len(leaders)) if mixed else [prompt] * len(leaders)
            written = drafts(
                self.decoder,
                [
                    replace(strayed(way, size, each), reads=reads and way.reads)
                    for way, each in zip(ways, leaders, strict=True)
                ],
                temperatures=[temperature] * len(randoms),
                randoms=randoms,
                spelling=self.spelling,
                known={word for text in remembered for word in words_in(text[:MOST_READ])},
            )
            made = [self._generated(each, remembered, temperature, used) for each in written]
            if long is not None:
                made = [long if _is_part(each) else each for each in made]
            if not all(each.details["is_copy"] for each in made):
                break
        return made

    def _generated(
        self, draft: Draft, remembered: Sequence[str], temperature: float, used: list[str]
    ) -> Generated:
        text = tidy(self.spelling.text(draft.ids))
        if not draft.ended:
            text = tidy(rounded_off(text))
        copy = is_copy(text, remembered)
        endless = not ends(text) and any(map(ends, remembered))
        return Generated(
            media=text,
            details={
                "temperature": round(temperature, 3),
                "read_memories": used,
                "captions_read": draft.reads and bool(used),
                "tokens": len(draft.ids),
                "ended": draft.ended,
                "is_copy": copy,
            },
            merit=LIKELIHOOD * draft.score
            - SLIP * slips(text)
            - ENDLESS * endless
            - COPY * (copy or is_copy(once(text), remembered))
            - CUT * (not draft.ended)
            - COPY * goes_on_after(text),
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
        captions = tuple(self._caption(str(n.media), condition.words) for n, _ in texts)
        prompt = Prompt(
            vectors=np.stack([fused, condition.query, *vectors[order]]).astype(np.float32),
            shares=tuple(weight for _, weight in chosen),
            captions=captions,
            caption_shares=tuple(weight for _, weight in texts),
            whole=(True,) * len(captions),
        )
        return prompt, [n.id for n, _ in texts]

    def _caption(self, text: str, asked: str) -> tuple[int, ...]:
        """Token ids of the part that answers best."""
        part = passage(text, asked, self._fits)
        read = text[part.start : part.end]
        # Of a sentence that goes on, what can stand alone: a decoder that has read "in the", and no
        # more, makes something up.
        return self._ids(read if part.ends else rounded_off(read))

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def _fits(self, text: str) -> bool:
        """Whether the decoder reads all of it. What is much longer is not even tokenised."""
        return len(text) <= MOST_READ and len(self._ids(text)) <= self.settings.caption_tokens


def _steps(creativity: float, refused: int, long: bool) -> list[tuple[float, bool]]:
    """As long as every draft is a copy: how much further they stray, and whether the remembered
    captions are read, which the pointer repeats wherever the vectors are."""
    if not creativity:
        return [(0.0, True)]
    if refused:  # what was refused is not read again
        return [(further, False) for further in STRAY_FURTHER[min(refused - 1, 2) :]]
    if long:  # far from a long text there is less to say than in it
        return [(further, True) for further in STRAY_FURTHER[:2]]
    free = [(STRAY_FURTHER[1], False)] if creativity >= FREE else []
    return [*((further, True) for further in STRAY_FURTHER), *free]


def _ways(prompt: Prompt, condition: Condition, count: int) -> list[Prompt]:
    """What the drafts are written from where what is asked is not remembered itself: one reads the
    captions, and of the others every second has the query drawn towards the remembered texts."""
    query = condition.query
    texts = [each.vector for each in condition.neighbours if each.modality == "text"]
    if texts:
        query = towards_texts(query, np.stack(texts), strength=TOWARDS_TEXTS)
    vectors = np.concatenate([prompt.vectors[:1], query[None], prompt.vectors[2:]])
    unread = replace(prompt, reads=False)
    drawn = replace(unread, vectors=vectors.astype(np.float32))
    cycle = [prompt, *(drawn if at % 2 else unread for at in range(1, ONE_READS_OF))]
    return [cycle[at % ONE_READS_OF] for at in range(count)]


def _recognised(condition: Condition) -> bool:
    cosines = [float(each.vector @ condition.query) for each in condition.neighbours]
    parts = condition.words and condition.pointed
    return max(cosines, default=0.0) >= (RECOGNISED_IN_PART if parts else RECOGNISED)


def _said(memory: Neighbour) -> str:
    return str(memory.media).strip()


def _is_part(made: Generated) -> bool:
    return bool(made.details["is_copy"] or not made.details["ended"])


def _quoted(memory: Neighbour, asked: str) -> Generated:
    text = str(memory.media)
    part = passage(text, asked, quotable)
    return Generated(
        media=text[part.start : part.end],
        details={
            "temperature": 0.0,
            "read_memories": [memory.id],
            "is_copy": True,
            "ended": part.ends,
            "quoted_from": {"memory_id": memory.id, "start": part.start, "end": part.end},
        },
        merit=-COPY,
    )


def tidy(text: str) -> str:
    """One line without doubled blanks."""
    return " ".join(text.split()) or "…"
