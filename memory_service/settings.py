"""Settings of the service: environment variables `MEMORY_SERVICE_*`, or arguments."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

LEAST_HALF_LIFE_S = 1e-3  # below, all is gone before it can be asked for


class Settings(BaseSettings):
    """Every field can be set by the environment variable MEMORY_SERVICE_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="MEMORY_SERVICE_", frozen=True)

    data_dir: Path = Field(Path("data"), description="Folder of catalog, vectors and blobs.")
    profile: str = Field("bundled", description="Encoder profile: bundled, openclip or fake.")
    runtime: Literal["openvino", "torch"] = Field(
        "openvino", description="Profile bundled: what computes the encoders, openvino or torch."
    )
    openclip_model: str = Field("ViT-B-32", description="Profile openclip: OpenCLIP model name.")
    openclip_pretrained: str = Field(
        "laion2b_s34b_b79k", description="Profile openclip: pretrained tag or checkpoint file."
    )
    clap_model: str = Field(
        "none",
        description="Profile openclip: CLAP model for sounds, owner/name on the hub or "
        "local-dir:folder; none: no sounds.",
    )
    image_generator: str = Field(
        "none",
        description="Pictures by unclip:NAME (owner/name on the hub or local-dir:folder) instead "
        "of the profile's own generator.",
    )
    text_generator: str = Field(
        "none", description="Texts by chat:MODEL at chat_base_url instead of the profile's own."
    )
    audio_generator: str = Field(
        "none",
        description="Sounds by audioldm:NAME (owner/name on the hub or local-dir:folder) instead "
        "of the profile's own generator.",
    )
    load_generators: Literal["ahead", "first-use"] = Field(
        "ahead",
        description="Weights of generators (some 600 MB of memory): ahead, loaded once the service "
        "is ready, or first-use.",
    )
    generator_steps: int = Field(20, ge=1, le=1000, description="Steps of unclip and audioldm.")
    chat_base_url: str = Field(
        "none",
        description="Chat endpoint of OpenAI's contract, http(s)://host/v1; remembered texts are "
        "sent there.",
    )
    chat_api_key: SecretStr | None = Field(None, description="Key for the chat endpoint.")
    chat_timeout_s: float = Field(60.0, gt=0, description="Longest wait for the chat endpoint.")
    host: str = Field("127.0.0.1", description="Address that `serve` binds to.")
    port: int = Field(8000, ge=0, le=65535, description="Port of `serve`; 0 takes a free one.")
    allowed_hosts: str = Field(
        "auto",
        description="Host names that requests may bear, with commas, or * for any; auto: those of "
        "loopback when bound to it, else any.",
    )
    auth: Literal["loopback-open", "required", "open"] = Field(
        "loopback-open",
        description="Who needs an API key: everybody but on a loopback address (loopback-open), "
        "everybody (required), nobody anywhere (open).",
    )
    open_metrics: bool = Field(False, description="/metrics is answered without a key.")
    decode: Literal["process", "inline"] = Field(
        "process",
        description="Pictures and sounds are decoded by worker processes, whose crash leaves the "
        "service alone (process), or by the service itself (inline).",
    )
    decode_workers: int = Field(
        2, ge=1, description="Most workers that decode, and as many more for long sounds."
    )
    decode_timeout_s: float = Field(
        60.0, gt=0, description="Longest time that a picture or sound may take to decode."
    )
    audit_max_bytes: int = Field(
        16 * 2**20, ge=4096, description="Size at which a file of the audit log is closed."
    )
    audit_files: int = Field(
        8, ge=0, le=1000, description="Files of the audit log that are kept; 0: no audit log."
    )
    log: Literal["text", "json"] = Field(
        "text", description="Log lines of `serve`: text, or JSON, one object a line."
    )
    drain_s: float = Field(
        15.0,
        gt=0,
        description="Longest time that `serve`, told to stop, waits for requests that are running.",
    )
    drain_wait_s: float = Field(
        0.5,
        ge=0,
        description="How long `serve`, told to stop, still accepts requests, with /readyz at 503 "
        "and every answer the last of its connection.",
    )
    threads: int = Field(
        1,
        ge=1,
        description="Numeric threads of OpenVINO, torch and FAISS, per request being computed.",
    )
    indexed_fields: str = Field(
        "",
        description="Metadata fields that are often filtered by, with commas; they get an index.",
    )
    backup_dir: Path | None = Field(
        None, description="Folder that POST /backup writes into; without one it is refused."
    )
    half_life_s: float = Field(
        2_592_000.0,
        ge=0,
        le=1e12,
        description="Seconds in which strength and recency of a memory halve, from 0.001 on; "
        "0: never.",
    )
    upkeep_s: float = Field(
        60.0, gt=0, description="Longest time until expired memories are deleted, recalls written."
    )
    jobs_kept: int = Field(
        1000,
        ge=100,
        description="Records of jobs that are kept of each kind, the latest; those of running jobs "
        "in any case.",
    )
    idempotency_ttl_s: float = Field(
        86_400.0, gt=0, le=1e12, description="How long an idempotency key is remembered."
    )
    batch_items: int = Field(
        32, ge=1, description="Most items encoded together; 1: each request encodes its own."
    )
    batch_wait_ms: float = Field(
        2.0, ge=0, description="Longest wait of an item for others, while several callers are busy."
    )
    queue_items: int = Field(
        256, ge=1, description="Most items that wait for an encoder; beyond, 429."
    )
    queue_requests: int = Field(
        128, ge=0, description="Most requests that wait to be worked on; beyond, 429."
    )
    request_timeout_s: float = Field(
        120.0, gt=0, description="Longest time until a request is answered; beyond, 503 or 504."
    )
    upload_idle_s: float = Field(
        30.0, gt=0, description="Longest pause of a body on its way; beyond, 408."
    )
    upload_bytes_per_s: int = Field(
        4096, ge=1, description="Least bytes per second of a body, on average; below, 408."
    )
    upload_timeout_s: float = Field(
        900.0, gt=0, description="Longest time for a whole body, but of a batch; beyond, 408."
    )
    upload_room_bytes: int = Field(
        512 * 2**20,
        ge=1,
        description="Bytes of bodies that are held at a time, half of them for each key; "
        "beyond, 429.",
    )
    head_timeout_s: float = Field(
        20.0, gt=0, description="Longest time until a request's line and headers are there."
    )
    unread_timeout_s: float = Field(
        30.0,
        gt=0,
        description="How long `serve` waits for a client that reads nothing of its answer.",
    )
    connections: int = Field(
        1000,
        ge=1,
        description="Most connections at a time; beyond, one on which nothing is asked is closed.",
    )
    requests_per_s: float = Field(
        0.0,
        ge=0,
        description="Most requests per second of a key that has no limit of its own; "
        "0: any. Beyond, 429.",
    )
    request_burst: int = Field(
        50, ge=1, description="Requests that may come at once before that limit counts."
    )
    bytes_per_min: int = Field(
        0,
        ge=0,
        description="Most bytes of bodies per minute of a key that has no limit of its "
        "own; 0: any. Beyond, 429.",
    )
    max_upload_bytes: int = Field(128 * 2**20, ge=1, description="Largest item.")
    max_pixels: int = Field(50_000_000, ge=1, description="Largest picture, width x height.")
    max_audio_s: float = Field(3600.0, gt=0, le=86_400, description="Longest sound, in seconds.")
    max_text_chars: int = Field(100_000, ge=1, description="Longest text, in characters.")
    max_metadata_bytes: int = Field(64 * 1024, ge=2, description="Largest metadata, as JSON.")
    max_k: int = Field(1000, ge=1, description="Most hits per modality in one answer.")
    max_query_parts: int = Field(16, ge=1, description="Most parts of one query.")
    max_namespaces: int = Field(
        1000, ge=1, description="Most namespaces that hold anything; beyond, 409 for a new one."
    )
    max_parts_per_store: int = Field(32, ge=1, description="Most items of one episode.")

    @field_validator("half_life_s")
    @classmethod
    def _long_enough(cls, value: float) -> float:
        if 0.0 < value < LEAST_HALF_LIFE_S:
            raise ValueError(f"must be 0, or {LEAST_HALF_LIFE_S:g} s at least")
        return value


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`; a name other than localhost counts as remote."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def asks_for_keys(settings: Settings) -> bool:
    """Whether a request without a key is refused."""
    if settings.auth == "loopback-open":
        return not is_loopback(settings.host)
    return settings.auth == "required"
