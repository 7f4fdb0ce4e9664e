"""POST /backup: a consistent copy of the store, while it serves."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from memory_service.api import docs, views
from memory_service.api.bodies import read_json
from memory_service.api.calls import application_of, call
from memory_service.api.operator_schemas import BackupRequest, JobOut

router = APIRouter()

EXAMPLES = {
    "the usual one": {},
    "another one": {"name": "before-the-move", "with_access": True},
}


@router.post(
    "/backup",
    status_code=202,
    response_model=JobOut,
    openapi_extra=docs.json_body(BackupRequest, EXAMPLES),
)
async def backup(request: Request, response: Response) -> JobOut:
    """Back up into a folder of this name below the one that the operator has set; what an earlier
    backup has there is not copied again. Answers the job."""
    body = await read_json(request, BackupRequest)
    job = await call(request, application_of(request).backups.begin, **body.model_dump())
    response.headers["Location"] = f"/jobs/{job.id}"
    return views.job(job)
