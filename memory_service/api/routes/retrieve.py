"""POST /retrieve."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from fastapi import APIRouter, Request, Response

from memory_service.api import docs, views
from memory_service.api.bodies import read_retrieve, weights_of
from memory_service.api.calls import application_of, call, call_briefly, count_stages
from memory_service.api.schemas import RetrievalOut, RetrieveRequest
from memory_service.app import Application
from memory_service.records import QueryPart
from memory_service.services.searches import NONE_AHEAD

router = APIRouter()

BRIEF_K = 50  # hits that are read from the catalog in a moment

EXAMPLES = {
    "sounds for a text": {"query": {"text": "a cat"}, "modalities": ["audio"], "k": 3},
    "two parts at once": {
        "query": [{"text": "a farm"}, {"text": "a bird", "weight": 0.5}],
        "filter": {"place": ["farm", "forest"]},
    },
}
FIELDS = {
    "modalities": docs.text_field("Comma-separated; default: all."),
    "mode": docs.text_field("direct, associative or auto (default)."),
    "k": {"type": "integer", "description": "Most hits per modality."},
    "filter": docs.text_field("JSON object."),
    "namespace": docs.text_field("Default: default."),
    **docs.DYNAMICS,
}


@router.post(
    "/retrieve",
    response_model=RetrievalOut,
    openapi_extra=docs.or_raw_vector(
        docs.body(RetrieveRequest, EXAMPLES, FIELDS),
        {"space": docs.text_field("Id of the vector's space."), **FIELDS},
    ),
)
async def retrieve(request: Request) -> Response:
    """Recall memories of any modality by text, picture, sound, vector, or several at once."""
    body, parts = await read_retrieve(request)
    application = application_of(request)
    filter = application.retriever.understood(body.filter)
    brief = _is_brief(application, body, parts) and (
        not filter or application.retriever.at_hand(body.namespace, body.modalities, filter)
    )
    reach = call_briefly if brief else call
    ahead = NONE_AHEAD
    if brief and not filter and not body.context_weight:
        ahead = await request.app.state.searches.ahead(
            partial(
                application.retriever.begins_with,
                parts,
                namespace=body.namespace,
                modalities=body.modalities,
                k=body.k,
            )
        )
    found = await reach(
        request,
        application.retriever.retrieve,
        parts,
        namespace=body.namespace,
        modalities=body.modalities,
        mode=body.mode,
        k=body.k,
        filter=filter,
        weights=weights_of(body),
        reinforce=body.reinforce,
        ahead=ahead,
    )
    count_stages(request, "retrieve", found.timings_ms)
    return Response(views.retrieval(found), media_type="application/json")


def _is_brief(application: Application, body: RetrieveRequest, parts: Sequence[QueryPart]) -> bool:
    """Whether vectors are compared, and nothing else is done but, perhaps, reading a filter."""
    return (
        body.mode == "direct"
        and body.k <= BRIEF_K
        and not (body.recency_weight or body.strength_weight)
        and all(part.vector is not None for part in parts)
        and not application.active.changing
    )
