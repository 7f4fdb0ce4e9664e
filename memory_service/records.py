"""The records that services exchange. Frozen, and ignorant of storage, HTTP and models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from json.encoder import encode_basestring as quoted  # of C, where there is one
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic_core import to_json

Vector = npt.NDArray[np.float32]  # (D,), unit length

RetrievalMode = Literal["direct", "associative", "auto"]
FusionMethod = Literal["sum", "weighted", "attention", "learned"]


@dataclass(frozen=True)
class Upload:
    """Bytes that a caller hands in. `media_type` is what was declared; the content decides.

    `vector`, if given, is of the space named: what its encoder would make of the content.
    """

    modality: str
    content: bytes
    media_type: str | None = None
    filename: str | None = None
    vector: Vector | None = None  # (D,), of any length
    space: str | None = None


@dataclass(frozen=True)
class StoreOrder:
    """An episode that is to be stored: what belongs together.

    `metadata` is given to each of the memories. With `if_duplicate="skip"`, an episode of the same
    namespace that has exactly these contents is answered instead, and keeps the expiry that it
    had. `expires_at` (Unix seconds) or `ttl_s` (from now) says from when on the episode is not
    found any more, and will be deleted.
    """

    uploads: Sequence[Upload]
    namespace: str = "default"
    metadata: Mapping[str, Any] | None = None
    created_at: float | None = None  # Unix seconds; None: now
    if_duplicate: Literal["keep", "skip"] = "keep"
    expires_at: float | None = None
    ttl_s: float | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True)
class Claim:
    """A key of a namespace, and the one request that it stands for."""

    namespace: str
    key: str
    request: str  # hash of what is asked
    made_at: float  # Unix seconds
    expires_at: float


@dataclass(frozen=True)
class Claimed:
    """What came of a request that bore a key."""

    result: str  # id of the episode, or of the generation
    duplicate: bool  # of a store: the episode had been there


@dataclass(frozen=True, slots=True)
class Memory:
    """One stored item of one modality. Thousands are kept between queries: hence the slots."""

    id: str  # sorts by time of storing
    sequence: int  # 1, 2, 3 ... over the whole store; never reused
    namespace: str
    episode_id: str
    modality: str
    media_type: str
    blob: str  # SHA-256 of the original bytes, hex
    size_bytes: int
    metadata: Mapping[str, Any]
    created_at: float  # Unix seconds
    text: str | None = None  # the text itself when modality is "text"
    expires_at: float | None = None  # Unix seconds; not found from then on
    consolidated_by: str | None = None  # of a prototype: id of the job that made it
    _json: str | None = field(default=None, init=False, repr=False, compare=False)

    def placed(self, sequence: int, blob: str) -> Memory:
        """The same as it is stored. `dataclasses.replace` would take three times as long."""
        return Memory(
            self.id,
            sequence,
            self.namespace,
            self.episode_id,
            self.modality,
            self.media_type,
            blob,
            self.size_bytes,
            self.metadata,
            self.created_at,
            self.text,
            self.expires_at,
            self.consolidated_by,
        )

    @property
    def as_json(self) -> str:
        """The members of a JSON object, without its braces. Made once: a memory that is found again
        and again is told each time."""
        if self._json is None:
            object.__setattr__(self, "_json", self._told())
        assert self._json is not None
        return self._json

    def _told(self) -> str:
        # Ids and digest are our own, and need no escapes.
        metadata = to_json(self.metadata).decode() if self.metadata else "{}"
        text = "null" if self.text is None else quoted(self.text)
        expires_at = "null" if self.expires_at is None else repr(self.expires_at)
        return (
            f'"id":"{self.id}","episode_id":"{self.episode_id}",'
            f'"namespace":{quoted(self.namespace)},"modality":{quoted(self.modality)},'
            f'"media_type":{quoted(self.media_type)},"size_bytes":{self.size_bytes},'
            f'"sha256":"{self.blob}","text":{text},"metadata":{metadata},'
            f'"created_at":{self.created_at!r},"expires_at":{expires_at},'
            f'"prototype":{"false" if self.consolidated_by is None else "true"}'
        )


@dataclass(frozen=True)
class Strength:
    """How alive a memory is, and what that was computed from: see `strength`."""

    value: float
    retention: float  # the value in [0, 1)
    half_life_s: float | None  # of its namespace; None: no decay
    base: float  # value right after the last encounter
    since: float  # when that was, Unix seconds
    recalls: int
    recalled_at: float | None
    now: float  # the time that the value is of


@dataclass(frozen=True)
class Ancestor:
    """One member of a prototype."""

    memory_id: str
    episode_id: str
    cosine: float  # of the member and the prototype
    consolidated_at: float  # Unix seconds
    medoid: bool  # the prototype has this one's content


@dataclass(frozen=True)
class Lineage:
    """`members` of a prototype; of a member, `prototype` and its own entry as the only member."""

    prototype: str  # memory id
    job: str
    members: tuple[Ancestor, ...]


@dataclass(frozen=True)
class Explained:
    """A memory with what was derived from its life."""

    memory: Memory
    strength: Strength
    lineage: Lineage | None  # None: neither prototype nor member of one


@dataclass(frozen=True)
class Life:
    """How memories of a namespace live. None: no decay."""

    half_life_s: float | None  # of strength and recency
    trace_half_life_s: float | None  # of the trace


@dataclass(frozen=True)
class NamespaceLife:
    namespace: str
    life: Life
    configured: tuple[str, ...]  # which of it was set for this namespace; the rest are defaults


@dataclass(frozen=True)
class Weights:
    """What else than likeness a ranking goes by; all 0: nothing."""

    context: float = 0.0  # share of the trace in the query
    recency: float = 0.0
    strength: float = 0.0


NEAREST = Weights()


@dataclass(frozen=True)
class Episode:
    """Memories that were stored together, in the order given."""

    id: str
    namespace: str
    created_at: float
    memories: tuple[Memory, ...]


@dataclass(frozen=True)
class Stored:
    """Answer to a store."""

    episode: Episode
    duplicate: bool = False  # the episode was there already, and nothing was stored
    replayed: bool = False  # a request of the same key was answered so before
    timings_ms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Embedded:
    """A vector that was made of media, (D,) of unit length, and the space that it is of."""

    modality: str
    media_type: str
    space_id: str
    space_fingerprint: str
    vector: Vector


@dataclass(frozen=True)
class QueryPart:
    """One part of a query: media to be encoded, or a vector of an active space. Not both.

    `space` names the vector's space, which has to be said where several have its dimension.
    """

    modality: str | None = None
    content: bytes | None = None
    media_type: str | None = None
    vector: Vector | None = None
    weight: float = 1.0
    space: str | None = None


@dataclass(frozen=True)
class Segment:
    """A part of a long sound, in seconds from its beginning."""

    start_s: float
    end_s: float


@dataclass(frozen=True)
class Reach:
    """One way by which a hit was reached."""

    path: Literal["direct", "associative"]
    rank: int  # 1 = best, within this path
    cosine: float  # raw cosine of the query to the memory that matched
    via: str | None = None  # associative: id of the memory of the same episode that matched
    via_modality: str | None = None
    segment: Segment | None = None  # where in the memory that matched; None: as a whole


@dataclass(frozen=True)
class Hit:
    memory: Memory
    score: float  # in [0, 1]: comparable within one modality (see encoders' calibration)
    cosine: float | None  # raw cosine of query and this memory; None where spaces differ
    reached_by: tuple[Reach, ...]
    segment: Segment | None = None  # the part of this memory that `cosine` is of; None: the whole


@dataclass(frozen=True)
class Retrieval:
    hits: Mapping[str, tuple[Hit, ...]]  # by modality asked for, best first
    familiarity: Mapping[str, float]  # by modality: cos(query, trace)
    query_vector: Vector
    timings_ms: Mapping[str, float]
    # By modality asked for, the id of the space that the query was compared in; None where query
    # and modality share none: nothing is reached directly there, by association only.
    spaces: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class MemoryShare:
    """What one memory gave to a generation."""

    memory_id: str
    episode_id: str
    modality: str
    weight: float
    cosine: float
    deleted: bool = False  # the memory was forgotten after the generation was made
    segment: Segment | None = None  # the part of a long sound that was used; None: the whole
    # By the output's modality, 1 - cosine of that output and of the one made with the same seed
    # without this memory. Empty until it was measured.
    effects: Mapping[str, float] = field(default_factory=dict)

    @property
    def effect(self) -> float | None:
        """The mean over the outputs; None until it was measured."""
        return sum(self.effects.values()) / len(self.effects) if self.effects else None


@dataclass(frozen=True)
class AskedPart:
    """A part of a query, as far as the record keeps it: words are, other media are not."""

    modality: str | None  # None: a bare vector
    text: str | None
    weight: float


@dataclass(frozen=True)
class MediaNovelty:
    """Distance to the memory that is nearest in pixels, log-mels or words."""

    measure: str
    value: float  # 0: the same
    memory_id: str


@dataclass(frozen=True)
class Draw:
    """One try at an output: a candidate among others, or one that was to be unlike the memory.

    `similarity` is the greater of the cosine to the nearest memory of the modality and the likeness
    of the media to the nearest of those compared; None where there is no memory to compare with, or
    where it was not limited and another one was taken. `score`: how well it fits what was asked;
    None where it was the only candidate. Those of one `round` were made together, and `taken` is
    none in records from before there were candidates: then the last one was.
    """

    seed: int
    similarity: float | None
    nearest_memory_id: str | None
    score: float | None = None
    taken: bool = False
    round: int = 0


@dataclass(frozen=True)
class GenerationOutput:
    id: str  # of this output
    modality: str
    media_type: str
    blob: str
    size_bytes: int
    text: str | None
    generator: str  # name of the generator
    generator_fingerprint: str
    # novelty: 1 - cosine to the nearest memory of the output's modality, in the shared space.
    novelty: float | None
    nearest_memory_id: str | None
    seed: int  # the generation's, or one derived from it for a further draw
    details: Mapping[str, Any] = field(default_factory=dict)
    draws: tuple[Draw, ...] = ()  # all of them; empty: there was one candidate, and no limit
    media_novelty: MediaNovelty | None = None
    # Embedding of the output, in its modality's space; two records are equal without it.
    vector: Vector | None = field(default=None, compare=False, repr=False)
    media_sha256: str | None = None  # of the file without manifest; None: it never had one
    effect_of_all: float | None = None  # as `MemoryShare.effects`, without any memory


@dataclass(frozen=True)
class Generation:
    """What was generated and from what: enough to replay it bit for bit on the same machine."""

    id: str
    namespace: str
    created_at: float
    seed: int
    creativity: float
    fusion: FusionMethod
    space_id: str
    space_fingerprint: str
    query_vector: Vector
    memories: tuple[MemoryShare, ...]
    outputs: tuple[GenerationOutput, ...]
    timings_ms: Mapping[str, float]
    query: tuple[AskedPart, ...] = ()  # empty: made before it was recorded
    modes: Mapping[str, str] = field(default_factory=dict)  # by modality, where it was not default
    # Cosines of the outputs' embeddings, by pairs of modalities ("image-text").
    agreement: Mapping[str, float] = field(default_factory=dict)
    fusion_fingerprint: str | None = None  # of its weights; None: the method has none
    # What was asked besides, as JSON: k, mode, filter and the like; None: made before it was kept.
    options: Mapping[str, Any] | None = None

    @property
    def words(self) -> str:
        """The texts of the query."""
        return "\n".join(each.text for each in self.query if each.text is not None)


Descendants = Literal["mark", "erase"]  # of a memory: the generations that were made from it


@dataclass(frozen=True)
class Manner:
    """How something is forgotten."""

    descendants: Descendants = "mark"  # mark: their record says that the memory was deleted
    wait: bool = False  # return when nothing of it is left in any file
    probe: bool = False  # look for it before and after
    keep_receipt: bool = True  # False: it is answered, and kept nowhere


PLAIN = Manner()


@dataclass(frozen=True)
class Selection:
    """Memories of one namespace: those that match, or with `all`, every one of them."""

    namespace: str
    filter: Mapping[str, Any] | None = None
    modality: str | None = None
    all: bool = False


@dataclass(frozen=True)
class Forgotten:
    """Receipt of a forgetting: what is gone, and from where. It holds no content, but hashes of it:
    who guesses a content can tell by its hash that it was there. Lists name the first 10,000."""

    id: str
    time: float  # Unix seconds
    what: str  # "memory", "episode", "filter", "namespace", "generation", "expired", "prototype"
    namespace: str
    memory_ids: tuple[str, ...]  # among them the prototypes that went along
    episode_ids: tuple[str, ...]  # episodes that have no memory left
    contents: tuple[str, ...]  # SHA-256 of the contents that were named
    blobs_removed: tuple[str, ...]  # those of them whose file is gone; others need the rest
    removed: Mapping[str, int]  # by place, how many entries: of all
    generations_marked: tuple[str, ...]
    generations_erased: tuple[str, ...]
    kept: bool  # the receipt can be read again
    complete: bool  # False: it goes on, or was interrupted after what is told here
    # Nothing is left in the write-ahead log, nor in unused parts of the catalog's pages. Otherwise
    # the log will be clean soon; see storage.residue for the rest.
    clean: bool
    probe: Mapping[str, Any] | None = None  # what was found of it, before and after
    digest: str | None = None  # of all memories: see storage.tally; None: made before there was one
    job: str | None = None  # that forgets it, or did
    damaged: tuple[str, ...] = ()  # "ID KIND", as fsck calls it: could not be verified before


@dataclass(frozen=True)
class NamespaceCounts:
    """What a namespace holds; expired memories and prototypes are not counted as memories."""

    namespace: str
    memories: int
    by_modality: Mapping[str, int]
    episodes: int
    generations: int
    prototypes: int
    content_bytes: int  # of the memories, equal contents counted each time


@dataclass(frozen=True)
class SubMemoryStats:
    namespace: str
    modality: str
    space_id: str
    count: int
    trace_norm: float


JobState = Literal["running", "succeeded", "failed", "cancelled", "interrupted"]


@dataclass(frozen=True)
class Job:
    """Work that goes on after its request was answered. All mappings hold JSON values.

    `interrupted`: the process ended while the job was running; the same request goes on with it.
    """

    id: str
    kind: str
    state: JobState
    created_at: float  # Unix seconds
    updated_at: float
    parameters: Mapping[str, Any]
    progress: Mapping[str, Any] = field(default_factory=dict)
    finished_at: float | None = None
    result: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None  # code, message, and what the error tells besides
