"""What the service answers, as frozen dataclasses, and how they are read from its JSON.

Unknown fields are ignored, so that a newer service can say more to an older client.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from memory_service.client.failures import ServiceError

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Memory:
    """One stored item of one modality."""

    id: str
    episode_id: str
    namespace: str
    modality: str
    media_type: str
    size_bytes: int
    sha256: str
    text: str | None  # the text itself when modality is "text"
    metadata: Mapping[str, Any]
    created_at: float  # Unix seconds
    expires_at: float | None = None  # Unix seconds; None: never
    prototype: bool = False  # stands for near-duplicates that were consolidated
    # Of a memory asked for by its id: how strong it is and why, and what stands for it or what it
    # stands for.
    strength: Mapping[str, Any] | None = None
    lineage: Mapping[str, Any] | None = None

    @classmethod
    def read(cls, data: Json) -> Memory:
        return cls(
            id=data["id"],
            episode_id=data["episode_id"],
            namespace=data["namespace"],
            modality=data["modality"],
            media_type=data["media_type"],
            size_bytes=data["size_bytes"],
            sha256=data["sha256"],
            text=data.get("text"),
            metadata=data.get("metadata") or {},
            created_at=data["created_at"],
            expires_at=data.get("expires_at"),
            prototype=bool(data.get("prototype")),
            strength=data.get("strength"),
            lineage=data.get("lineage"),
        )


@dataclass(frozen=True)
class Episode:
    """Memories that were stored together."""

    id: str
    namespace: str
    created_at: float
    memories: tuple[Memory, ...]

    @classmethod
    def read(cls, data: Json) -> Episode:
        memories = tuple(Memory.read(memory) for memory in data["memories"])
        return cls(data["id"], data["namespace"], data["created_at"], memories)


@dataclass(frozen=True)
class Stored:
    """Answer to a store; `duplicate`: the episode was there already, nothing was stored."""

    episode: Episode
    duplicate: bool
    timings_ms: Mapping[str, float]

    @classmethod
    def read(cls, data: Json) -> Stored:
        episode = Episode.read(data["episode"])
        return cls(episode, bool(data.get("duplicate")), data.get("timings_ms") or {})


@dataclass(frozen=True)
class BatchAnswer:
    """What became of one episode of a batch: `stored`, or the error it would have met alone."""

    index: int  # in the order given, from 0 on
    status: int
    stored: Stored | None = None
    error: ServiceError | None = None

    @classmethod
    def read(cls, data: Json, first: int) -> BatchAnswer:
        index, status = first + data["index"], int(data["status"])
        if status < 400:
            return cls(index, status, stored=Stored.read({"timings_ms": {}, **data}))
        error = ServiceError(data["code"], status, data["detail"], data)
        return cls(index, status, error=error)


@dataclass(frozen=True)
class Segment:
    """A part of a long sound, in seconds from its beginning."""

    start_s: float
    end_s: float

    @classmethod
    def read(cls, data: Json | None) -> Segment | None:
        return None if data is None else cls(data["start_s"], data["end_s"])


@dataclass(frozen=True)
class Reach:
    """One way by which a hit was reached: in the shared space, or over its episode."""

    path: str  # "direct" or "associative"
    rank: int
    cosine: float
    via: str | None  # associative: id of the memory of the same episode that matched
    via_modality: str | None
    segment: Segment | None = None  # where in the memory that matched; None: as a whole

    @classmethod
    def read(cls, data: Json) -> Reach:
        via, via_modality = data.get("via"), data.get("via_modality")
        segment = Segment.read(data.get("segment"))
        return cls(data["path"], data["rank"], data["cosine"], via, via_modality, segment)


@dataclass(frozen=True)
class Hit:
    memory: Memory
    score: float  # in [0, 1], comparable within one modality
    cosine: float | None
    reached_by: tuple[Reach, ...]
    segment: Segment | None = None  # the part of this memory that `cosine` is of; None: the whole

    @classmethod
    def read(cls, data: Json) -> Hit:
        ways = tuple(Reach.read(way) for way in data.get("reached_by") or ())
        segment = Segment.read(data.get("segment"))
        return cls(Memory.read(data["memory"]), data["score"], data.get("cosine"), ways, segment)


@dataclass(frozen=True)
class Retrieval:
    hits: Mapping[str, tuple[Hit, ...]]  # by modality, best first
    familiarity: Mapping[str, float]
    # By modality, the space that the query was compared in; None: reached by association only.
    spaces: Mapping[str, str | None]
    timings_ms: Mapping[str, float]
    raw: Json = field(repr=False, compare=False)  # the answer as it came

    @classmethod
    def read(cls, data: Json) -> Retrieval:
        hits = {
            modality: tuple(Hit.read(hit) for hit in found)
            for modality, found in data["results"].items()
        }
        return cls(
            hits=hits,
            familiarity=data.get("familiarity") or {},
            spaces=data.get("spaces") or {},
            timings_ms=data.get("timings_ms") or {},
            raw=data,
        )


@dataclass(frozen=True)
class Share:
    """What one memory gave to a generation."""

    memory_id: str
    episode_id: str
    modality: str
    weight: float
    cosine: float
    deleted: bool
    segment: Segment | None = None  # the part of a long sound that was used; None: the whole
    # By the output's modality, 1 - cosine of it and of the one made without this memory; empty
    # until it is measured: `explain`.
    effects: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, data: Json) -> Share:
        return cls(
            data["memory_id"],
            data["episode_id"],
            data["modality"],
            data["weight"],
            data["cosine"],
            bool(data.get("deleted")),
            Segment.read(data.get("segment")),
            data.get("effects") or {},
        )


@dataclass(frozen=True)
class Draw:
    """One of those that were made, of which one was taken."""

    seed: int
    similarity: float | None  # to a memory; None: there was none, or it was not measured
    nearest_memory_id: str | None
    score: float | None  # how well it fits the query; None: it was the only candidate
    taken: bool
    round: int  # those of one round were made together

    @classmethod
    def read(cls, data: Json) -> Draw:
        return cls(
            seed=data["seed"],
            similarity=data.get("similarity"),
            nearest_memory_id=data.get("nearest_memory_id"),
            score=data.get("score"),
            taken=bool(data.get("taken")),
            round=data.get("round", 0),
        )


@dataclass(frozen=True)
class MediaNovelty:
    """Distance to the memory that is nearest as it is seen, heard or read."""

    measure: str
    value: float  # 0: the same
    memory_id: str

    @classmethod
    def read(cls, data: Json | None) -> MediaNovelty | None:
        return None if data is None else cls(data["measure"], data["value"], data["memory_id"])


@dataclass(frozen=True)
class Generated:
    """One generated picture, text or sound."""

    id: str
    modality: str
    media_type: str
    content: bytes | None  # None when the answer came without data
    text: str | None
    novelty: float | None  # 1 - cosine to the nearest memory of the modality; blur raises it, too
    nearest_memory_id: str | None
    generator: str
    details: Mapping[str, Any]
    sha256: str | None = None  # of the file, manifest included
    media_sha256: str | None = None  # without; None: the file has none
    seed: int | None = None  # the generation's, or the derived one of the draw taken
    draws: tuple[Draw, ...] = ()  # with several candidates or `max_similarity`: all of them
    media_novelty: MediaNovelty | None = None
    effect_of_all: float | None = None  # of all memories together; None: it was not measured

    @classmethod
    def read(cls, data: Json) -> Generated:
        encoded = data.get("data")
        return cls(
            id=data["id"],
            modality=data["modality"],
            media_type=data["media_type"],
            content=None if encoded is None else base64.b64decode(encoded),
            text=data.get("text"),
            novelty=data.get("novelty"),
            nearest_memory_id=data.get("nearest_memory_id"),
            generator=(data.get("generator") or {}).get("name", ""),
            details=data.get("details") or {},
            sha256=data.get("sha256"),
            media_sha256=data.get("media_sha256"),
            seed=data.get("seed"),
            draws=tuple(Draw.read(draw) for draw in data.get("draws") or ()),
            media_novelty=MediaNovelty.read(data.get("media_novelty")),
            effect_of_all=data.get("effect_of_all"),
        )


@dataclass(frozen=True)
class Generation:
    """What was generated, and from what."""

    id: str
    namespace: str
    seed: int
    creativity: float
    fusion: str
    memories: tuple[Share, ...]
    outputs: tuple[Generated, ...]
    timings_ms: Mapping[str, float]
    raw: Json = field(repr=False, compare=False)  # the answer as it came, media included
    agreement: Mapping[str, float] = field(default_factory=dict)  # cosines of pairs of outputs
    created_at: float | None = None  # Unix seconds
    query: tuple[Mapping[str, Any], ...] = ()  # by part: modality, text (of texts only), weight
    # What was asked besides: k, mode, filter and the like; None: made before it was kept.
    options: Mapping[str, Any] | None = None

    @classmethod
    def read(cls, data: Json) -> Generation:
        return cls(
            id=data["id"],
            namespace=data["namespace"],
            seed=data["seed"],
            creativity=data["creativity"],
            fusion=data["fusion"],
            memories=tuple(Share.read(share) for share in data["memories"]),
            outputs=tuple(Generated.read(output) for output in data["outputs"]),
            timings_ms=data.get("timings_ms") or {},
            raw=data,
            agreement=data.get("agreement") or {},
            created_at=data.get("created_at"),
            query=tuple(data.get("query") or ()),
            options=data.get("options"),
        )


@dataclass(frozen=True)
class GenerationPage:
    """The newest first, without media; `next` is the cursor of the next page."""

    generations: tuple[Generation, ...]
    next: str | None

    @classmethod
    def read(cls, data: Json) -> GenerationPage:
        found = tuple(Generation.read(each) for each in data["generations"])
        return cls(found, data.get("next"))


@dataclass(frozen=True)
class Embedded:
    """The vector of one item, and the space that it is of."""

    modality: str
    space: str  # id
    vector: npt.NDArray[np.float32] = field(repr=False, compare=False)  # (D,), unit length

    @classmethod
    def read(cls, data: Json) -> Embedded:
        vector = np.asarray(data["vector"], np.float32)
        return cls(data["modality"], data["space"]["id"], vector)


@dataclass(frozen=True)
class Page:
    """Memories in the order of storing; `next` is the cursor of the next page."""

    memories: tuple[Memory, ...]
    next: str | None

    @classmethod
    def read(cls, data: Json) -> Page:
        return cls(tuple(Memory.read(memory) for memory in data["memories"]), data.get("next"))


@dataclass(frozen=True)
class Forgotten:
    """Receipt of a deletion: what is gone, and from where."""

    id: str
    memory_ids: tuple[str, ...]
    episode_ids: tuple[str, ...]
    contents: tuple[str, ...]  # SHA-256
    blobs_removed: tuple[str, ...]  # those of them whose bytes are gone
    removed: Mapping[str, int]  # by place, how many entries
    generations_marked: tuple[str, ...]
    generations_erased: tuple[str, ...]
    complete: bool
    clean: bool  # nothing is left in any file
    probe: Mapping[str, Any] | None  # what was found before and after, where that was asked for
    digest: str | None = None  # of all memories, where lists name the first 10,000
    job: str | None = None  # of many memories: where not `complete`, it goes on
    damaged: tuple[str, ...] = ()  # "ID KIND", as fsck calls it: was not as it had been stored

    @classmethod
    def read(cls, data: Json) -> Forgotten:
        def listed(key: str) -> tuple[str, ...]:
            return tuple(data.get(key) or ())

        return cls(
            id=data["id"],
            memory_ids=listed("memory_ids"),
            episode_ids=listed("episode_ids"),
            contents=listed("contents"),
            blobs_removed=listed("blobs_removed"),
            removed=data.get("removed") or {},
            generations_marked=listed("generations_marked"),
            generations_erased=listed("generations_erased"),
            complete=bool(data.get("complete", True)),
            clean=bool(data.get("clean")),
            probe=data.get("probe"),
            digest=data.get("digest"),
            job=data.get("job"),
            damaged=listed("damaged"),
        )


@dataclass(frozen=True)
class Job:
    """Work that goes on in the service; `state` is running, succeeded, failed, cancelled or
    interrupted (the service was stopped meanwhile: the same request goes on with it)."""

    id: str
    kind: str
    state: str
    progress: Mapping[str, Any]
    result: Mapping[str, Any] | None
    error: Mapping[str, Any] | None  # code and message
    raw: Json = field(repr=False, compare=False)  # the answer as it came

    @classmethod
    def read(cls, data: Json) -> Job:
        return cls(
            id=data["id"],
            kind=data["kind"],
            state=data["state"],
            progress=data.get("progress") or {},
            result=data.get("result"),
            error=data.get("error"),
            raw=data,
        )
