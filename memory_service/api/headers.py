"""One header of a request, as middlewares look for it: each request is asked for seven, and
Starlette's mapping takes four times as long to be made and asked."""

from __future__ import annotations

from starlette.types import Scope


def header(scope: Scope, name: bytes) -> str | None:
    """The first of this name, which is in lower case, as ASGI has them."""
    for each, value in scope["headers"]:
        if each == name:
            text: str = value.decode("latin-1")
            return text
    return None
