"""Reads request bodies, JSON or multipart, into what the services take."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, TypeVar

import anyio.to_thread
from fastapi import Request
from pydantic import ValidationError
from starlette.datastructures import FormData, QueryParams, UploadFile
from starlette.requests import ClientDisconnect

from memory_service.access import Scope
from memory_service.api import docs, items, json_values
from memory_service.api.access import caller_of, namespace_of
from memory_service.api.forms import MALFORMED_BODY, read_form
from memory_service.api.headers import header
from memory_service.api.permissions import RULES
from memory_service.api.problems import HttpProblem, from_validation
from memory_service.api.schemas import (
    EmbedRequest,
    GenerateRequest,
    QueryRequest,
    RetrieveRequest,
    StoreRequest,
    Strict,
)
from memory_service.app import MODALITIES
from memory_service.errors import InvalidInput, TooLarge, UnsupportedMedia
from memory_service.records import QueryPart, StoreOrder, Upload, Weights
from memory_service.services import idempotency

T = TypeVar("T")
Body = TypeVar("Body", bound=Strict)
Query = TypeVar("Query", bound=QueryRequest)
LARGE = 1 << 20  # bytes of a body that takes long enough to read for others to notice

MOST_KEPT = 128  # parameters of queries, as they were read
LONGEST_KEPT = 1024  # bytes of them

RAW_VECTOR = "application/octet-stream"
_KEY = docs.KEY.lower().encode()


async def read_store(request: Request) -> StoreOrder:
    if _is_form(request):
        async with read_form(request, *_part_limits(request)) as form:
            fields = form.multi_items()
            body = _from_fields(StoreRequest, fields, {"items": []}, objects=("metadata",))
            body, uploads = _settle_namespace(request, body), await _uploads(form)
            return _order(body, uploads, _one_key(request, body))
    return await _read(
        request,
        StoreRequest,
        lambda body: _order(body, _items(body), _one_key(request, body)),
    )


def key_of(request: Request) -> str | None:
    """The header Idempotency-Key."""
    return header(request.scope, _KEY)


async def refuse_idle_key(request: Request) -> None:
    """Runs before every endpoint: who sends a key to one that knows none, and that changes more
    each time, would take a second try for safe. Raises InvalidInput."""
    if request.method not in ("POST", "PATCH") or key_of(request) is None:
        return
    route = request.scope["route"]
    scope = RULES[f"{request.method} {route.path}"].scope
    if scope is not None and scope > Scope.read and not docs.takes_key(route.openapi_extra):
        raise InvalidInput(
            f"this takes no {docs.KEY}: it is done each time that it is asked for",
            found=docs.KEY,
            accepted=[],
        )


def _one_key(request: Request, body: StoreRequest) -> str | None:
    given, field = key_of(request), body.idempotency_key
    if given is not None and field not in (None, given):
        raise InvalidInput("header and body have different idempotency keys", found=field)
    return field if given is None else given


def read_line(request: Request, line: bytes, index: int) -> StoreOrder:
    """One line of a batch: what /store takes as JSON. Raises HttpProblem, InvalidInput or
    ForeignNamespace.

    Its key is its own, or else made of the batch's and the number of the line: what broke off can
    be sent again whole.
    """
    body = _settle_namespace(request, _parsed(line, StoreRequest))
    whole, key = key_of(request), body.idempotency_key
    if whole is not None and key is None:
        key = idempotency.of_line(whole, index)
    return _order(body, _items(body), key)


def _order(body: StoreRequest, uploads: Sequence[Upload], key: str | None) -> StoreOrder:
    return StoreOrder(
        uploads,
        namespace=body.namespace,
        metadata=body.metadata,
        if_duplicate=body.if_duplicate,
        expires_at=body.expires_at,
        ttl_s=body.ttl_s,
        idempotency_key=key,
    )


def _items(body: StoreRequest | EmbedRequest) -> list[Upload]:
    return [items.upload(item, number) for number, item in enumerate(body.items)]


async def read_embed(request: Request) -> tuple[EmbedRequest, list[Upload]]:
    if _is_form(request):
        async with read_form(request, *_part_limits(request)) as form:
            body = _from_fields(EmbedRequest, form.multi_items(), {"items": []})
            return body, await _uploads(form)
    return await _read(request, EmbedRequest, _embed_parts)


def _embed_parts(body: EmbedRequest) -> tuple[EmbedRequest, list[Upload]]:
    for number, item in enumerate(body.items):
        if item.vector is not None or item.space is not None:
            raise InvalidInput(f"item {number} has a vector or names its space", item=number)
    return body, _items(body)


async def read_retrieve(request: Request) -> tuple[RetrieveRequest, list[QueryPart]]:
    if _content_type(request) == RAW_VECTOR:
        return await _read_raw(request)
    return await _read_query(request, RetrieveRequest, lists=("modalities",))


async def read_generate(request: Request) -> tuple[GenerateRequest, list[QueryPart]]:
    return await _read_query(request, GenerateRequest, lists=("output",))


def require_type(request: Request, accepted: str) -> None:
    """Raise HttpProblem (415) for a body of another type; one without a type will do."""
    if (found := _content_type(request)) not in ("", accepted):
        raise HttpProblem(
            415,
            "unsupported_content_type",
            f"the body is {found}",
            found=found,
            accepted=[accepted],
        )


async def read_json(request: Request, model: type[Body]) -> Body:
    """A body that may not be a form."""
    if _is_form(request):
        raise HttpProblem(
            415,
            "unsupported_content_type",
            "the body is a form",
            found=_content_type(request),
            accepted=["application/json"],
        )
    return await _read(request, model, lambda body: body)


async def _read_raw(request: Request) -> tuple[RetrieveRequest, list[QueryPart]]:
    """The body is the bytes of a vector, and the parameters are in the address."""
    query = request.scope["query_string"]
    body, space = (_kept_parameters if len(query) <= LONGEST_KEPT else _parameters)(query)
    vector = items.float32(await _bytes(request), "the vector")
    return _settle_namespace(request, body), [QueryPart(vector=vector, space=space)]


async def _bytes(request: Request) -> bytes:
    """The body, in one piece where it comes in one: Starlette makes a stream of that first."""
    message = await request.receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        return body
    return body + await request.body()


def _parameters(query: bytes) -> tuple[RetrieveRequest, str | None]:
    """The body that an address with these parameters stands for, but its vector; and the space of
    that. Not to be changed: the next request may have the same."""
    given = QueryParams(query)
    for name in (*MODALITIES, "query"):
        if name in given:
            raise InvalidInput(f"the body is a vector: {name!r} cannot be given besides")
    part: dict[str, Any] = {"vector": [], "space": given.get("space")}
    fields = [each for each in given.multi_items() if each[0] != "space"]
    body = _from_fields(
        RetrieveRequest, fields, {"query": [part]}, objects=("filter",), lists=("modalities",)
    )
    return body, given.get("space")


# One vector after the other comes with the same parameters, and to read these takes as long as to
# compare a thousand vectors.
_kept_parameters = lru_cache(MOST_KEPT)(_parameters)


async def _read_query(
    request: Request, model: type[Query], lists: Sequence[str]
) -> tuple[Query, list[QueryPart]]:
    if _is_form(request):
        async with read_form(request, *_part_limits(request)) as form:
            body = _from_fields(
                model, form.multi_items(), {"query": []}, objects=("filter",), lists=lists
            )
            body = _settle_namespace(request, body)
            uploads = await _uploads(form)
        return body, [QueryPart(item.modality, item.content, item.media_type) for item in uploads]
    return await _read(request, model, _query_parts)


def _query_parts(body: Query) -> tuple[Query, list[QueryPart]]:
    return body, [items.query_part(part, number) for number, part in enumerate(body.query)]


async def _read(request: Request, model: type[Body], made: Callable[[Body], T]) -> T:
    """What is made of the JSON of a body: in a thread where that is large, since others wait
    meanwhile."""
    content = await _bytes(request)
    if not content:
        raise HttpProblem(400, "malformed_json", "the body is empty")

    def read() -> T:
        return made(_settle_namespace(request, _parsed(content, model)))

    return read() if len(content) <= LARGE else await anyio.to_thread.run_sync(read)


def _settle_namespace(request: Request, body: Body) -> Body:
    """What a bound key does not say is its namespace, where it has but one. Raises
    ForeignNamespace; leaves the body of who is not bound as it is."""
    if caller_of(request).namespaces is not None and "namespace" in type(body).model_fields:
        given = getattr(body, "namespace", None) if "namespace" in body.model_fields_set else None
        return body.model_copy(update={"namespace": namespace_of(request, given)})
    return body


def weights_of(body: QueryRequest) -> Weights:
    return Weights(body.context_weight, body.recency_weight, body.strength_weight)


def _content_type(request: Request) -> str:
    return (header(request.scope, b"content-type") or "").partition(";")[0].strip().lower()


def _is_form(request: Request) -> bool:
    kind = _content_type(request)
    if kind == "multipart/form-data":
        return True
    if kind in ("application/json", "") or kind.endswith("+json"):
        return False
    raise HttpProblem(
        415,
        "unsupported_content_type",
        f"the body is {kind}",
        found=kind,
        accepted=["application/json", "multipart/form-data"],
    )


def _part_limits(request: Request) -> tuple[int, int]:
    """Of a field and of a file: a text may come as a plain field, hence fields as large as the body
    may be."""
    return request.app.state.body_limit, request.app.state.file_limit


def _parsed(content: bytes, model: type[Body]) -> Body:
    json_values.require_few(content)
    try:
        return model.model_validate_json(content, strict=True)
    except ValidationError as error:
        raise from_validation(error) from error


def _from_fields(
    model: type[Body],
    given: Sequence[tuple[str, UploadFile | str]],
    fixed: dict[str, Any],
    objects: Sequence[str] = (),
    lists: Sequence[str] = (),
) -> Body:
    """Plain fields as a body; `objects` are JSON, `lists` comma-separated."""
    values: dict[str, Any] = dict(fixed)
    for name, value in given:
        if name in MODALITIES:
            continue
        if not isinstance(value, str):
            value = _text_of(name, value.file.read())
        if len(value) > LARGE:
            raise TooLarge(
                f"field {name!r} has {len(value)} characters, at most {LARGE} are read",
                found=len(value),
                accepted=LARGE,
            )
        if name in lists:
            named = [each.strip() for each in value.split(",") if each.strip()]
            values[name] = [*values.get(name, []), *named]
        elif name in values:
            raise InvalidInput(f"field {name!r} is given more than once", found=name)
        else:
            values[name] = json_of(name, value) if name in objects else value
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise from_validation(error) from error


def _text_of(name: str, content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise HttpProblem(400, MALFORMED_BODY, f"field {name!r} is not utf-8: {error}") from error


def json_of(name: str, value: str) -> Any:
    """The JSON in a field or parameter; InvalidInput when there is none, TooLarge when it is too
    much."""
    json_values.require_few(value.encode())
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:  # brackets in brackets in brackets
        raise InvalidInput(f"{name} is not JSON: {error}", accepted="JSON object") from error


async def _uploads(form: FormData) -> list[Upload]:
    uploads = []
    for name, value in form.multi_items():
        if name not in MODALITIES:
            continue
        if isinstance(value, UploadFile):
            content = await value.read()
            uploads.append(Upload(name, content, value.content_type, value.filename))
        elif name == "text":
            uploads.append(Upload("text", value.encode(), "text/plain"))
        else:
            raise UnsupportedMedia(
                f"field {name!r} must be a file", found="text field", accepted=["file"]
            )
    return uploads
