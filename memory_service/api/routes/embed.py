"""POST /embed."""

from __future__ import annotations

from fastapi import APIRouter, Request

from memory_service.api import docs
from memory_service.api.bodies import read_embed
from memory_service.api.calls import application_of, call
from memory_service.api.schemas import EmbeddedOut, EmbeddingsOut, EmbedRequest, SpaceOut

router = APIRouter()

EXAMPLES = {
    "two texts": {
        "items": [{"modality": "text", "text": each} for each in ("A cat.", "A cow on a farm.")]
    }
}
FIELDS = {"space": docs.text_field("Id of the space; default: the home of each modality.")}


@router.post(
    "/embed",
    response_model=EmbeddingsOut,
    openapi_extra=docs.body(EmbedRequest, EXAMPLES, FIELDS),
)
async def embed(request: Request) -> EmbeddingsOut:
    """The vectors that the service has of pictures, texts and sounds; nothing is stored."""
    body, uploads = await read_embed(request)
    found = await call(request, application_of(request).encoding.embed, uploads, body.space)
    return EmbeddingsOut(
        embeddings=[
            EmbeddedOut(
                modality=each.modality,
                media_type=each.media_type,
                space=SpaceOut(id=each.space_id, fingerprint=each.space_fingerprint),
                vector=each.vector.tolist(),
            )
            for each in found
        ]
    )
