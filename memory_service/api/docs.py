"""The OpenAPI document's bodies and examples, and the page that shows it without the internet."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from hashlib import sha256
from importlib.resources import files
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BaseModel
from starlette.requests import Request
from starlette.staticfiles import StaticFiles

from memory_service.api import headings, statuses
from memory_service.api.error_pages import error_page
from memory_service.api.forgetting import ForgetRequest
from memory_service.api.operator_schemas import (
    BackupRequest,
    EvaluateRequest,
    KeyRequest,
    ReembedRequest,
)
from memory_service.api.problems import Problem
from memory_service.api.schemas import (
    BatchLineOut,
    ConsolidateRequest,
    EmbedRequest,
    GenerateRequest,
    MemoryPatch,
    NamespaceSettings,
    QueryRequest,
    RetrieveRequest,
    StoreRequest,
)
from memory_service.app import MODALITIES
from memory_service.services.idempotency import LONGEST_OF_A_BATCH

_REFERENCE = "#/components/schemas/{model}"
_MODELS: tuple[type[BaseModel], ...] = (
    EvaluateRequest,
    BatchLineOut,
    StoreRequest,
    RetrieveRequest,
    EmbedRequest,
    GenerateRequest,
    ReembedRequest,
    ConsolidateRequest,
    MemoryPatch,
    NamespaceSettings,
    ForgetRequest,
    BackupRequest,
    KeyRequest,
    Problem,
)

_FILES = {
    "type": "array",
    "items": {"type": "string", "format": "binary"},
    "description": "One file or several.",
}


def body(
    model: type[BaseModel], examples: dict[str, Any], fields: dict[str, Any]
) -> dict[str, Any]:
    """`openapi_extra` of a route whose body is JSON or a form of media and `fields`."""
    form = {**dict.fromkeys(MODALITIES, _FILES), **fields}
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"$ref": _REFERENCE.format(model=model.__name__)},
                    "examples": {
                        name: {"summary": name, "value": value} for name, value in examples.items()
                    },
                },
                "multipart/form-data": {"schema": {"type": "object", "properties": form}},
            },
        }
    }


KEY = "Idempotency-Key"
REQUEST_KEY = "The same request with the same key is done once, and answered the same.", 255
BATCH_KEY = (
    "The key of each line that has none of its own is this, a slash and the line's number: a batch "
    "that is sent again whole is stored once.",
    LONGEST_OF_A_BATCH,
)


def with_key(extra: dict[str, Any], means: tuple[str, int] = REQUEST_KEY) -> dict[str, Any]:
    """`extra` of a route that takes the header Idempotency-Key; what it means there, and the most
    characters it may have."""
    description, longest = means
    header = {
        "name": KEY,
        "in": "header",
        "required": False,
        "description": description,
        "schema": {"type": "string", "maxLength": longest},
    }
    extra["parameters"] = [*extra.get("parameters", ()), header]
    return extra


def takes_key(extra: Mapping[str, Any] | None) -> bool:
    """Whether the route of this `extra` takes the header Idempotency-Key."""
    return any(each["name"] == KEY for each in (extra or {}).get("parameters", ()))


def or_raw_vector(extra: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    """`extra` of `body`; or a vector as the body, with `fields` in the address."""
    raw = {"type": "string", "format": "binary", "description": "Little-endian float32."}
    extra["requestBody"]["content"]["application/octet-stream"] = {"schema": raw}
    note = "With a vector as the body. "
    extra["parameters"] = [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": note + schema.get("description", ""),
            "schema": {"type": schema["type"]},
        }
        for name, schema in fields.items()
    ]
    return extra


def json_body(model: type[BaseModel], examples: dict[str, Any]) -> dict[str, Any]:
    """`openapi_extra` of a route whose body is JSON only."""
    content = body(model, examples, {})["requestBody"]["content"]["application/json"]
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def lines(*models: type[BaseModel]) -> dict[str, Any]:
    """Content of which each line is a JSON object, of one of the models."""
    schemas = [{"$ref": _REFERENCE.format(model=model.__name__)} for model in models]
    return {"application/x-ndjson": {"schema": {"anyOf": schemas}}}


def line_body(model: type[BaseModel]) -> dict[str, Any]:
    """`openapi_extra` of a route whose body is a JSON object per line."""
    return {"requestBody": {"required": True, "content": lines(model)}}


def text_field(description: str) -> dict[str, str]:
    return {"type": "string", "description": description}


# Of a form, as of JSON: what else than likeness a ranking goes by, and what it leaves behind.
DYNAMICS = {
    name: {
        "type": "boolean" if name == "reinforce" else "number",
        "description": QueryRequest.model_fields[name].description,
    }
    for name in ("context_weight", "recency_weight", "strength_weight", "reinforce")
}


def media(*kinds: str) -> dict[str, Any]:
    """Content of an answer that is the media itself."""
    return {kind: {"schema": {"type": "string", "format": "binary"}} for kind in kinds}


def install(app: FastAPI) -> None:
    """Add the schemas of the bodies, and /docs from files that come with a pip package."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            statuses.declare(document["paths"])
            headings.declare(document)
            components = document.setdefault("components", {})
            components["securitySchemes"] = {
                "key": {"type": "http", "scheme": "bearer", "description": "An API key."}
            }
            schemas = components.setdefault("schemas", {})
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            for model in _MODELS:
                schema = model.model_json_schema(ref_template=_REFERENCE)
                schemas.update(schema.pop("$defs", {}))
                schemas[model.__name__] = schema
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend it
    # Swagger UI 5: version 4 of other packages cannot show a document of OpenAPI 3.1.
    assets = StaticFiles(directory=str(files("fastapi_offline") / "static"))
    app.mount("/docs-assets", assets, name="docs-assets")

    page = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title=app.title,
        swagger_js_url="/docs-assets/swagger-ui-bundle.js",
        swagger_css_url="/docs-assets/swagger-ui.css",
        swagger_favicon_url="/docs-assets/favicon.png",
    )
    policy = _policy(bytes(page.body).decode())

    # Not as routes of the API, which have a rule each.
    async def docs(request: Request) -> HTMLResponse:
        return HTMLResponse(page.body, headers={"Content-Security-Policy": policy})

    async def begin(request: Request) -> RedirectResponse:
        return RedirectResponse("/docs")

    app.add_route("/docs", docs, include_in_schema=False)
    app.add_route("/", begin, include_in_schema=False)
    app.add_route("/errors/{code}", error_page, include_in_schema=False)


def _policy(page: str) -> str:
    """What the page may load: its own files, and the one script that is written into it."""
    inline = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    hashes = [base64.b64encode(sha256(each.encode()).digest()).decode() for each in inline]
    scripts = " ".join(["'self'", *(f"'sha256-{each}'" for each in hashes)])
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'"
    )
