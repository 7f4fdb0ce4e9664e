"""Reading and changing single memories."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter, Request, Response

from memory_service.api import docs, ranges, views
from memory_service.api.access import caller_of, namespace_of
from memory_service.api.bodies import json_of, read_json
from memory_service.api.calls import application_of, call
from memory_service.api.schemas import MemoryDetailOut, MemoryOut, MemoryPatch, PageOut

router = APIRouter()

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
    if namespace is not None:
        namespace = namespace_of(request, namespace)
    memories, following = await call(
        request,
        application_of(request).memory.list,
        namespace=namespace,
        namespaces=caller_of(request).namespaces,
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


@router.get(
    "/memories/{memory_id}/content",
    response_class=Response,
    responses={
        200: {"content": docs.media("*/*")},
        206: {"description": "The range that was asked for.", "content": docs.media("*/*")},
        304: {"description": "If-None-Match names what it still is."},
    },
)
async def get_content(
    request: Request, memory_id: str, start_s: float | None = None, end_s: float | None = None
) -> Response:
    """The original bytes, as they were stored, or a range of them. Of a sound, `start_s` and
    `end_s`: that part as WAV, in seconds, at most a minute; without `end_s`, up to a minute from
    `start_s`.
    """
    service = application_of(request).memory
    if start_s is not None or end_s is not None:
        memory, content = await call(request, service.part, memory_id, start_s, end_s)
        headers = _headers(memory_id, f'"{memory.blob}-{start_s}-{end_s}"')
        if _known(request, headers):
            return Response(status_code=304, headers=headers)
        return Response(content, media_type="audio/wav", headers=headers)
    memory = await call(request, service.get, memory_id)
    headers = _headers(memory_id, f'"{memory.blob}"')
    if _known(request, headers):
        return Response(status_code=304, headers=headers)
    wanted = ranges.asked(request.headers, headers["ETag"], memory.size_bytes)
    # Whoever reads on in the middle has begun at the beginning: checked once is enough.
    checked = wanted is None or wanted[0] == 0
    file = await call(request, service.open, memory, checked=checked)
    return ranges.answer(file, memory.size_bytes, wanted, memory.media_type, headers)


def _headers(memory_id: str, etag: str) -> dict[str, str]:
    return {
        "ETag": etag,
        "Cache-Control": "private, max-age=3600",
        # Stored media are shown, never run.
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Content-Disposition": f'inline; filename="{memory_id}"',
    }


def _known(request: Request, headers: Mapping[str, str]) -> bool:
    return request.headers.get("if-none-match") == headers["ETag"]


@router.get(
    "/memories/{memory_id}/thumbnail",
    response_class=Response,
    responses={
        200: {"content": docs.media("image/jpeg")},
        304: {"description": "If-None-Match names what it still is."},
    },
)
async def get_thumbnail(request: Request, memory_id: str) -> Response:
    """A small picture (JPEG, at most 256 x 256) of a picture, or of how loud a sound is; texts and
    series have none (`no_thumbnail`)."""
    memory, picture = await call(request, application_of(request).thumbnails.get, memory_id)
    headers = _headers(memory_id, f'"{memory.blob}-thumbnail"')
    if _known(request, headers):
        return Response(status_code=304, headers=headers)
    return Response(picture, media_type="image/jpeg", headers=headers)
