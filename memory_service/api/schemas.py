"""What the API takes and answers, as pydantic models: the source of the OpenAPI document.

What operators ask and are told is in `api.operator_schemas`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    create_model,
)

from memory_service.app import MODALITIES

Mode = Literal["direct", "associative", "auto"]
Fusion = Literal["sum", "weighted", "attention", "learned"]
Value = TypeVar("Value")
# The first wrong element ends the reading: a list of millions is not told one by one.
Several = Annotated[list[Value], Field(max_length=1_024, fail_fast=True)]
VECTOR_HELP = "List of numbers, or base64 of little-endian float32, in the active space."
MOST_VALUES = 65_536  # of a vector


def _numbers(value: Any) -> Any:
    """Base64 as it is, a list as an array: looked at once, not number by number."""
    if value is None or isinstance(value, str | np.ndarray):
        return value
    if not isinstance(value, list) or len(value) > MOST_VALUES:
        raise ValueError(f"a vector is base64, or a list of at most {MOST_VALUES} numbers")
    try:
        array = np.asarray(value)
    except ValueError:  # lists of different lengths
        array = np.empty(0, object)
    if array.dtype.kind not in "fiu" or array.ndim != 1:
        raise ValueError("a vector is a flat list of numbers, and nothing else is in it")
    return array.astype(np.float64)


_VECTOR_SCHEMA = {
    "anyOf": [
        {"type": "array", "items": {"type": "number"}, "maxItems": MOST_VALUES},
        {"type": "string"},
        {"type": "null"},
    ],
    "title": "Vector",
    "description": VECTOR_HELP,
    "default": None,
}
# Of JSON's values, an array (D,) of float64 or a string comes out.
Numbers = Annotated[Any, AfterValidator(_numbers), WithJsonSchema(_VECTOR_SCHEMA)]


def _one_of(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


class Strict(BaseModel):
    """A misspelt field is an error, not a default."""

    model_config = ConfigDict(extra="forbid")


class ItemIn(Strict):
    modality: str = Field(description=_one_of(MODALITIES), examples=["text"])
    text: str | None = Field(None, description="The text itself, for modality text.")
    data: str | None = Field(None, description="Base64 or data URI of the bytes.")
    media_type: str | None = Field(None, description="Informative; the content decides.")
    vector: Numbers = None
    space: str | None = Field(None, description="Id of the vector's space, which has to be named.")


class StoreRequest(Strict):
    items: Several[ItemIn] = Field(description="What belongs together: one episode.")
    namespace: str = Field("default", examples=["default"])
    metadata: dict[str, Any] | None = Field(None, examples=[{"place": "farm"}])
    if_duplicate: Literal["keep", "skip"] = Field(
        "keep", description="skip: answer the episode of exactly these contents, if there is one."
    )
    expires_at: float | None = Field(
        None, description="Unix seconds from when on it is not found; then it is deleted for good."
    )
    ttl_s: float | None = Field(None, description="The same, in seconds from now.")
    idempotency_key: str | None = Field(
        None, description="As the header Idempotency-Key; for the lines of a batch."
    )


class EmbedRequest(Strict):
    items: Several[ItemIn] = Field(description="As for a store, without vectors.")
    space: str | None = Field(
        None, description="Id of the space; default: the home of each item's modality."
    )


class _QueryPart(Strict):
    text: str | None = Field(None, examples=["a cat"])
    vector: Numbers = None
    space: str | None = Field(
        None, description="Id of the vector's space, where several have its dimension."
    )
    weight: float = Field(1.0, ge=1e-6, le=1e6, description="Share in the query.")


if TYPE_CHECKING:
    QueryPartIn = _QueryPart
else:  # with a field for each modality that there is
    _BASE64 = (str | None, Field(None, description="Base64 or data URI."))
    QueryPartIn = create_model(
        "QueryPartIn",
        __base__=_QueryPart,
        __doc__=f"One of {_one_of((*MODALITIES, 'vector'))}.",
        **{name: _BASE64 for name in MODALITIES if name != "text"},
    )


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


class QueryRequest(Strict):
    query: Annotated[
        Several[QueryPartIn],
        BeforeValidator(_listed, json_schema_input_type=QueryPartIn | list[QueryPartIn]),
    ] = Field(description="One part or several at once.")
    namespace: str = "default"
    mode: Mode = Field("auto", description="By the shared space, by episodes, or by both.")
    filter: dict[str, Any] | None = Field(
        None,
        description="Metadata fields and the value, list of values or operators that must hold: "
        "$eq $ne $in $nin $gt $gte $lt $lte $exists, $and $or $not, $created_at $media_type.",
    )

    context_weight: float = Field(
        0.0, description="Priming: share of the trace that is added to the query, 0 to 10."
    )
    recency_weight: float = Field(0.0, description="Share of recency in the score, 0 to 10.")
    strength_weight: float = Field(0.0, description="Share of strength in the score, 0 to 10.")
    reinforce: bool = Field(True, description="Recalled memories grow stronger.")


class RetrieveRequest(QueryRequest):
    modalities: Several[str] | None = Field(None, description="Default: all.", examples=[["image"]])
    k: int = Field(10, description="Most hits per modality.")


class GenerateRequest(QueryRequest):
    output: str | Several[str] = Field(
        "image", description="One modality, or several, each of them once."
    )
    k: int = Field(4, description="Number of remembered episodes to make it from.")
    creativity: float = Field(
        0.3, description="0 reconstructs what is remembered, 1 draws freely from what was learned."
    )
    seed: int | None = Field(None, description="Drawn, and answered, when not given.")
    fusion: Fusion = "attention"
    text_mode: str = Field(
        "caption",
        description="caption: written from what is remembered. tags: words that fit. answer: the "
        "remembered sentence that answers the question in the query.",
        examples=["caption", "tags", "answer"],
    )
    audio_mode: str = Field(
        "sound",
        description="sound: generated. speech: the text, read aloud by espeak-ng.",
        examples=["sound", "speech"],
    )
    max_similarity: float | None = Field(
        None,
        description="0 to 1: an output more like a memory, by cosine or in pixels, log-mels or "
        "words, is drawn again, up to eight times; then 409 `too_similar`. Needs a creativity "
        "above 0.",
    )
    candidates: int | None = Field(
        None,
        description="1 to 8: so many are made of each output, and the one whose embedding is "
        "nearest to the query is kept. Default: as many as is usual for the output. Ignored at "
        "creativity 0, and for outputs that a seed does not change: one is made.",
    )
    explain: bool = Field(
        False, description="Measure what each memory did: makes all again without it, one by one."
    )
    include_data: bool = Field(True, description="Answer the media as base64, too.")


class MemoryOut(BaseModel):
    id: str
    episode_id: str
    namespace: str
    modality: str
    media_type: str
    size_bytes: int
    sha256: str
    text: str | None
    metadata: dict[str, Any]
    created_at: float = Field(description="Unix seconds.")
    expires_at: float | None = Field(description="Unix seconds; null: never.")
    prototype: bool = Field(description="Stands for near-duplicates, which were consolidated.")
    links: dict[str, str]


class StrengthOut(BaseModel):
    """How alive a memory is, and what that comes from."""

    value: float = Field(description="1 for a memory just stored, and 1 more for each recall.")
    retention: float = Field(description="value / (1 + value), what rankings take.")
    half_life_s: float | None = Field(description="Of the namespace; null: no decay.")
    base: float = Field(description="The value right after the last storing or recall.")
    since: float = Field(description="When that was, Unix seconds.")
    recalls: int
    recalled_at: float | None
    now: float
    formula: str


class AncestorOut(BaseModel):
    memory_id: str
    episode_id: str
    cosine: float = Field(description="Of member and prototype.")
    consolidated_at: float
    medoid: bool = Field(description="The prototype has this one's content.")


class LineageOut(BaseModel):
    """Of a prototype all members; of a member its prototype, and its own entry."""

    prototype: str
    job: str
    members: list[AncestorOut]


class MemoryDetailOut(MemoryOut):
    strength: StrengthOut
    lineage: LineageOut | None = Field(description="null: neither prototype nor member of one.")


class MemoryPatch(Strict):
    """JSON merge patch (RFC 7396): null takes a field of the metadata away."""

    metadata: dict[str, Any] | None = Field(None, examples=[{"place": "farm", "old": None}])
    expires_at: float | None = Field(None, description="Unix seconds; null: never.")
    ttl_s: float | None = Field(None, description="The same, in seconds from now.")


class NamespaceSettings(Strict):
    """What is not given takes its default."""

    half_life_s: float | None = Field(
        None, description="Of strength and recency, in seconds from 0.001 on; null: no decay."
    )
    trace_half_life_s: float | None = Field(
        None, description="Of the trace, in seconds from 0.001 on; null (the default): no decay."
    )


class NamespaceSettingsOut(BaseModel):
    namespace: str
    half_life_s: float | None = Field(description="null: no decay.")
    trace_half_life_s: float | None
    configured: list[str] = Field(description="What was set here; the rest are defaults.")


class SweptOut(BaseModel):
    deleted: int = Field(description="Expired memories that are gone for good.")


class ConsolidateRequest(Strict):
    namespace: str | None = Field(None, description="Default: all.")
    modalities: Several[str] | None = Field(None, description="Default: all.")
    threshold: float | None = Field(
        None, description="Cosine from which two are near-duplicates; default: by modality."
    )
    dry_run: bool = Field(False, description="Only tell which groups there would be.")


class UndoneOut(BaseModel):
    prototype_ids: list[str] = Field(description="Gone; their members are ranked again.")


class EpisodeOut(BaseModel):
    id: str
    namespace: str
    created_at: float
    memories: list[MemoryOut]


class StoredOut(BaseModel):
    episode: EpisodeOut
    duplicate: bool
    timings_ms: dict[str, float]


class BatchLineOut(BaseModel):
    """What became of one line: as /store answers it, or, by its status, a `Problem`."""

    index: int = Field(description="Of the line, from 0 on; blank lines do not count.")
    status: int = Field(description="201, 200 (it was there already), or that of an error.")
    episode: EpisodeOut
    duplicate: bool
    replayed: bool = Field(False, description="The same key was answered so before.")


class SegmentOut(BaseModel):
    """A part of a long sound, in seconds from its beginning."""

    start_s: float
    end_s: float


class ReachOut(BaseModel):
    path: Literal["direct", "associative"]
    rank: int
    cosine: float = Field(description="Of the query and the memory that matched.")
    via: str | None = Field(description="Associative: the memory of the episode that matched.")
    via_modality: str | None
    segment: SegmentOut | None = Field(
        description="Where in the memory that matched, a long sound; null: as a whole."
    )


class HitOut(BaseModel):
    memory: MemoryOut
    score: float = Field(description="In [0, 1], comparable within one modality.")
    cosine: float | None = Field(description="Of the query and this memory; null across spaces.")
    reached_by: list[ReachOut]
    segment: SegmentOut | None = Field(
        description="The part of this memory, a long sound, that the cosine is of; null: the whole."
    )


class RetrievalOut(BaseModel):
    results: dict[str, list[HitOut]] = Field(description="By modality, best first.")
    familiarity: dict[str, float] = Field(description="Cosine of the query to each trace.")
    spaces: dict[str, str | None] = Field(
        description="By modality, the space that the query was compared in; null where they share "
        "none: such memories are reached over their episodes only."
    )
    timings_ms: dict[str, float]


class ShareOut(BaseModel):
    memory_id: str
    episode_id: str
    modality: str
    weight: float = Field(description="Share in the fused vector; all sum to 1.")
    cosine: float
    deleted: bool = Field(description="Forgotten after the generation was made.")
    segment: SegmentOut | None = Field(
        description="The part of this memory, a long sound, that was used; null: the whole."
    )
    effect: float | None = Field(
        description="Mean of `effects`; null: not measured, see POST /generations/{id}/explain."
    )
    effects: dict[str, float] = Field(
        description="By output, 1 - cosine of the output and of the one made without this memory."
    )


class ModelOut(BaseModel):
    name: str
    fingerprint: str


class SpaceOut(BaseModel):
    id: str
    fingerprint: str


class MediaNoveltyOut(BaseModel):
    """Distance to the memory that is nearest as it is seen, heard or read."""

    measure: str = Field(examples=["1 - SSIM"])
    value: float = Field(description="0: the same.")
    memory_id: str


class DrawOut(BaseModel):
    seed: int
    similarity: float | None = Field(
        description="To a memory, by cosine or by the media, whichever is more; null: no memory, "
        "or not measured, without `max_similarity`."
    )
    nearest_memory_id: str | None
    score: float | None = Field(
        description="How well it fits the query: the cosine, for texts and what the decoder thinks "
        "of its own words. null: there was no other candidate."
    )
    taken: bool
    round: int = Field(description="Those of one round were made together.")


class OutputOut(BaseModel):
    id: str
    modality: str
    media_type: str
    size_bytes: int
    sha256: str = Field(description="Of the file, manifest included.")
    media_sha256: str | None = Field(
        description="Of the file without its manifest: equal where two generations made the same. "
        "null: the file has none, it is of an older version."
    )
    text: str | None
    data: str | None = Field(None, description="Base64 of the media.")
    generator: ModelOut
    novelty: float | None = Field(description="1 - cosine to the nearest memory of the modality.")
    nearest_memory_id: str | None
    media_novelty: MediaNoveltyOut | None
    seed: int = Field(description="The generation's, or the derived one of the draw taken.")
    draws: list[DrawOut] = Field(
        description="With several candidates or `max_similarity`: all that were made."
    )
    effect_of_all: float | None = Field(
        description="1 - cosine of the output and of the one made without any memory."
    )
    details: dict[str, Any]
    links: dict[str, str]


class AskedPartOut(BaseModel):
    modality: str | None = Field(description="null: a bare vector.")
    text: str | None = Field(description="Kept of texts only.")
    weight: float


class EmbeddedOut(BaseModel):
    modality: str
    media_type: str
    space: SpaceOut
    vector: list[float] = Field(description="Of unit length.")


class EmbeddingsOut(BaseModel):
    embeddings: list[EmbeddedOut] = Field(description="In the order of the items.")


class GenerationOptionsOut(BaseModel):
    """What else was asked, beside what the record has anyway."""

    k: int
    mode: Mode
    filter: dict[str, Any] | None
    candidates: int | None
    max_similarity: float | None
    context_weight: float
    recency_weight: float
    strength_weight: float


class GenerationOut(BaseModel):
    id: str
    namespace: str
    created_at: float
    seed: int
    creativity: float
    fusion: str
    fusion_fingerprint: str | None = Field(description="Of its weights; null for a formula.")
    query: list[AskedPartOut]
    modes: dict[str, str] = Field(description="By modality, where it was not the default.")
    options: GenerationOptionsOut | None = Field(description="null: made before they were kept.")
    space: SpaceOut
    memories: list[ShareOut]
    outputs: list[OutputOut]
    agreement: dict[str, float] = Field(
        description="Cosines of the outputs' embeddings, by pair, such as `image-text`."
    )
    timings_ms: dict[str, float]


class GenerationPageOut(BaseModel):
    generations: list[GenerationOut] = Field(description="Without media.")
    next: str | None = Field(description="`after` of the next page; null: that was all.")


class ReplayedOut(BaseModel):
    id: str
    identical: bool


class ReplayOut(BaseModel):
    outputs: list[ReplayedOut]


class PageOut(BaseModel):
    memories: list[MemoryOut]
    next: str | None = Field(description="`after` of the next page; null: that was all.")
