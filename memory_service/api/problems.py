"""Errors as problem+json (RFC 9457). The one place that knows which error has which status."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from memory_service import errors
from memory_service.logs import Sparing

log = logging.getLogger(__name__)
sparing = Sparing()

STATUS: dict[type[errors.MemoryServiceError], int] = {
    errors.InvalidInput: 422,
    errors.InvalidVector: 422,
    errors.InvalidMedia: 422,
    errors.UnsupportedMedia: 415,
    errors.TooLarge: 413,
    errors.NotFound: 404,
    errors.NoThumbnail: 404,
    errors.UnexpectedCount: 409,
    errors.TooManyNamespaces: 409,
    errors.SpaceMismatch: 409,
    errors.Incomplete: 409,
    errors.NothingKept: 409,
    errors.JobConflict: 409,
    errors.KeyReused: 409,
    errors.KeyInUse: 409,
    errors.NotConfigured: 409,
    errors.ModalityUnavailable: 422,
    errors.NothingRemembered: 409,
    errors.GeneratorFailed: 502,
    errors.TooSimilar: 409,
    errors.Overloaded: 429,
    errors.StorageFull: 507,
    errors.StorageFailure: 500,
    errors.NotReady: 503,
    errors.RateLimited: 429,
    errors.WaitedTooLong: 503,
    errors.TimedOut: 504,
    errors.SlowUpload: 408,
    errors.Unauthorized: 401,
    errors.InsufficientScope: 403,
    errors.ForeignNamespace: 403,
}
# What the HTTP layer itself refuses.
HTTP_CODES = {
    400: "malformed_body",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    415: "unsupported_content_type",
}
MOST_ERRORS = 20  # told of one request: a body may be wrong in millions of places
MALFORMED_JSON = "malformed_json"
INTERNAL = "internal_error"
HOST_NOT_ALLOWED = "host_not_allowed"
RANGE_NOT_SATISFIABLE = "range_not_satisfiable"

TITLES = {
    400: "Malformed request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    406: "Not acceptable",
    408: "Upload timed out",
    409: "Conflict",
    413: "Too large",
    415: "Unsupported media type",
    416: "Range not satisfiable",
    422: "Invalid request",
    429: "Too many requests",
    431: "Request head too large",
    500: "Internal error",
    502: "Bad gateway",
    503: "Not ready",
    504: "Timed out",
    507: "Storage full",
}


def codes(status: int) -> list[str]:
    """The codes that come with a status."""
    own = {
        400: [HTTP_CODES[400], MALFORMED_JSON],
        403: [HOST_NOT_ALLOWED],
        406: [HTTP_CODES[406]],
        415: [HTTP_CODES[415]],
        416: [RANGE_NOT_SATISFIABLE],
        500: [INTERNAL],
    }
    return [*own.get(status, ()), *(each.code for each, own in STATUS.items() if own == status)]


class Problem(BaseModel):
    """An error; match on `code`, which is stable. Further members say what was found."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["/errors/invalid_input"])
    title: str = Field(examples=["Invalid request"])
    status: int = Field(examples=[422])
    code: str = Field(examples=["invalid_input"])
    detail: str = Field(examples=["k must be from 1 to 1000, not 0"])


