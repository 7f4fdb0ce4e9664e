"""Python client of the service, sync and async. Knows the HTTP API and nothing else of ours."""

from memory_service.client.arguments import Media
from memory_service.client.async_client import AsyncClient
from memory_service.client.client import Client
from memory_service.client.connection import DEFAULT_URL
from memory_service.client.failures import ServiceError
from memory_service.client.results import (
    BatchAnswer,
    Draw,
    Embedded,
    Episode,
    Forgotten,
    Generated,
    Generation,
    GenerationPage,
    Hit,
    Job,
    MediaNovelty,
    Memory,
    Page,
    Reach,
    Retrieval,
    Segment,
    Share,
    Stored,
)

__all__ = [
    "DEFAULT_URL",
    "AsyncClient",
    "BatchAnswer",
    "Client",
    "Draw",
    "Embedded",
    "Episode",
    "Forgotten",
    "Generated",
    "Generation",
    "GenerationPage",
    "Hit",
    "Job",
    "Media",
    "MediaNovelty",
    "Memory",
    "Page",
    "Reach",
    "Retrieval",
    "Segment",
    "ServiceError",
    "Share",
    "Stored",
]
