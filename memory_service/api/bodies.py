"""Reads request bodies, JSON or multipart, into what the services take."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from fastapi import Request
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile

from memory_service.api.access import caller_of, namespace_of
from memory_service.api.forms import MALFORMED_BODY, read_form
from memory_service.api.problems import HttpProblem, from_validation
from memory_service.api.schemas import (
    GenerateRequest,
    ItemIn,
    QueryPartIn,
    QueryRequest,
    RetrieveRequest,
    StoreRequest,
    Strict,
)
from memory_service.app import MODALITIES
from memory_service.errors import InvalidInput, InvalidVector, UnsupportedMedia
from memory_service.records import QueryPart, Upload, Vector, Weights

Body = TypeVar("Body", bound=Strict)

_BLANKS = dict.fromkeys(b" \t\r\n")
_DATA_URI = re.compile(
    r"data:(?P<type>[\w.+-]+/[\w.+-]+)?(?:;[\w=.+-]+)*;base64,", re.ASCII | re.IGNORECASE
)


async def read_store(request: Request) -> tuple[StoreRequest, list[Upload]]:
    if _is_form(request):
        async with read_form(request, _field_limit(request)) as form:
            body = _from_fields(StoreRequest, form, {"items": []}, objects=("metadata",))
            return _settle_namespace(request, body), await _uploads(form)
    body = _settle_namespace(request, await _json(request, StoreRequest))
    return body, [_upload(item, number) for number, item in enumerate(body.items)]


async def read_retrieve(request: Request) -> tuple[RetrieveRequest, list[QueryPart]]:
    return await _read_query(request, RetrieveRequest, lists=("modalities",))


async def read_generate(request: Request) -> tuple[GenerateRequest, list[QueryPart]]:
    return await _read_query(request, GenerateRequest, lists=("output",))


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
    return _settle_namespace(request, await _json(request, model))


async def _read_query(
    request: Request, model: type[Body], lists: Sequence[str]
) -> tuple[Body, list[QueryPart]]:
    if _is_form(request):
        async with read_form(request, _field_limit(request)) as form:
            body = _from_fields(model, form, {"query": []}, objects=("filter",), lists=lists)
            body = _settle_namespace(request, body)
            uploads = await _uploads(form)
        return body, [QueryPart(item.modality, item.content, item.media_type) for item in uploads]
    body = _settle_namespace(request, await _json(request, model))
    assert isinstance(body, QueryRequest)
    return body, [_query_part(part, number) for number, part in enumerate(body.query)]


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
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


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


def _field_limit(request: Request) -> int:
    """A text may come as a plain field, hence fields as large as the body may be."""
    limit: int = request.app.state.body_limit
    return limit


async def _json(request: Request, model: type[Body]) -> Body:
    content = await request.body()
    if not content:
        raise HttpProblem(400, "malformed_json", "the body is empty")
    try:
        return model.model_validate_json(content, strict=True)
    except ValidationError as error:
        raise from_validation(error) from error


def _from_fields(
    model: type[Body],
    form: FormData,
    fixed: dict[str, Any],
    objects: Sequence[str] = (),
    lists: Sequence[str] = (),
) -> Body:
    """The form's plain fields as a body; `objects` are JSON, `lists` comma-separated."""
    values: dict[str, Any] = dict(fixed)
    for name, value in form.multi_items():
        if name in MODALITIES:
            continue
        if not isinstance(value, str):
            value = _text_of(name, value.file.read())
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
    """The JSON in a field or parameter; InvalidInput when there is none."""
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


def _upload(item: ItemIn, number: int) -> Upload:
    if (item.data is None) == (item.text is None):
        raise InvalidInput(f"item {number} needs either data or text", item=number)
    if item.text is not None:
        if item.modality != "text":
            raise InvalidInput(
                f"item {number}: text is for modality text, not {item.modality[:40]!r}; "
                "all others come as data",
                item=number,
                accepted=list(MODALITIES),
            )
        return Upload("text", item.text.encode(), "text/plain")
    assert item.data is not None
    content, declared = _bytes(item.data, f"item {number}")
    return Upload(item.modality, content, item.media_type or declared)


def _query_part(part: QueryPartIn, number: int) -> QueryPart:
    given = [name for name in (*MODALITIES, "vector") if getattr(part, name) is not None]
    if len(given) != 1:
        raise InvalidInput(
            f"query part {number} needs exactly one of its kinds",
            found=given,
            accepted=[*MODALITIES, "vector"],
        )
    if part.vector is not None:
        return QueryPart(vector=_vector(part.vector), weight=part.weight, space=part.space)
    if part.space is not None:
        raise InvalidInput(f"query part {number} names a space, but has no vector", part=number)
    if part.text is not None:
        return QueryPart("text", part.text.encode(), "text/plain", weight=part.weight)
    content, declared = _bytes(getattr(part, given[0]), f"query part {number}")
    return QueryPart(given[0], content, declared, weight=part.weight)


def _bytes(value: str, where: str) -> tuple[bytes, str | None]:
    """The bytes of base64 or of a data URI, and the type that the URI declares."""
    declared = None
    if value[:5].lower() == "data:":
        head = _DATA_URI.match(value)
        if head is None:
            raise InvalidInput(
                f"{where} is not a base64 data URI", accepted="data:<media type>;base64,<data>"
            )
        declared, value = head["type"], value[head.end() :]
    try:
        if not value.isalnum():  # `base64 FILE` prints lines
            value = value.translate(_BLANKS)
        return base64.b64decode(value, validate=True), declared
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(f"{where} is not base64: {error}", accepted="base64") from error


def _vector(value: list[float] | str) -> Vector:
    if isinstance(value, list):
        return np.asarray(value, dtype=np.float32)
    content, _ = _bytes(value, "the vector")
    if len(content) % 4:
        raise InvalidVector(
            f"the vector has {len(content)} bytes, no multiple of 4",
            accepted="base64 of little-endian float32",
        )
    return np.frombuffer(content, dtype="<f4").astype(np.float32)
