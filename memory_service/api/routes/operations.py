"""What operators ask: is it up, what runs here, how much is in it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from memory_service.api.access import caller_of
from memory_service.api.calls import application_of, probe
from memory_service.api.operator_schemas import (
    Alive,
    AuditEntryOut,
    AuditOut,
    EncoderOut,
    GeneratorOut,
    LimitsOut,
    ModelsOut,
    Ready,
    StatsOut,
    SubMemoryOut,
    WeightsOut,
)
from memory_service.app import limits
from memory_service.errors import MemoryServiceError, NotReady, SpaceMismatch, StorageFull

router = APIRouter()


@router.get("/livez", response_model=Alive)
async def livez() -> Alive:
    """The process answers."""
    return Alive()


@router.get("/readyz", response_model=Ready, response_model_exclude_none=True)
async def readyz(request: Request) -> Ready:
    """Models are loaded and the store can be read; 503 otherwise. 200 with `status: degraded` where
    the vectors of the store are of other encoders, or the disk is full: it can be read, and what
    mends it can be asked for."""
    if request.app.state.draining:
        raise NotReady("the service is shutting down")
    application = application_of(request)
    try:
        _, mismatches = await probe(
            request, lambda: (application.memory.stats(), application.mismatches())
        )
    except NotReady:
        raise
    except MemoryServiceError as error:
        raise NotReady(f"the store does not answer: {error.message}") from error
    full = ["the disk is full: nothing is stored, deletions pass"] if application.full() else []
    if not mismatches:
        if full:
            return Ready(status="degraded", code=StorageFull.code, reason=full[0])
        return Ready(status="ok")
    profile = application.profile.name
    return Ready(
        status="degraded",
        code=SpaceMismatch.code,
        reason="; ".join([*mismatches.values(), *full]),
        modalities=list(mismatches),
        command=f"memory-service reembed --profile {profile}",
    )


@router.get("/models", response_model=ModelsOut)
async def models(request: Request) -> ModelsOut:
    """The active profile: encoders, their spaces, generators, accepted media and limits."""
    application = application_of(request)
    profile = application.profile
    return ModelsOut(
        profile=profile.name,
        encoders=[
            EncoderOut(
                modality=each.modality,
                encoder=each.name,
                space=each.space_id,
                dimension=each.dimension,
                fingerprint=each.fingerprint,
                accepted=list(each.accepted),
            )
            for each in profile.encoders
        ],
        weights=[WeightsOut(**asdict(each)) for each in profile.weights],
        generators=[each.modality for each in profile.generators],
        generator_models=[
            GeneratorOut(modality=each.modality, generator=each.name, fingerprint=each.fingerprint)
            for each in profile.generators
        ],
        limits=LimitsOut(
            max_body_bytes=request.app.state.body_limit, **limits(application.settings)
        ),
    )


@router.get("/stats", response_model=StatsOut)
async def stats(request: Request) -> StatsOut:
    """Size of each sub-memory, and the length of its trace."""
    memory = application_of(request).memory
    caller = caller_of(request)
    every, memories = await probe(
        request, lambda: (memory.stats(), memory.count(caller.namespaces))
    )
    found = [each for each in every if caller.sees(each.namespace)]
    return StatsOut(
        sub_memories=[
            SubMemoryOut(
                namespace=each.namespace,
                modality=each.modality,
                space=each.space_id,
                count=each.count,
                trace_norm=each.trace_norm,
            )
            for each in found
        ],
        memories=memories,
    )


@router.get("/audit", response_model=AuditOut)
async def audit_log(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    key: str | None = None,
    request_id: str | None = None,
) -> AuditOut:
    """Who changed what: the newest lines of the audit log, of one key or request if wanted."""
    log = application_of(request).audit
    if log is None:
        return AuditOut(entries=[])
    match = {name: given for name, given in (("key", key), ("request_id", request_id)) if given}
    entries = await probe(request, lambda: log.latest(limit, match))
    return AuditOut(entries=[AuditEntryOut(**each) for each in entries])


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Prometheus text format."""
    text = await probe(request, request.app.state.metrics.text)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")
