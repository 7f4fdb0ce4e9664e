"""Forgetting: memories, episodes, generations, what a filter matches, whole namespaces."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from memory_service.api import docs, forgetting
from memory_service.api.access import caller_of, namespace_of
from memory_service.api.bodies import read_json
from memory_service.api.calls import application_of, call
from memory_service.api.forgetting import (
    DryRunOut,
    ForgetRequest,
    HowParameters,
    NamespaceOut,
    NamespacesOut,
    ReceiptOut,
    ReceiptsOut,
)
from memory_service.records import Forgotten, Selection

router = APIRouter()

GOES_ON: dict[int | str, dict[str, Any]] = {
    202: {
        "model": ReceiptOut,
        "description": "It goes on as a job: the receipt as it was at the beginning, not complete. "
        "Read it again by its `id`, and how far it is by its `job`, which Location names.",
    }
}
EXAMPLES = {
    "how many": {"filter": {"place": "farm"}, "dry_run": True},
    "these three": {"filter": {"place": "farm"}, "expected": 3, "descendants": "erase"},
    "everything": {"namespace": "default", "all": True, "expected": 1200},
}


@router.delete(
    "/memories",
    response_model=ReceiptOut | DryRunOut,
    responses=GOES_ON,
    openapi_extra=docs.json_body(ForgetRequest, EXAMPLES),
)
async def forget_matching(request: Request, response: Response) -> ReceiptOut | DryRunOut:
    """Delete for good what a filter matches, provided that it is as many memories as `expected`."""
    body = await read_json(request, ForgetRequest)
    service = application_of(request).forgetting
    given = body.namespace if "namespace" in body.model_fields_set else None
    selection = Selection(namespace_of(request, given), body.filter, body.modality, body.all)
    if body.dry_run:
        return DryRunOut(expected=await call(request, service.count, selection))
    found = await call(request, service.forget, selection, body.expected, body.manner())
    return _answer(request, response, found)


@router.delete("/memories/{memory_id}", response_model=ReceiptOut)
async def forget_memory(request: Request, memory_id: str, how: HowParameters) -> ReceiptOut:
    """Delete for good: row, vectors, trace share, index entry, and content and thumbnail if nothing
    else has the same content."""
    found = await call(request, application_of(request).memory.forget, memory_id, how)
    return forgetting.receipt(found, caller_of(request))


@router.delete("/episodes/{episode_id}", response_model=ReceiptOut)
async def forget_episode(request: Request, episode_id: str, how: HowParameters) -> ReceiptOut:
    """Delete all the memories of an episode for good."""
    found = await call(request, application_of(request).memory.forget_episode, episode_id, how)
    return forgetting.receipt(found, caller_of(request))


@router.delete("/generations/{generation_id}", response_model=ReceiptOut)
async def forget_generation(request: Request, generation_id: str, how: HowParameters) -> ReceiptOut:
    """Delete what was generated, and the record of it, for good."""
    service = application_of(request).forgetting
    found = await call(request, service.forget_generation, generation_id, how)
    return forgetting.receipt(found, caller_of(request))


@router.get("/namespaces", response_model=NamespacesOut)
async def list_namespaces(request: Request) -> NamespacesOut:
    """Those that hold anything, and how much."""
    found = await call(request, application_of(request).forgetting.namespaces)
    own = [each for each in found if caller_of(request).sees(each.namespace)]
    return NamespacesOut(namespaces=[forgetting.namespace(each) for each in own])


@router.get("/namespaces/{namespace}", response_model=NamespaceOut)
async def get_namespace(request: Request, namespace: str) -> NamespaceOut:
    """How much it holds."""
    service = application_of(request).forgetting
    return forgetting.namespace(await call(request, service.namespace, namespace))


@router.delete("/namespaces/{namespace}", response_model=ReceiptOut, responses=GOES_ON)
async def forget_namespace(
    request: Request,
    response: Response,
    namespace: str,
    how: HowParameters,
    expected: int | None = None,
) -> ReceiptOut:
    """Delete all its memories, generations and settings for good. With `expected`: only if it has
    so many memories."""
    service = application_of(request).forgetting
    found = await call(request, service.forget_namespace, namespace, expected, how)
    return _answer(request, response, found)


def _answer(request: Request, response: Response, found: Forgotten) -> ReceiptOut:
    if not found.complete:
        response.status_code = 202
        response.headers["Location"] = f"/jobs/{found.job}"
    return forgetting.receipt(found, caller_of(request))


@router.get("/receipts", response_model=ReceiptsOut)
async def list_receipts(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: Annotated[str | None, Query(description="`next` of the page before.")] = None,
) -> ReceiptsOut:
    """The newest first, without the lists that each has."""
    service, caller = application_of(request).forgetting, caller_of(request)
    found = await call(request, service.receipts, limit + 1, before, caller.namespaces)
    return ReceiptsOut(
        receipts=[forgetting.summary(each, caller) for each in found[:limit]],
        next=found[limit - 1].id if len(found) > limit else None,
    )


@router.get("/receipts/{receipt_id}", response_model=ReceiptOut)
async def get_receipt(request: Request, receipt_id: str) -> ReceiptOut:
    """The receipt of an earlier deletion."""
    service = application_of(request).forgetting
    found = await call(request, service.receipt, receipt_id)
    return forgetting.receipt(found, caller_of(request))
