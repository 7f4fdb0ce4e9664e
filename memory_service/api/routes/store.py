"""POST /store and POST /store/batch."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from pydantic_core import to_json

from memory_service.api import docs, views
from memory_service.api.batches import NDJSON, BatchResponse
from memory_service.api.bodies import key_of, read_store, require_type
from memory_service.api.calls import (
    application_of,
    call,
    count_stages,
    replayed,
)
from memory_service.api.problems import Problem
from memory_service.api.schemas import BatchLineOut, StoredOut, StoreRequest
from memory_service.api.together import Together
from memory_service.records import Stored, StoreOrder
from memory_service.services import idempotency

router = APIRouter()

EXAMPLES = {
    "a text": {"items": [{"modality": "text", "text": "A cat on a farm."}]},
    "a picture and its text": {
        "items": [
            {
                "modality": "image",
                "data": "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91Jpz"
                "AAAAEElEQVR4nGP4z8AARAwQCgAf7gP9i18U1AAAAABJRU5ErkJggg==",
            },
            {"modality": "text", "text": "A red square."},
        ],
        "metadata": {"place": "desk"},
    },
}
FIELDS = {
    "namespace": docs.text_field("Default: default."),
    "metadata": docs.text_field("JSON object."),
    "if_duplicate": docs.text_field("keep (default) or skip."),
    "expires_at": {"type": "number", "description": "Unix seconds."},
    "ttl_s": {"type": "number", "description": "Seconds until it expires."},
    "idempotency_key": docs.text_field("As the header."),
}


def status_of(stored: Stored) -> int:
    return 200 if stored.duplicate else 201


@router.post(
    "/store",
    status_code=201,
    response_model=StoredOut,
    responses={200: {"model": StoredOut, "description": "It was there already."}},
    openapi_extra=docs.with_key(docs.body(StoreRequest, EXAMPLES, FIELDS)),
)
async def store(request: Request) -> Response:
    """Store an episode: pictures, texts and sounds that belong together. Durable when answered."""
    order = await read_store(request)
    # What hardly computes and waits for the disk is written at one price.
    ready = all(each.modality == "text" and each.vector is not None for each in order.uploads)
    if ready:
        writes: Together[StoreOrder, Stored] = request.app.state.writes
        stored = await writes.one(order, request)
    else:
        stored = await call(request, application_of(request).storing.store, order)
    count_stages(request, "store", stored.timings_ms)
    return Response(
        to_json(views.stored(stored)),
        status_of(stored),
        headers={"Location": f"/episodes/{stored.episode.id}", **replayed(stored.replayed)},
        media_type="application/json",
    )


@router.post(
    "/store/batch",
    response_class=Response,
    responses={
        200: {"description": "One line per line.", "content": docs.lines(BatchLineOut, Problem)}
    },
    openapi_extra=docs.with_key(docs.line_body(StoreRequest), docs.BATCH_KEY),
)
async def store_batch(request: Request) -> Response:
    """Store many episodes: one per line, as /store takes it as JSON. Each line is answered by one
    in their order, with a status of its own; durable when answered."""
    require_type(request, NDJSON)
    if (key := key_of(request)) is not None:
        idempotency.require_key(key, idempotency.LONGEST_OF_A_BATCH)
    return BatchResponse(request, longest_line=request.app.state.body_limit)
