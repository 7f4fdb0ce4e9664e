"""POST /generate and what can be asked of a generation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from memory_service.api import docs, views
from memory_service.api.access import caller_of, namespace_of
from memory_service.api.bodies import key_of, read_generate, weights_of
from memory_service.api.calls import application_of, call, count_stages, replayed
from memory_service.api.negotiation import preferred
from memory_service.api.problems import HttpProblem
from memory_service.api.schemas import (
    GenerateRequest,
    GenerationOut,
    GenerationPageOut,
    ReplayedOut,
    ReplayOut,
)
from memory_service.app import Application
from memory_service.card import picture
from memory_service.card.page import POLICY, page
from memory_service.records import Generation, QueryPart

router = APIRouter()

MEDIA = {"image": "image/png", "audio": "audio/wav", "text": "text/plain"}
EXAMPLES = {
    "a picture": {"query": {"text": "a cat on a farm"}, "output": "image", "creativity": 0.3},
    "all three": {
        "query": {"text": "a bird"},
        "output": ["image", "text", "audio"],
        "seed": 7,
        "k": 4,
    },
    "an answer, spoken": {
        "query": {"text": "What does a cow eat?"},
        "output": ["text", "audio"],
        "text_mode": "answer",
        "audio_mode": "speech",
    },
}
FIELDS = {
    "output": docs.text_field("Comma-separated; default: image."),
    "k": {"type": "integer", "description": "Episodes to make it from."},
    "creativity": {"type": "number", "description": "0 to 1."},
    "seed": {"type": "integer"},
    "fusion": docs.text_field("sum, weighted, attention (default) or learned."),
    "mode": docs.text_field("direct, associative or auto (default)."),
    "filter": docs.text_field("JSON object."),
    "namespace": docs.text_field("Default: default."),
    "text_mode": docs.text_field("caption (default), tags or answer."),
    "audio_mode": docs.text_field("sound (default) or speech."),
    "max_similarity": {"type": "number", "description": "0 to 1; above, it is drawn again."},
    "candidates": {"type": "integer", "description": "1 to 8; the best one is kept."},
    "explain": {"type": "boolean", "description": "Measure what each memory did."},
    "include_data": {"type": "boolean"},
    **docs.DYNAMICS,
}


@router.post(
    "/generate",
    status_code=201,
    response_model=GenerationOut,
    responses={201: {"content": docs.media(*MEDIA.values())}},
    openapi_extra=docs.with_key(docs.body(GenerateRequest, EXAMPLES, FIELDS)),
)
async def generate(request: Request) -> Response:
    """Make new media from what is remembered. With Accept image/png and the like: just the media.

    The answer names the memories that it was made from, their weights, the seed and the models.
    """
    body, parts = await read_generate(request)
    outputs = [body.output] if isinstance(body.output, str) else body.output
    kind = _answer_kind(request.headers.get("accept"), outputs)
    application = application_of(request)
    made, contents, before = await call(
        request,
        _generate,
        application,
        key_of(request),
        parts,
        outputs=outputs,
        namespace=body.namespace,
        k=body.k,
        fusion=body.fusion,
        creativity=body.creativity,
        seed=body.seed,
        mode=body.mode,
        filter=body.filter,
        weights=weights_of(body),
        reinforce=body.reinforce,
        max_similarity=body.max_similarity,
        candidates=body.candidates,
        modes=_modes(body),
        explain=body.explain,
    )
    if not before:
        count_stages(request, "generate", made.timings_ms)
    headers = {
        "Location": f"/generations/{made.id}",
        "Generation-Id": made.id,
        **replayed(before),
    }
    if kind != "application/json":
        media_type = "text/plain; charset=utf-8" if kind == "text/plain" else kind
        content = contents[made.outputs[0].id]
        return Response(content, 201, headers=headers, media_type=media_type)
    view = views.generation(made, contents if body.include_data else {})
    return JSONResponse(view.model_dump(mode="json"), 201, headers=headers)


def _modes(body: GenerateRequest) -> dict[str, str]:
    """Those that were given: a default of this API may be none of the profile's."""
    given = {"text": body.text_mode, "audio": body.audio_mode}
    return {each: mode for each, mode in given.items() if f"{each}_mode" in body.model_fields_set}


