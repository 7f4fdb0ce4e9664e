"""Forgetting: memories, episodes, generations, what a filter matches, whole namespaces."""

from __future__ import annotations

from fastapi import APIRouter, Request

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
)
from memory_service.records import Selection

router = APIRouter(tags=["forgetting"])

EXAMPLES = {
    "how many": {"filter": {"place": "farm"}, "dry_run": True},
    "these three": {"filter": {"place": "farm"}, "expected": 3, "descendants": "erase"},
    "everything": {"namespace": "default", "all": True, "expected": 1200},
}


@router.delete(
    "/memories",
    response_model=ReceiptOut | DryRunOut,
    openapi_extra=docs.json_body(ForgetRequest, EXAMPLES),
)
async def forget_matching(request: Request) -> ReceiptOut | DryRunOut:
    """Delete for good what a filter matches, provided that it is as many memories as `expected`."""
    body = await read_json(request, ForgetRequest)
    service = application_of(request).forgetting
    given = body.namespace if "namespace" in body.model_fields_set else None
    selection = Selection(namespace_of(request, given), body.filter, body.modality, body.all)
    if body.dry_run:
        return DryRunOut(expected=await call(request, service.count, selection))
    found = await call(request, service.forget, selection, body.expected, body.manner())
    return forgetting.receipt(found)


@router.delete("/memories/{memory_id}", response_model=ReceiptOut)
async def forget_memory(request: Request, memory_id: str, how: HowParameters) -> ReceiptOut:
    """Delete for good: row, vectors, trace share, index entry, and content and thumbnail if nothing
    else has the same content."""
    found = await call(request, application_of(request).memory.forget, memory_id, how)
    return forgetting.receipt(found)


@router.delete("/episodes/{episode_id}", response_model=ReceiptOut)
async def forget_episode(request: Request, episode_id: str, how: HowParameters) -> ReceiptOut:
    """Delete all the memories of an episode for good."""
    found = await call(request, application_of(request).memory.forget_episode, episode_id, how)
    return forgetting.receipt(found)


@router.delete("/generations/{generation_id}", response_model=ReceiptOut)
async def forget_generation(request: Request, generation_id: str, how: HowParameters) -> ReceiptOut:
    """Delete what was generated, and the record of it, for good."""
    service = application_of(request).forgetting
    found = await call(request, service.forget_generation, generation_id, how)
    return forgetting.receipt(found)


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


@router.delete("/namespaces/{namespace}", response_model=ReceiptOut)
async def forget_namespace(
    request: Request, namespace: str, how: HowParameters, expected: int | None = None
) -> ReceiptOut:
    """Delete all its memories, generations and settings for good. With `expected`: only if it has
    so many memories."""
    service = application_of(request).forgetting
    found = await call(request, service.forget_namespace, namespace, expected, how)
    return forgetting.receipt(found)


@router.get("/receipts/{receipt_id}", response_model=ReceiptOut)
async def get_receipt(request: Request, receipt_id: str) -> ReceiptOut:
    """The receipt of an earlier deletion."""
    service = application_of(request).forgetting
    return forgetting.receipt(await call(request, service.receipt, receipt_id))
