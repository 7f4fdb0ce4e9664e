"""Which errors each route may answer: the one table, written into the OpenAPI document."""

from __future__ import annotations

from typing import Any

from memory_service.api import problems
from memory_service.api.permissions import RULES

ANYWHERE = (403, 500)
KEYS = (401, 413, 429)  # it asks for a key, which has its limits; or many wait already
WAITS = (503, 504)  # it waits for a thread, and for the service to be there
JSON = (400, 408, 413, 415, 422, *WAITS)  # it takes a body of JSON
MEDIA = (*JSON, 409)  # it takes media in a form or in JSON

ERRORS: dict[str, tuple[int, ...]] = {
    "POST /store": (*MEDIA, 404, 507),
    "POST /store/batch": (400, 408, 415, 422, *WAITS),
    "POST /retrieve": MEDIA,
    "POST /embed": JSON,
    "POST /generate": (*MEDIA, 404, 406, 502, 507),
    "GET /memories": (422, *WAITS),
    "DELETE /memories": (*JSON, 409, 507),
    "GET /memories/{memory_id}": (404, *WAITS),
    "PATCH /memories/{memory_id}": (*JSON, 404, 507),
    "DELETE /memories/{memory_id}": (404, 422, *WAITS, 507),
    "GET /memories/{memory_id}/content": (404, 413, 416, 422, *WAITS),
    "GET /memories/{memory_id}/thumbnail": (404, *WAITS),
    "GET /episodes/{episode_id}": (404, *WAITS),
    "DELETE /episodes/{episode_id}": (404, 422, *WAITS, 507),
    "GET /generations": (422, *WAITS),
    "GET /generations/{generation_id}": (404, *WAITS),
    "DELETE /generations/{generation_id}": (404, 422, *WAITS, 507),
    "GET /generations/{generation_id}/content": (404, *WAITS),
    "GET /generations/{generation_id}/card": (404, 406, *WAITS),
    "POST /generations/{generation_id}/replay": (404, 409, 422, 502, *WAITS),
    "POST /generations/{generation_id}/explain": (404, 409, 422, 502, *WAITS, 507),
    "GET /namespaces": WAITS,
    "GET /namespaces/{namespace}": (404, 422, *WAITS),
    "DELETE /namespaces/{namespace}": (404, 409, 422, *WAITS, 507),
    "GET /receipts": (422, *WAITS),
    "GET /receipts/{receipt_id}": (404, *WAITS),
    "GET /namespaces/{namespace}/settings": (422, *WAITS),
    "PUT /namespaces/{namespace}/settings": (*JSON, 507),
    "POST /sweep": (422, *WAITS, 507),
    "POST /consolidate": (*JSON, 409, 507),
    "POST /consolidate/{name}/undo": (404, 409, 422, *WAITS, 507),
    "POST /backup": (*JSON, 409, 507),
    "POST /reembed": (*JSON, 409, 507),
    "GET /reembed": WAITS,
    "DELETE /reembed/{role}": (409, 422, *WAITS, 507),
    "POST /evaluate": (*JSON, 409, 507),
    "GET /evaluate/{job_id}/report": (404, *WAITS),
    "GET /jobs": (422, *WAITS),
    "GET /jobs/{job_id}": (404, *WAITS),
    "DELETE /jobs/{job_id}": (404, 409, *WAITS),
    "POST /keys": JSON,
    "GET /keys": WAITS,
    "DELETE /keys/{key_id}": (404, *WAITS),
    "GET /audit": (422, *WAITS),
    "GET /models": (503,),
    "GET /stats": WAITS,
    "GET /livez": (429,),
    "GET /readyz": (429, *WAITS),
    "GET /metrics": WAITS,
}


def declare(paths: dict[str, Any]) -> None:
    """Put the errors of every operation into the `paths` of an OpenAPI document, in the place of
    what FastAPI says of them. Raises KeyError for an operation that the table does not have."""
    for path, operations in paths.items():
        for method, operation in operations.items():
            responses = operation["responses"]
            for status in [each for each in responses if each >= "400"]:
                del responses[status]
            name = f"{method.upper()} {path}"
            keys = () if RULES[name].scope is None else KEYS
            if keys:
                operation["security"] = [{"key": []}]
            for each in sorted({*ANYWHERE, *keys, *ERRORS[name]}):
                responses[str(each)] = _response(each)


def _response(status: int) -> dict[str, Any]:
    codes = ", ".join(f"`{code}`" for code in problems.codes(status))
    return {
        "description": f"{problems.TITLES[status]}: {codes}.",
        "content": {
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
        },
    }
