"""How memories live: half-lives of a namespace, expiry, consolidation."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from memory_service.api import docs, views
from memory_service.api.bodies import read_json
from memory_service.api.calls import application_of, call
from memory_service.api.operator_schemas import JobOut
from memory_service.api.schemas import (
    ConsolidateRequest,
    NamespaceSettings,
    NamespaceSettingsOut,
    SweptOut,
    UndoneOut,
)

router = APIRouter()

SETTINGS = {
    "fade within a day": {"half_life_s": 86400, "trace_half_life_s": 3600},
    "never fade": {"half_life_s": None},
}
CONSOLIDATIONS = {
    "what would be done": {"dry_run": True},
    "pictures of one namespace": {"namespace": "default", "modalities": ["image"]},
}


@router.get("/namespaces/{namespace}/settings", response_model=NamespaceSettingsOut)
async def get_settings(request: Request, namespace: str) -> NamespaceSettingsOut:
    """How fast its memories fade; the defaults where nothing was set."""
    service = application_of(request).namespaces
    return views.namespace_settings(await call(request, service.get, namespace))


@router.put(
    "/namespaces/{namespace}/settings",
    response_model=NamespaceSettingsOut,
    openapi_extra=docs.json_body(NamespaceSettings, SETTINGS),
)
async def put_settings(request: Request, namespace: str) -> NamespaceSettingsOut:
    """Replace the settings; what is left out takes its default again."""
    values = (await read_json(request, NamespaceSettings)).model_dump(exclude_unset=True)
    service = application_of(request).namespaces
    return views.namespace_settings(await call(request, service.configure, namespace, values))


@router.post("/sweep", response_model=SweptOut)
async def sweep(request: Request) -> SweptOut:
    """Delete for good now what has expired, rather than within the next minute."""
    return SweptOut(deleted=await call(request, application_of(request).upkeep.sweep))


@router.post(
    "/consolidate",
    status_code=202,
    response_model=JobOut,
    openapi_extra=docs.json_body(ConsolidateRequest, CONSOLIDATIONS),
)
async def consolidate(request: Request, response: Response) -> JobOut:
    """Let one prototype stand for each group of near-duplicates. Answers the job."""
    body = await read_json(request, ConsolidateRequest)
    service = application_of(request).consolidation
    job = await call(request, service.begin, **body.model_dump())
    response.headers["Location"] = f"/jobs/{job.id}"
    return views.job(job)


@router.post("/consolidate/{name}/undo", response_model=UndoneOut)
async def undo(request: Request, name: str) -> UndoneOut:
    """Take apart all prototypes of a job, or the one of this id: members are ranked again."""
    service = application_of(request).consolidation
    return UndoneOut(prototype_ids=list(await call(request, service.undo, name)))
