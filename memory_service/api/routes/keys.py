"""API keys, for those who administer the whole store."""

from __future__ import annotations

from fastapi import APIRouter, Request

from memory_service.api import docs, views
from memory_service.api.bodies import read_json
from memory_service.api.calls import application_of, call, probe
from memory_service.api.operator_schemas import CreatedKeyOut, KeyOut, KeyRequest, KeysOut

router = APIRouter()

EXAMPLES = {
    "a camera that stores": {"name": "camera 3", "scope": "write", "namespaces": ["yard"]},
    "an operator": {"name": "night shift", "scope": "admin", "expires_at": 1_900_000_000},
}


@router.post(
    "/keys",
    status_code=201,
    response_model=CreatedKeyOut,
    openapi_extra=docs.json_body(KeyRequest, EXAMPLES),
)
async def create_key(request: Request) -> CreatedKeyOut:
    """Make a key. Its text is in this answer and nowhere else: only a hash is kept."""
    body = await read_json(request, KeyRequest)
    keys = application_of(request).keys
    key, text = await call(request, keys.create, **body.model_dump())
    return CreatedKeyOut(**key.as_json(), key=text)


@router.get("/keys", response_model=KeysOut)
async def list_keys(request: Request) -> KeysOut:
    """The oldest first, those that are revoked or expired among them."""
    found = await probe(request, application_of(request).keys.list)
    return KeysOut(keys=[views.key(each) for each in found])


@router.delete("/keys/{key_id}", response_model=KeyOut)
async def revoke_key(request: Request, key_id: str) -> KeyOut:
    """Revoke a key: from now on it opens nothing."""
    return views.key(await call(request, application_of(request).keys.revoke, key_id))
