"""POST /evaluate: how well a namespace recalls, and what is made from it."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from memory_service.api import docs, views
from memory_service.api.bodies import read_json
from memory_service.api.calls import application_of, call, probe
from memory_service.api.operator_schemas import EvaluateRequest, JobOut

router = APIRouter()

EXAMPLES = {
    "within a minute": {"depth": "quick"},
    "a namespace": {"namespace": "default", "max_items": 400, "field": "place"},
}
# The page has media and styles of its own, and nothing else: whatever a text in it says.
POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"


@router.post(
    "/evaluate",
    status_code=202,
    response_model=JobOut,
    openapi_extra=docs.json_body(EvaluateRequest, EXAMPLES),
)
async def evaluate(request: Request, response: Response) -> JobOut:
    """Measure recall and generation by a sample of the namespace's own episodes: each is left out
    in turn, and nothing is stored. Answers the job, whose result has the figures."""
    body = await read_json(request, EvaluateRequest)
    service = application_of(request).evaluation
    job = await call(request, service.begin, **body.model_dump())
    response.headers["Location"] = f"/jobs/{job.id}"
    return views.job(job)


@router.get("/evaluate/{job_id}/report", response_class=HTMLResponse)
async def report(request: Request, job_id: str) -> HTMLResponse:
    """The page of an evaluation that has succeeded, with samples to see and to hear. The latest are
    kept until the service stops, or until a memory that they show is forgotten."""
    evaluation = application_of(request).evaluation
    found = await probe(request, lambda: evaluation.report(job_id))
    return HTMLResponse(found.page, headers={"Content-Security-Policy": POLICY})
