"""What each error code means, as docs/api.md has it, and the page that its `type` leads to."""

from __future__ import annotations

from html import escape
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from memory_service.api.negotiation import preferred
from memory_service.api.problems import HTTP_CODES, TITLES, problem

MEANINGS: dict[str, tuple[int, str]] = {
    "malformed_json": (400, "the body is empty or not JSON"),
    "malformed_body": (400, "the multipart body cannot be read"),
    "unauthorized": (401, "no API key came, or one that is unknown, revoked or expired"),
    "insufficient_scope": (
        403,
        "the key's scope does not allow this: found is what it has, accepted what is needed",
    ),
    "foreign_namespace": (403, "the key is bound to other namespaces: accepted names its own"),
    "host_not_allowed": (
        403,
        "the request is for another host name, or a page of another host sends it",
    ),
    "not_found": (404, "no such memory, episode, generation, namespace, receipt or route"),
    "no_thumbnail": (404, "there is no small picture of a memory of this modality"),
    "method_not_allowed": (405, "the route does not take this method"),
    "not_acceptable": (406, "the output cannot be answered as the Accept header asks"),
    "slow_upload": (
        408,
        "head or body did not come in time: accepted names the pause and the rate that are",
    ),
    "space_mismatch": (
        409,
        "the store was written with other encoders, or before the profile had one of its spaces: "
        "memory-service reembed",
    ),
    "too_many_namespaces": (
        409,
        "it would be the first memory of a namespace, and there are MEMORY_SERVICE_MAX_NAMESPACES",
    ),
    "idempotency_key_reused": (409, "the idempotency key was given with another request before"),
    "idempotency_key_in_use": (409, "a generation with this key is under way; Retry-After"),
    "job_conflict": (
        409,
        "a job of this kind is running, or an unfinished one must be dropped first",
    ),
    "unexpected_count": (
        409,
        "another number of memories than expected would be forgotten; nothing was",
    ),
    "not_configured": (409, "the operator has not set what this needs: a folder for backups"),
    "nothing_kept": (409, "there is no re-embedding to take back"),
    "incomplete": (409, "memories lack a vector of the space to switch to (as a job's error)"),
    "nothing_remembered": (409, "there is nothing to generate from"),
    "too_similar": (409, "every draw was more like a memory than max_similarity allows"),
    "too_large": (
        413,
        "body, picture, sound, text, metadata or number of parts is above its limit, or JSON has "
        "more than 65,536 values",
    ),
    "unsupported_content_type": (
        415,
        "the body is neither JSON nor multipart, or packed (Content-Encoding)",
    ),
    "unsupported_media": (415, "the media are of a type that is not accepted"),
    "range_not_satisfiable": (416, "the content has none of the bytes that the Range header names"),
    "invalid_input": (422, "a parameter is missing, malformed or out of range"),
    "invalid_media": (422, "the media are of an accepted type but broken, truncated or empty"),
    "invalid_vector": (422, "wrong dimension, NaN, infinite, or no direction"),
    "modality_unavailable": (422, "the profile has no encoder or generator for this modality"),
    "overloaded": (
        429,
        "too many requests, or items of one modality, wait already, or too many bytes of bodies "
        "are held; Retry-After says for how long to stay away",
    ),
    "rate_limited": (
        429,
        "the key asks more often, or sends more, than it may; Retry-After says for how long to "
        "stay away",
    ),
    "head_too_large": (431, "request line and headers have more than 64 KiB"),
    "storage_failure": (500, "the store, or a damaged memory in it, cannot be read or written"),
    "internal_error": (500, "a fault of the service; the log has more"),
    "generator_failed": (502, "the chat endpoint did not answer, or with nothing that can be used"),
    "not_ready": (503, "starting, or the store does not answer"),
    "waited_too_long": (
        503,
        "its turn did not come within MEMORY_SERVICE_REQUEST_TIMEOUT_S: nothing was done",
    ),
    "timed_out": (504, "the answer was not there in that time; what had begun may yet be done"),
    "storage_full": (
        507,
        "the disk is full; nothing was stored, or deleted (a reserve lets deletes pass)",
    ),
}
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{code}</title>
<h1>{title}</h1><p><code>{code}</code>, HTTP {status}: {meaning}.</p></html>
"""


async def error_page(request: Request) -> Response:
    """A code's title, status and meaning: HTML for who wants that rather than JSON."""
    code = request.path_params["code"]
    if code not in MEANINGS:
        found = code[:80]
        return problem(404, HTTP_CODES[404], f"there is no error code {found!r}", kind="error")
    status, meaning = MEANINGS[code]
    told: dict[str, Any] = {
        "code": code,
        "status": status,
        "title": TITLES[status],
        "meaning": meaning,
    }
    kinds = ["application/json", "text/html"]
    if preferred(request.headers.get("accept"), kinds) == "text/html":
        return HTMLResponse(
            _PAGE.format(**{name: escape(str(each)) for name, each in told.items()})
        )
    return JSONResponse(told)
