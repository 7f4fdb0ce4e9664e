"""What both clients send with every call, and where."""

from __future__ import annotations

import os

DEFAULT_URL = "http://127.0.0.1:8000"
API_KEY = "MEMORY_SERVICE_API_KEY"


def headers(api_key: str | None) -> dict[str, str]:
    """With `api_key`, or that of the environment. Raises ValueError for what is no key."""
    key = (api_key if api_key is not None else os.environ.get(API_KEY, "")).strip()
    if not key:
        return {}
    if not key.isascii() or any(each.isspace() for each in key):
        raise ValueError("the API key has characters that no key has")
    return {"Authorization": f"Bearer {key}"}
