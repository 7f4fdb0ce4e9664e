"""Which memories a generation is made from.

The best episodes over all modalities are taken, by the score of their best hit, then by how many
rankings they lead. Of each episode come the memory that matched, because its vector says why the
episode is here, and the memories of the output's modalities, because a generator works from media
of its own modality.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from encoders.base import Space
from encoders.sounds import Recording
from generator.base import Condition, Neighbour
from generator.fusion import fuse, methods_in
from memory_service.errors import (
    InvalidMedia,
    ModalityUnavailable,
    NotFound,
    StorageFailure,
    UnsupportedMedia,
)
from memory_service.records import Generation, Memory, Reach, Retrieval, Segment, Vector
from memory_service.services.models import Models, key_of, media_errors
from memory_service.services.queries import Query
from memory_service.services.ranking import RANK_CONSTANT
from memory_service.storage import lineage, segments
from memory_service.storage.store import Store

log = logging.getLogger(__name__)

FIRST_S = 8.0  # of a long sound without segments: a generator makes no more than four seconds


@dataclass(frozen=True)
class Source:
    """A memory with what a generator needs of it."""

    memory: Memory
    neighbour: Neighbour
    segment: Segment | None = None  # the part of a long sound that `neighbour` is; None: the whole


def choose(
    retrieval: Retrieval,
    query: Query,
    k: int,
    modalities: Collection[str],
    *,
    store: Store,
    models: Models,
) -> list[Memory]:
    """The memories of the best `k` episodes, best episode first, those in it as stored.

    Where a prototype matched, its member in the episode stands for it: what was stored is what
    things are made from, and can be told after the prototype is gone.
    """
    best = _best_episodes(retrieval, query, models)[:k]
    members = defaultdict(list)
    for memory in store.catalog.members([episode for episode, _ in best]):
        members[memory.episode_id].append(memory)
    best = [
        (episode, lineage.member_in(store.catalog, episode, matched) or matched)
        for episode, matched in best
    ]
    return [
        memory
        for episode, matched in best
        for memory in members[episode]
        if memory.id == matched or memory.modality in modalities
    ]


def _best_episodes(retrieval: Retrieval, query: Query, models: Models) -> list[tuple[str, str]]:
    """(episode id, id of the memory in it that matched best), best first."""

    def score_of(reach: Reach, modality: str) -> float:
        matched_modality = reach.via_modality or modality
        return float(models.calibration.score(reach.cosine, query.modality, matched_modality))

    score: dict[str, float] = {}
    matched: dict[str, str] = {}
    reciprocal: dict[str, float] = defaultdict(float)
    for hits in retrieval.hits.values():
        for rank, hit in enumerate(hits, start=1):
            episode, modality = hit.memory.episode_id, hit.memory.modality
            reciprocal[episode] += 1 / (RANK_CONSTANT + rank)
            if hit.score > score.get(episode, -1.0):
                score[episode] = hit.score
                ways = {score_of(each, modality): each.via for each in reversed(hit.reached_by)}
                matched[episode] = ways[max(ways)] or hit.memory.id
    ranked = sorted(score, key=lambda episode: (-score[episode], -reciprocal[episode], episode))
    return [(episode, matched[episode]) for episode in ranked]


def load(
    memories: Sequence[Memory], query: Vector, space: Space, store: Store, models: Models
) -> list[Source]:
    """Vectors and decoded media; what has no vector of the space or is unreadable is left out.

    Of a long sound, vector and media are those of the segment that is nearest to the query: why it
    was recalled, and short enough to be heard whole. A function of query and memory: see `replay`.
    """
    sources = []
    for memory in memories:
        try:
            source = _source(memory, query, space, store, models)
        except NotFound:  # forgotten since it was found
            continue
        except (StorageFailure, InvalidMedia, UnsupportedMedia):
            log.exception("memory %s cannot be read, and is left out", memory.id)
            continue
        if source is not None:
            sources.append(source)
    return sources


def _source(
    memory: Memory, query: Vector, space: Space, store: Store, models: Models
) -> Source | None:
    vector = store.catalog.vector(memory.sequence, key_of(space))
    if vector is None:
        return None
    content = store.blobs.read(memory.blob)
    decoded = models.decode_stored(memory.modality, content, memory_id=memory.id)
    media, segment = decoded.media, None
    if isinstance(media, Recording):
        start_s, end_s = 0.0, FIRST_S  # of a sound that was stored before there were segments
        parts = segments.of(store.catalog, memory.sequence, key_of(space))
        if parts:
            best = max(parts, key=lambda part: float(part.vector @ query))
            vector, start_s, end_s = best.vector, best.start_s or 0.0, best.end_s or FIRST_S
        with media_errors(memory_id=memory.id):
            media = media.read(start_s, end_s)
        segment = Segment(start_s, end_s)
    neighbour = Neighbour(
        memory.id, decoded.modality, vector, media, _tags(memory), memory.episode_id
    )
    return Source(memory, neighbour, segment)


def _tags(memory: Memory) -> tuple[str, ...]:
    """The metadata's `tags`, a list or words with commas between."""
    given = memory.metadata.get("tags", ())
    listed = given.split(",") if isinstance(given, str) else given
    if not isinstance(listed, list | tuple):
        return ()
    return tuple(
        dict.fromkeys(each.strip() for each in listed if isinstance(each, str) and each.strip())
    )


def condition(
    query: Vector,
    sources: Sequence[Source],
    fusion: str,
    space_id: str,
    words: str = "",
    *,
    pointed: bool = False,
) -> Condition:
    """A function of its arguments alone, and of the weights of a fusion that was learnt: replay
    depends on it. `space_id`: of the vectors; `words`: the texts of the query; `pointed`: it has
    more than these."""
    vectors = np.zeros((len(sources), len(query)), np.float32)
    for row, source in enumerate(sources):
        vectors[row] = source.neighbour.vector
    fused, weights = fuse(query, vectors, fusion, space_id=space_id)
    best: dict[str, float] = defaultdict(float)
    for source, weight in zip(sources, weights, strict=True):
        best[source.memory.episode_id] = max(best[source.memory.episode_id], float(weight))
    matches = np.array([best[source.memory.episode_id] for source in sources], np.float32)
    neighbours = tuple(source.neighbour for source in sources)
    return Condition(query, fused, neighbours, weights, words, pointed=pointed, matches=matches)


def condition_of(record: Generation, sources: Sequence[Source]) -> Condition:
    """The condition that a generation is made by, from its record without outputs. Raises
    ModalityUnavailable where the weights of a fusion that was learnt are gone."""
    known = methods_in(record.space_id)
    if record.fusion not in known:
        raise ModalityUnavailable(
            f"the weights of fusion {record.fusion!r} are not here", accepted=list(known)
        )
    return condition(
        record.query_vector,
        sources,
        record.fusion,
        record.space_id,
        record.words,
        pointed=any(part.modality != "text" for part in record.query),
    )
