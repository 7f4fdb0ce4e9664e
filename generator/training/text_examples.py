"""Examples for the caption decoder: a text to be written, a query for it, and a memory.

Queries, memories and what is told of them are of the kinds that the service gives. Knows nothing
about tokens and weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from encoders.base import Vectors, normalize
from generator.text import arranged
from generator.training.text_data import Texts, noisy

SEEN = 0.5  # of the queries for a text with pictures or sounds: one of these
NOTHING = 0.03  # of the queries: they say nothing, and what is meant is all that is remembered
OWN = 0.2  # of the memories: the target itself is among them
WITH_WORDS = 0.2  # of those: together with the text
ALIKE = 0.6  # of those: remembered is what looks or sounds alike, else what means alike

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Example:
    """One training item: what is written, and from what."""

    target: int
    vectors: Vectors  # (2 + K, D): fused, query, neighbours
    shares: Vectors  # (K,)
    captions: tuple[int, ...]  # rows of the remembered texts whose caption is shown
    caption_shares: tuple[float, ...]


@dataclass(frozen=True)
class Recalled:
    """A query, and what a memory would answer it with."""

    query: Vectors  # (D,)
    rows: Rows  # (E,) texts whose episodes are remembered
    vectors: Vectors  # (M, D)
    episode: Rows  # (M,) of each vector its place in `rows`
    is_text: npt.NDArray[np.bool_]  # (M,)


def recalled(
    target: int,
    data: Texts,
    near: npt.NDArray[np.int32],
    random: np.random.Generator,
    *,
    seen: float = SEEN,
    own: float = OWN,
    together: float = 0.0,
    same: float = 0.0,
) -> Recalled:
    """A query for a text and a memory of the kinds that occur in use.

    The query is the text's own vector with noise, or by `seen` that of a picture or sound of it.
    `own`: share of the memories that the target is in; `together`: of the queries by text, those
    whose memories come with their pictures and sounds, as they do where these are asked for.
    `same`: of the targets asked for by a picture or sound and remembered, those that are remembered
    with that very one, as in a recall of what was stored.
    """
    if data.nothing is not None and random.random() < NOTHING:
        rows = np.array([target])
        return Recalled(data.nothing, rows, *_memory(rows, data, random, random.random() < 0.5))
    query, alike, by_sight = _asked(target, data, near, random, seen)
    rows = _remembered(target, data, alike, random, own)
    paired = by_sight or random.random() < together
    vectors, episode, is_text = _memory(rows, data, random, paired)
    if by_sight and random.random() < same and _is_one_of(query, target, data):
        vectors[(rows[episode] == target) & ~is_text] = query
    return Recalled(query, rows, vectors, episode, is_text)


def make_example(
    target: int,
    data: Texts,
    near: npt.NDArray[np.int32],
    random: np.random.Generator,
    *,
    seen: float = SEEN,
    neighbours: int = 4,
    empty: bool = False,
) -> Example:
    """A target with what the decoder reads of a query and a memory; `empty`: of the query alone,
    with the same draws."""
    found = recalled(target, data, near, random, seen=seen)
    query, vectors, episode = found.query, found.vectors, found.episode
    weights = _shares(query, vectors, random)
    scale = len(vectors) if random.random() < 0.3 else 1
    if empty:
        alone = np.stack([query, query]).astype(np.float32)
        return Example(target, alone, np.zeros(0, np.float32), (), ())
    fused = normalize(query + scale * (weights @ vectors))
    best = np.zeros(len(found.rows), np.float32)
    np.maximum.at(best, episode, weights)
    fused, order, shares = arranged(fused, vectors, best[episode], found.is_text, neighbours)
    shown = [place for place, at in enumerate(order) if found.is_text[at]]
    return Example(
        target=target,
        vectors=np.concatenate([fused[None], query[None], vectors[order]]).astype(np.float32),
        shares=shares,
        captions=tuple(int(found.rows[episode[order[place]]]) for place in shown),
        caption_shares=tuple(float(shares[place]) for place in shown),
    )


def _asked(
    target: int,
    data: Texts,
    near: npt.NDArray[np.int32],
    random: np.random.Generator,
    seen: float,
) -> tuple[Vectors, Rows, bool]:
    """The query, the texts that it may recall, and whether it is a picture or sound."""
    meant = near[target].astype(np.int64)
    own = data.shown.of(target)
    if not own or random.random() >= seen:
        return noisy(data.vectors[target], random), meant, False
    place = own[int(random.integers(len(own)))]
    query = data.shown.vectors[place]
    if random.random() < WITH_WORDS:
        query = normalize(query + noisy(data.vectors[target], random))
    alike = data.shown.near[place]
    return query, alike if len(alike) and random.random() < ALIKE else meant, True


def _is_one_of(query: Vectors, target: int, data: Texts) -> bool:
    """Whether it is a picture or sound of the target alone, without words."""
    own = data.shown.of(target)
    return bool((data.shown.vectors[own.start : own.stop] @ query).max(initial=0.0) > 0.9999)


def _remembered(
    target: int, data: Texts, alike: Rows, random: np.random.Generator, own: float
) -> Rows:
    """Texts in memory: none (10 %), unrelated ones (8 %), by `own` the target itself among others,
    else only others that are alike, and for most targets that name two things, the two.

    Drawing from a longer list than is shown, and mostly without the target, keeps the decoder from
    copying what it reads (SmallCap).
    """
    kind = random.random()
    count = min(int(random.integers(1, 5)), len(alike))
    if kind < 0.10:
        return np.zeros(0, np.int64)
    if kind < 0.18:
        return random.integers(0, len(data.texts), count)
    rows = random.choice(alike, count, replace=False)
    if kind < 0.18 + own:
        rows[int(random.integers(count))] = target
    elif target in data.parts and kind < 0.80:
        rows = random.permutation([*data.parts[target], *rows[: min(count, 3) - 1]])
    return rows


def _memory(
    rows: Rows, data: Texts, random: np.random.Generator, by_sight: bool
) -> tuple[Vectors, Rows, npt.NDArray[np.bool_]]:
    """Vectors (M, D) of what is remembered with each text, its place in `rows`, and what is text.

    A picture that was recalled comes with the text of its episode; a text mostly comes alone. Now
    and then a picture or a sound has no text.
    """
    vectors: list[Vectors] = []
    episode: list[int] = []
    is_text: list[bool] = []
    for place, row in enumerate(rows.tolist()):
        kind = random.random()
        silent = kind < (0.10 if by_sight else 0.25)
        if silent or kind > (0.25 if by_sight else 0.90):
            vectors.append(_sight(row, data, random))
            episode.append(place)
            is_text.append(False)
        if not silent:
            vectors.append(data.vectors[row])
            episode.append(place)
            is_text.append(True)
    stacked = np.stack(vectors) if vectors else np.zeros((0, data.vectors.shape[1]), np.float32)
    return stacked, np.array(episode, np.int64), np.array(is_text, bool)


def _sight(row: int, data: Texts, random: np.random.Generator) -> Vectors:
    """A vector of a picture or sound of a text; for one without any, its own with noise."""
    own = data.shown.of(row)
    if not own:
        return noisy(data.vectors[row], random)
    vector: Vectors = data.shown.vectors[own[int(random.integers(len(own)))]]
    return vector


def _shares(query: Vectors, memories: Vectors, random: np.random.Generator) -> Vectors:
    """Softmax over similarity at a temperature drawn between .02 and .5: any fusion may be used."""
    if not len(memories):
        return np.zeros(0, np.float32)
    temperature = 0.02 * 25.0 ** random.random()
    scores = memories @ query / temperature
    weights = np.exp(scores - scores.max())
    return np.asarray(weights / weights.sum(), np.float32)
