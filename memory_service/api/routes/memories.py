"""Reading and forgetting single memories."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from memory_service.api import docs, views
from memory_service.api.bodies import json_of, read_json
from memory_service.api.calls import application_of, call
from memory_service.api.schemas import (
    ForgottenOut,
    MemoryDetailOut,
    MemoryOut,
    MemoryPatch,
    PageOut,
)

router = APIRouter(tags=["memory"])

PATCHES = {
    "metadata": {"metadata": {"place": "farm", "checked": None}},
    "for another hour": {"ttl_s": 3600},
    "for ever": {"expires_at": None},
}


@router.get("/memories", response_model=PageOut)
async def list_memories(
    request: Request,
    namespace: str | None = None,
    modality: str | None = None,
    filter: str | None = None,
    after: str | None = None,
    limit: int = 50,
) -> PageOut:
    """Memories in the order of storing. `filter`: a JSON object of metadata fields."""
    memories, following = await call(
        request,
        application_of(request).memory.list,
        namespace=namespace,
        modality=modality,
        filter=None if filter is None else json_of("filter", filter),
        after=after,
        limit=limit,
    )
    return PageOut(memories=[views.memory(each) for each in memories], next=following)


@router.get("/memories/{memory_id}", response_model=MemoryDetailOut)
async def get_memory(request: Request, memory_id: str) -> MemoryDetailOut:
    """A memory, how strong it is and why, and what it was consolidated into or from."""
    found = await call(request, application_of(request).memory.explain, memory_id)
    return views.explained(found)


@router.patch(
    "/memories/{memory_id}",
    response_model=MemoryOut,
    openapi_extra=docs.json_body(MemoryPatch, PATCHES),
)
async def change_memory(request: Request, memory_id: str) -> MemoryOut:
    """Change metadata (merge patch: null takes a field away) or expiry."""
    body = await read_json(request, MemoryPatch)
    changes = body.model_dump(exclude_unset=True)
    memory = application_of(request).memory
    return views.memory(await call(request, memory.update, memory_id, changes))


@router.get("/memories/{memory_id}/content", response_class=Response)
async def get_content(
    request: Request, memory_id: str, start_s: float | None = None, end_s: float | None = None
) -> Response:
    """The original bytes, as they were stored. Of a sound, `start_s` and `end_s`: that part as WAV,
    in seconds, at most a minute.
    """
    service = application_of(request).memory
    if start_s is None and end_s is None:
        memory, content = await call(request, service.content, memory_id)
        etag, kind = f'"{memory.blob}"', memory.media_type
    else:
        memory, content = await call(request, service.part, memory_id, start_s, end_s)
        etag, kind = f'"{memory.blob}-{start_s}-{end_s}"', "audio/wav"
    headers = {
        "ETag": etag,
        "Cache-Control": "private, max-age=3600",
        # Stored media are shown, never run.
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Content-Disposition": f'inline; filename="{memory.id}"',
    }
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=kind, headers=headers)


@router.delete("/memories/{memory_id}", response_model=ForgottenOut)
async def forget_memory(request: Request, memory_id: str) -> ForgottenOut:
    """Delete for good: row, vector, trace share, index entry, and the file if nothing shares it."""
    found = await call(request, application_of(request).memory.forget, memory_id)
    return views.forgotten(found)