def _answer_kind(accept: str | None, outputs: list[str]) -> str:
    """JSON, or the media type of the one output; refused before anything is made."""
    offered = ["application/json"]
    if len(outputs) == 1 and outputs[0] in MEDIA:
        offered.append(MEDIA[outputs[0]])
    return _required(accept, offered, str(outputs))


def _required(accept: str | None, offered: list[str], what: str) -> str:
    kind = preferred(accept, offered)
    if kind is None:
        raise HttpProblem(
            406,
            "not_acceptable",
            f"cannot answer {what} as {accept}",
            found=accept,
            accepted=offered,
        )
    return kind


def _generate(
    application: Application, key: str | None, parts: Sequence[QueryPart], **options: Any
) -> tuple[Generation, dict[str, bytes], bool]:
    """The generation, by output id its media, and whether it was there before: in one call, which
    is turned away before."""
    made, before = application.generation.generate_once(key, parts, **options)
    contents = {
        output.id: application.generations.content(made.id, output.id)[1] for output in made.outputs
    }
    return made, contents, before


@router.get("/generations", response_model=GenerationPageOut)
async def list_generations(
    request: Request, namespace: str | None = None, after: str | None = None, limit: int = 50
) -> GenerationPageOut:
    """The records of generations, the newest first, without their media."""
    if namespace is not None:
        namespace = namespace_of(request, namespace)
    found, following = await call(
        request,
        application_of(request).generations.page,
        namespace=namespace,
        namespaces=caller_of(request).namespaces,
        after=after,
        limit=limit,
    )
    return GenerationPageOut(
        generations=[views.generation(each, {}) for each in found], next=following
    )


@router.get("/generations/{generation_id}", response_model=GenerationOut)
async def get_generation(request: Request, generation_id: str) -> GenerationOut:
    """The record of a generation, without the media."""
    generations = application_of(request).generations
    return views.generation(await call(request, generations.get, generation_id), {})


@router.get(
    "/generations/{generation_id}/content",
    response_class=Response,
    responses={200: {"content": docs.media(*MEDIA.values())}},
)
async def get_generation_content(
    request: Request, generation_id: str, output: str | None = None
) -> Response:
    """The media of an output, named by modality or id; the first one by default."""
    generations = application_of(request).generations
    record, content = await call(request, generations.content, generation_id, output)
    return Response(content, media_type=record.media_type, headers={"ETag": f'"{record.blob}"'})


@router.get(
    "/generations/{generation_id}/card",
    response_class=Response,
    responses={200: {"content": docs.media("text/html", "image/png")}},
)
async def get_card(request: Request, generation_id: str) -> Response:
    """What was asked, remembered and made, on one page: HTML, or with Accept: image/png a picture.

    The page holds all it shows, and nothing in it runs.
    """
    kind = _required(request.headers.get("accept"), ["text/html", "image/png"], "a card")
    content = await call(request, _card, application_of(request), generation_id, kind)
    headers = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"}
    media_type = f"{kind}; charset=utf-8" if kind == "text/html" else kind
    return Response(content, headers=headers, media_type=media_type)


def _card(application: Application, generation_id: str, kind: str) -> bytes:
    shown = application.generations.card(generation_id)
    return picture.draw(shown) if kind == "image/png" else page(shown).encode()


@router.post("/generations/{generation_id}/replay", response_model=ReplayOut)
async def replay(request: Request, generation_id: str) -> ReplayOut:
    """Make it again from its record, and say whether every byte is the same."""
    found = await call(request, application_of(request).generations.replay, generation_id)
    return ReplayOut(outputs=[ReplayedOut(id=id, identical=same) for id, same in found.items()])


@router.post("/generations/{generation_id}/explain", response_model=GenerationOut)
async def explain(request: Request, generation_id: str) -> GenerationOut:
    """Measure what each memory did: make it again without it. The record keeps what was found."""
    found = await call(request, application_of(request).generations.explain, generation_id)
    return views.generation(found, {})
