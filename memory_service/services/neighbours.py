"""Which memories a generation is made from.

The best episodes over all modalities are taken, by the score of their best hit, then by how many
rankings they lead. Of each episode come the memory that matched, because its vector says why the
episode is here, those of the query's own modality, since no other tells as surely that the very
same is meant, and those of the output's modalities, because a generator works from media of its
own modality.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from encoders.base import Space
from encoders.sounds import Recording
from generator.base import ITSELF, Condition, Neighbour
from generator.fusion import fuse, methods_in
from memory_service.errors import (
    InvalidMedia,
    ModalityUnavailable,
    NotFound,
    StorageFailure,
    UnsupportedMedia,
)
from memory_service.records import Generation, Memory, Reach, Retrieval, Segment, Vector
from memory_service.services.models import Calibration, Models, key_of, media_errors
from memory_service.services.queries import Query
from memory_service.services.ranking import RANK_CONSTANT
from memory_service.storage import lineage, segments
from memory_service.storage.store import Store

log = logging.getLogger(__name__)

SURE = 1e6  # odds of what is the query itself; of others as much at most
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
        if memory.id == matched or memory.modality in {query.modality, *modalities}
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
    asked: str | None = "text",
    calibration: Calibration,
) -> Condition:
    """A function of its arguments alone, and of the weights of a fusion that was learnt: replay
    depends on it. `space_id`: of the vectors; `words`: the texts of the query; `asked`: the
    modality of all of it, or None. `calibration` is that of the encoders."""
    vectors = np.zeros((len(sources), len(query)), np.float32)
    for row, source in enumerate(sources):
        vectors[row] = source.neighbour.vector
    fused, weights = fuse(query, vectors, fusion, space_id=space_id)
    return Condition(
        query,
        fused,
        tuple(source.neighbour for source in sources),
        weights,
        words,
        pointed=asked != "text",
        matches=_odds(sources, vectors @ query, asked, calibration),
    )


def _odds(
    sources: Sequence[Source], cosines: Vector, asked: str | None, calibration: Calibration
) -> Vector:
    """(K,): the odds that a source's episode is what was asked for, as a share of the best one's.

    Weights compare cosines as they are, and a text has a larger one to any text than to the very
    picture that it describes.
    """
    best: dict[str, float] = {}
    for source, cosine in zip(sources, cosines.tolist(), strict=True):
        score = calibration.score(cosine, asked, source.neighbour.modality)
        odds = SURE if cosine >= ITSELF else min(score / max(1 - score, 1 / SURE), SURE)
        best[source.memory.episode_id] = max(best.get(source.memory.episode_id, 0.0), odds)
    most = max([1 / SURE, *best.values()])  # none may be likely at all
    return np.array([best[each.memory.episode_id] / most for each in sources], np.float32)


def condition_of(
    record: Generation, sources: Sequence[Source], calibration: Calibration
) -> Condition:
    """The condition that a generation is made by, from its record without outputs. Raises
    ModalityUnavailable where the weights of a fusion that was learnt are gone."""
    known = methods_in(record.space_id)
    if record.fusion not in known:
        raise ModalityUnavailable(
            f"the weights of fusion {record.fusion!r} are not here", accepted=list(known)
        )
    modalities = {part.modality for part in record.query}
    return condition(
        record.query_vector,
        sources,
        record.fusion,
        record.space_id,
        record.words,
        asked=modalities.pop() if len(modalities) == 1 else None,
        calibration=calibration,
    )
