"""POST /reembed: into another profile's space while the service goes on."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request, Response

from memory_service.api import docs, views
from memory_service.api.bodies import read_json
from memory_service.api.calls import application_of, call, probe
from memory_service.api.operator_schemas import (
    DroppedOut,
    JobOut,
    ReembedRequest,
    StoredSpaceOut,
    StoredSpacesOut,
)

router = APIRouter()

EXAMPLES = {
    "predict": {"profile": "bundled", "dry_run": True},
    "re-embed and switch": {"profile": "bundled"},
    "take back": {"rollback": True},
}


@router.post(
    "/reembed",
    status_code=202,
    response_model=JobOut,
    openapi_extra=docs.json_body(ReembedRequest, EXAMPLES),
)
async def reembed(request: Request, response: Response) -> JobOut:
    """Re-embed all memories from their originals, prove that none is missing, compare recall, and
    switch. Answers the job; what is searched stays as it is until the switch. With `rollback`: drop
    what is unfinished, or go back to before the last switch; what was stored since is embedded."""
    body = await read_json(request, ReembedRequest)
    reembedding = application_of(request).reembedding
    if body.rollback:
        job = await call(request, reembedding.begin_rollback)
    else:
        assert body.profile is not None
        options = body.model_dump(exclude={"profile", "rollback"})
        job = await call(request, reembedding.begin, body.profile, **options)
    response.headers["Location"] = f"/jobs/{job.id}"
    return views.job(job)


@router.get("/reembed", response_model=StoredSpacesOut)
async def spaces(request: Request) -> StoredSpacesOut:
    """The spaces that memories have vectors in, and which of them are searched."""
    found = await probe(request, application_of(request).reembedding.spaces)
    return StoredSpacesOut(spaces=[StoredSpaceOut.model_validate(each) for each in found])


@router.delete("/reembed/{role}", response_model=DroppedOut)
async def drop(request: Request, role: Literal["new", "old"]) -> DroppedOut:
    """Delete vectors that are not searched: of an unfinished re-embedding (`new`), or kept from
    before the last switch (`old`)."""
    reembedding = application_of(request).reembedding
    return DroppedOut(dropped=await call(request, reembedding.drop, role))
