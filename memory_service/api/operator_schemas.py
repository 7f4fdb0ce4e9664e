"""What operators ask and are told: models, statistics, jobs, backups, keys, the audit log."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from memory_service.api.schemas import Several, Strict


class EncoderOut(BaseModel):
    modality: str
    encoder: str
    space: str
    dimension: int
    fingerprint: str
    accepted: list[str] = Field(description="Media types.")


class GeneratorOut(BaseModel):
    modality: str
    generator: str
    fingerprint: str = Field(description="As records of generations name it.")


class WeightsOut(BaseModel):
    name: str
    origin: str = Field(description="Hub repository and commit, folder or file.")
    parameters: int
    size_bytes: int
    licence: str | None = Field(description="null: not stated where the weights come from.")


class LimitsOut(BaseModel):
    """What a request must stay within; beyond, it answers 413, 422, or 429 for the queues."""

    max_body_bytes: int = Field(description="Whole request; media in JSON count as base64.")
    max_upload_bytes: int = Field(description="One item.")
    max_parts_per_store: int = Field(description="Items of one episode.")
    max_query_parts: int = Field(description="Parts of one query.")
    max_pixels: int = Field(description="Width x height.")
    max_audio_s: float = Field(description="Seconds; above 48 kHz, the samples count.")
    max_text_chars: int
    max_series_channels: int
    max_series_values: int = Field(description="Of all channels together.")
    max_metadata_bytes: int = Field(description="As JSON.")
    max_k: int = Field(description="Hits per modality of a retrieval.")
    max_generation_k: int = Field(description="Episodes that a generation is made from.")
    max_list: int = Field(description="`limit` of a listing.")
    max_part_s: float = Field(description="Seconds of a sound that are answered at once as a part.")
    max_namespaces: int = Field(description="That hold anything.")
    queue_items: int = Field(description="Items that wait for an encoder.")
    queue_requests: int = Field(description="Requests that wait to be worked on.")


class ModelsOut(BaseModel):
    profile: str
    encoders: list[EncoderOut] = Field(description="One per modality and space, its home first.")
    weights: list[WeightsOut]
    generators: list[str] = Field(description="Modalities that can be generated.")
    generator_models: list[GeneratorOut] = Field(description="What makes them by default.")
    limits: LimitsOut


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
    profile: str | None = Field(
        None, description="Profile to re-embed into; or else `rollback`.", examples=["bundled"]
    )
    rollback: bool = Field(
        False,
        description="Drop what is unfinished, or else go back to the profile before the last "
        "switch. Goes alone.",
    )
    dry_run: bool = Field(False, description="Only predict time, disk and memory.")
    switch: bool = Field(True, description="false: stop before the switch.")
    accept_failures: bool = Field(
        False, description="Switch though some memories could not be embedded."
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> ReembedRequest:
        if self.rollback and self.model_fields_set != {"rollback"}:
            raise ValueError("rollback goes alone")
        if not self.rollback and self.profile is None:
            raise ValueError("give a profile to re-embed into, or rollback")
        return self


class EvaluateRequest(Strict):
    namespace: str = "default"
    depth: str = Field("full", description="quick or full.")
    max_items: int = Field(
        400, description="Episodes, at most: drawn by `seed` where there are more."
    )
    queries: int | None = Field(
        None,
        description="Per task, 3 to 1000, half of the episodes at most; default: by their number.",
    )
    seed: int = 0
    field: str = Field(
        "folder",
        description="Metadata field: a classifier of its values, and transfer between them.",
    )


class BackupRequest(Strict):
    name: str = Field("default", description="Folder below the one that is set for backups.")
    with_access: bool = Field(
        False, description="The API keys (their hashes) and the audit log, too."
    )


class JobOut(BaseModel):
    id: str
    kind: str = Field(examples=["reembed", "evaluate"])
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


class Ready(BaseModel):
    status: Literal["ok", "degraded"] = Field(
        description="degraded: stores and retrievals of `modalities` are refused with `code`, or, "
        "`storage_full`, all that writes but deletions. All else is answered."
    )
    code: str | None = Field(
        None, description="Of the refusals.", examples=["space_mismatch", "storage_full"]
    )
    reason: str | None = None
    modalities: list[str] | None = None
    command: str | None = Field(
        None,
        description="Mends it while the service is stopped; while it runs, POST /reembed does.",
    )


class KeyRequest(Strict):
    name: str = Field(description="What it is for, for people.", examples=["camera 3"])
    scope: Literal["read", "write", "admin"] = Field(
        description="Each allows what those before it allow, too."
    )
    namespaces: Several[str] | None = Field(None, description="What it is bound to; default: all.")
    expires_at: float | None = Field(None, description="Unix seconds; default: never.")
    requests_per_s: float | None = Field(
        None, description="Its own limit, 0 for none; default: that of the settings."
    )
    bytes_per_min: int | None = Field(None, description="Likewise, of request bodies.")


class KeyOut(BaseModel):
    id: str
    name: str
    scope: Literal["read", "write", "admin"]
    namespaces: list[str] | None = Field(description="null: all.")
    created_at: float = Field(description="Unix seconds.")
    expires_at: float | None = Field(description="null: never.")
    revoked_at: float | None = Field(description="null: not revoked.")
    requests_per_s: float | None = Field(description="null: that of the settings; 0: no limit.")
    bytes_per_min: int | None


class CreatedKeyOut(KeyOut):
    key: str = Field(description="The key itself: told here, and never again.")


class KeysOut(BaseModel):
    keys: list[KeyOut]


class AuditEntryOut(BaseModel):
    """With the parameters of the path, and in lists what was committed: `namespaces`, `episodes`,
    `memories`, `generations`, `receipts`, `jobs`, `keys`. A request may have several."""

    model_config = ConfigDict(extra="allow")

    time: float = Field(description="Unix seconds.")
    request_id: str | None = Field(description="null: nobody asked for it, memories had expired.")
    key: str | None = Field(description="Id of the caller's key; null: without one.")
    method: str | None
    route: str | None = Field(description="null: it was refused before.")
    status: int | None = Field(
        description="null: of what was committed before or after the answer, which has its own."
    )


class AuditOut(BaseModel):
    entries: list[AuditEntryOut]
