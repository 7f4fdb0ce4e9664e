"""POST /store."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from memory_service.api import audit, docs, views
from memory_service.api.bodies import read_store
from memory_service.api.calls import application_of, call, count_stages
from memory_service.api.schemas import StoredOut, StoreRequest

router = APIRouter(tags=["memory"])

EXAMPLES = {
    "a text": {"items": [{"modality": "text", "text": "A cat on a farm."}]},
    "a picture and its text": {
        "items": [
            {
                "modality": "image",
                "data": "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91Jpz"
                "AAAAEElEQVR4nGP4z8AARAwQCgAf7gP9i18U1AAAAABJRU5ErkJggg==",
            },
            {"modality": "text", "text": "A red square."},
        ],
        "metadata": {"place": "desk"},
    },
}
FIELDS = {
    "namespace": docs.text_field("Default: default."),
    "metadata": docs.text_field("JSON object."),
    "if_duplicate": docs.text_field("keep (default) or skip."),
    "expires_at": {"type": "number", "description": "Unix seconds."},
    "ttl_s": {"type": "number", "description": "Seconds until it expires."},
}


@router.post(
    "/store",
    status_code=201,
    response_model=StoredOut,
    responses={200: {"model": StoredOut, "description": "It was there already."}},
    openapi_extra=docs.body(StoreRequest, EXAMPLES, FIELDS),
)
async def store(request: Request, response: Response) -> StoredOut:
    """Store an episode: pictures, texts and sounds that belong together. Durable when answered."""
    body, uploads = await read_store(request)
    stored = await call(
        request,
        application_of(request).memory.store,
        uploads,
        namespace=body.namespace,
        metadata=body.metadata,
        if_duplicate=body.if_duplicate,
        expires_at=body.expires_at,
        ttl_s=body.ttl_s,
    )
    count_stages(request, "store", stored.timings_ms)
    memories = [each.id for each in stored.episode.memories]
    audit.note(request, namespace=body.namespace, episode=stored.episode.id, memories=memories)
    response.headers["Location"] = f"/episodes/{stored.episode.id}"
    if stored.duplicate:
        response.status_code = 200
    return views.stored(stored)
