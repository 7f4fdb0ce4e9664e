"""Jobs: what goes on, or went on, after its request was answered."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request

from memory_service.api import views
from memory_service.api.access import caller_of, job_namespace
from memory_service.api.calls import application_of, call, probe
from memory_service.api.operator_schemas import JobOut, JobsOut

MOST_SEARCHED = 10_000  # jobs among which those of a key's namespaces are looked for

router = APIRouter()


@router.get("/jobs", response_model=JobsOut)
async def list_jobs(request: Request, limit: Annotated[int, Query(ge=1, le=1000)] = 20) -> JobsOut:
    """The newest first."""
    jobs = application_of(request).jobs
    caller = caller_of(request)
    if caller.namespaces is None:
        found = await probe(request, lambda: jobs.latest(limit))
    else:
        every = await probe(request, lambda: jobs.latest(MOST_SEARCHED))
        found = [each for each in every if caller.sees(job_namespace(each.parameters))][:limit]
    return JobsOut(jobs=[views.job(each) for each in found])


@router.get("/jobs/{job_id}", response_model=JobOut)
async def get_job(request: Request, job_id: str) -> JobOut:
    """State, progress, result or error of a job."""
    jobs = application_of(request).jobs
    return views.job(await probe(request, lambda: jobs.get(job_id)))


@router.delete("/jobs/{job_id}", status_code=202, response_model=JobOut)
async def cancel_job(request: Request, job_id: str) -> JobOut:
    """Ask a running job to stop. The same request takes it up again later."""
    return views.job(await call(request, application_of(request).jobs.cancel, job_id))