class HttpProblem(HTTPException):
    """An error of the HTTP layer with a code of its own."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(status, detail, headers)
        self.code = code
        self.more = more


def members(status: int, code: str, detail: str, **more: Any) -> dict[str, Any]:
    """The members of a problem document."""
    return {
        **more,
        "type": f"/errors/{code}",
        "title": TITLES.get(status, "Error"),
        "status": status,
        "code": code,
        "detail": detail,
    }


def members_of(error: Exception) -> dict[str, Any]:
    """Those of an error, as a request that fails with it would be answered."""
    if isinstance(error, HttpProblem):
        return members(error.status_code, error.code, error.detail, **error.more)
    if isinstance(error, errors.MemoryServiceError):
        status = STATUS.get(type(error), 500)
        _note(error, "an item")
        return members(status, error.code, error.message, **error.details)
    log.error("an item failed", exc_info=error)
    return members(500, INTERNAL, "something went wrong here; the log has more")


def problem(status: int, code: str, detail: str, **more: Any) -> JSONResponse:
    headers = {}
    retry_after_s = more.get("retry_after_s", 1 if status == 503 else None)
    if retry_after_s is not None:
        headers["Retry-After"] = str(retry_after_s)
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="memory-service"'
    return JSONResponse(
        members(status, code, detail, **more),
        status,
        headers=headers,
        media_type="application/problem+json",
    )


def from_validation(error: ValidationError) -> HttpProblem:
    """What pydantic found, as the path and the reason of each field."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    if any(each["type"] == "json_invalid" for each in found[:1]):
        return HttpProblem(400, MALFORMED_JSON, f"the body is not JSON: {found[0]['msg']}")
    fields = [
        {"field": _place(each["loc"]) or "body", "message": each["msg"]}
        for each in found[:MOST_ERRORS]
    ]
    summary = "; ".join(f"{each['field']}: {each['message']}" for each in fields[:5])
    return HttpProblem(422, errors.InvalidInput.code, summary, errors=fields)


def _place(path: Iterable[str | int]) -> str:
    """`query.0.vector`, without the names that pydantic gives to the arms of a union."""
    arms = ("str", "list[")
    kept = [part for part in map(str, path) if part != arms[0] and not part.startswith(arms[1])]
    return ".".join(kept)[:200]


def install(app: FastAPI) -> None:
    app.add_exception_handler(errors.MemoryServiceError, _service_error)
    app.add_exception_handler(RequestValidationError, _request_error)
    app.add_exception_handler(HTTPException, _http_error)


async def answer(request: Request, error: Exception) -> JSONResponse | None:
    """What the app answers when a route raises this; None for what nobody expects."""
    if isinstance(error, errors.MemoryServiceError):
        return await _service_error(request, error)
    if isinstance(error, HTTPException):
        return await _http_error(request, error)
    return None


async def _service_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, errors.MemoryServiceError)
    _note(error, f"{request.method} {request.url.path}")
    return service_problem(error)


def _note(error: errors.MemoryServiceError, what: str) -> None:
    """A service that stops or is too busy, and a full disk, are states: only a fault is told with
    its trace, and of a full disk not each request that meets it."""
    status = STATUS.get(type(error), 500)
    if isinstance(error, errors.StorageFull):
        if (untold := sparing.met(error.code)) is not None:
            log.error("%s: %s%s", what, error, untold)
    elif status == 504:
        log.warning("%s: %s", what, error)
    elif status == 503:
        log.warning("%s: %s", what, error, exc_info=error.__cause__)
    elif status >= 500:
        log.error("%s: %s", what, error, exc_info=error)


def service_problem(error: errors.MemoryServiceError) -> JSONResponse:
    return problem(STATUS.get(type(error), 500), error.code, error.message, **error.details)


async def _request_error(request: Request, error: Exception) -> JSONResponse:
    """Path and query parameters; bodies are read in `bodies`."""
    assert isinstance(error, RequestValidationError)
    fields = [
        {"field": ".".join(map(str, each["loc"][1:])), "message": each["msg"]}
        for each in error.errors()
    ]
    summary = "; ".join(f"{each['field']}: {each['message']}" for each in fields)
    return problem(422, errors.InvalidInput.code, summary, errors=fields)


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if isinstance(error, HttpProblem):
        response = problem(error.status_code, error.code, error.detail, **error.more)
    else:
        code = HTTP_CODES.get(error.status_code, "http_error")
        response = problem(error.status_code, code, str(error.detail))
    response.headers.update(error.headers or {})
    if error.status_code == 405:
        response.headers["Allow"] = ", ".join(_methods(request))
    return response


def _methods(request: Request) -> list[str]:
    """Those of all routes of this path: Starlette names the first route's only."""
    found = {
        method
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
        for route in request.app.routes
        if route.matches({**request.scope, "method": method})[0] is Match.FULL
    }
    return sorted(found | ({"HEAD"} if "GET" in found else set()))
