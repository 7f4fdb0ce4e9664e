"""What the API takes and answers, as pydantic models: the source of the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Mode = Literal["direct", "associative", "auto"]
Fusion = Literal["sum", "weighted", "attention"]
Value = TypeVar("Value")
# The first wrong element ends the reading: a list of millions is not told one by one.
Numbers = Annotated[list[float], Field(max_length=65_536, fail_fast=True)]
Several = Annotated[list[Value], Field(max_length=1_024, fail_fast=True)]
VECTOR_HELP = "List of numbers, or base64 of little-endian float32, in the active space."


class Strict(BaseModel):
    """A misspelt field is an error, not a default."""

    model_config = ConfigDict(extra="forbid")


class ItemIn(Strict):
    modality: str = Field(description="image, text or audio", examples=["text"])
    text: str | None = Field(None, description="The text itself, for modality text.")
    data: str | None = Field(None, description="Base64 or data URI of the bytes.")
    media_type: str | None = Field(None, description="Informative; the content decides.")


class StoreRequest(Strict):
    items: Several[ItemIn] = Field(description="What belongs together: one episode.")
    namespace: str = Field("default", examples=["default"])
    metadata: dict[str, Any] | None = Field(None, examples=[{"place": "farm"}])
    if_duplicate: Literal["keep", "skip"] = Field(
        "keep", description="skip: answer the episode of exactly these contents, if there is one."
    )


class QueryPartIn(Strict):
    """One of text, image, audio and vector."""

    text: str | None = Field(None, examples=["a cat"])
    image: str | None = Field(None, description="Base64 or data URI.")
    audio: str | None = Field(None, description="Base64 or data URI.")
    vector: Numbers | str | None = Field(None, description=VECTOR_HELP)
    weight: float = Field(1.0, ge=1e-6, le=1e6, description="Share in the query.")


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
        None, description="Metadata fields and the value, or list of values, that they must have."
    )


class RetrieveRequest(QueryRequest):
    modalities: Several[str] | None = Field(None, description="Default: all.", examples=[["image"]])
    k: int = Field(10, description="Most hits per modality.")


class GenerateRequest(QueryRequest):
    output: str | Several[str] = Field("image", description="One modality, or several.")
    k: int = Field(4, description="Number of remembered episodes to make it from.")
    creativity: float = Field(
        0.3, description="0 reconstructs what is remembered, 1 draws freely from what was learned."
    )
    seed: int | None = Field(None, description="Drawn, and answered, when not given.")
    fusion: Fusion = "attention"
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
    links: dict[str, str]


class EpisodeOut(BaseModel):
    id: str
    namespace: str
    created_at: float
    memories: list[MemoryOut]


class StoredOut(BaseModel):
    episode: EpisodeOut
    duplicate: bool
    timings_ms: dict[str, float]


class ReachOut(BaseModel):
    path: Literal["direct", "associative"]
    rank: int
    cosine: float = Field(description="Of the query and the memory that matched.")
    via: str | None = Field(description="Associative: the memory of the episode that matched.")
    via_modality: str | None


class HitOut(BaseModel):
    memory: MemoryOut
    score: float = Field(description="In [0, 1], comparable within one modality.")
    cosine: float | None = Field(description="Of the query and this memory; null across spaces.")
    reached_by: list[ReachOut]


class RetrievalOut(BaseModel):
    results: dict[str, list[HitOut]] = Field(description="By modality, best first.")
    familiarity: dict[str, float] = Field(description="Cosine of the query to each trace.")
    timings_ms: dict[str, float]


class ShareOut(BaseModel):
    memory_id: str
    episode_id: str
    modality: str
    weight: float = Field(description="Share in the fused vector; all sum to 1.")
    cosine: float
    deleted: bool = Field(description="Forgotten after the generation was made.")


class ModelOut(BaseModel):
    name: str
    fingerprint: str


class SpaceOut(BaseModel):
    id: str
    fingerprint: str


class OutputOut(BaseModel):
    id: str
    modality: str
    media_type: str
    size_bytes: int
    sha256: str
    text: str | None
    data: str | None = Field(None, description="Base64 of the media.")
    generator: ModelOut
    novelty: float | None = Field(description="1 - cosine to the nearest memory of the modality.")
    nearest_memory_id: str | None
    details: dict[str, Any]
    links: dict[str, str]


class GenerationOut(BaseModel):
    id: str
    namespace: str
    created_at: float
    seed: int
    creativity: float
    fusion: str
    space: SpaceOut
    memories: list[ShareOut]
    outputs: list[OutputOut]
    timings_ms: dict[str, float]


class ReplayedOut(BaseModel):
    id: str
    identical: bool


class ReplayOut(BaseModel):
    outputs: list[ReplayedOut]


class PageOut(BaseModel):
    memories: list[MemoryOut]
    next: str | None = Field(description="`after` of the next page; null: that was all.")


class ForgottenOut(BaseModel):
    """Receipt: what is gone."""

    memory_ids: list[str]
    episode_ids: list[str] = Field(description="Episodes that have no memory left.")
    blobs_removed: list[str] = Field(description="SHA-256 of the contents whose file is gone.")


class EncoderOut(BaseModel):
    modality: str
    encoder: str
    space: str
    dimension: int
    fingerprint: str
    accepted: list[str] = Field(description="Media types.")


class ModelsOut(BaseModel):
    profile: str
    encoders: list[EncoderOut]
    generators: list[str] = Field(description="Modalities that can be generated.")
    limits: dict[str, float]


class SubMemoryOut(BaseModel):
    namespace: str
    modality: str
    space: str
    count: int
    trace_norm: float


class StatsOut(BaseModel):
    sub_memories: list[SubMemoryOut]
    memories: int


class ReembedRequest(Strict):
    profile: str = Field(description="Profile to re-embed into.", examples=["bundled"])
    dry_run: bool = Field(False, description="Only predict time, disk and memory.")
    switch: bool = Field(True, description="false: stop before the switch.")
    accept_failures: bool = Field(
        False, description="Switch though some memories could not be embedded."
    )


class JobOut(BaseModel):
    id: str
    kind: str = Field(examples=["reembed"])
    state: Literal["running", "succeeded", "failed", "cancelled", "interrupted"]
    created_at: float = Field(description="Unix seconds.")
    updated_at: float
    finished_at: float | None
    parameters: dict[str, Any]
    progress: dict[str, Any] = Field(description="Phase, counts by modality, seconds left.")
    result: dict[str, Any] | None
    error: dict[str, Any] | None = Field(description="`code` and `message`, as in a problem.")
    links: dict[str, str]


class JobsOut(BaseModel):
    jobs: list[JobOut]


class StoredSpaceOut(BaseModel):
    modality: str
    space: str
    fingerprint: str
    role: Literal["active", "new", "old"] = Field(
        description="Searched; of an unfinished re-embedding; kept from before the last switch."
    )
    vectors: int


class StoredSpacesOut(BaseModel):
    spaces: list[StoredSpaceOut]


class DroppedOut(BaseModel):
    dropped: int = Field(description="Vectors deleted.")


class Alive(BaseModel):
    status: Literal["ok"] = "ok"
