"""The error that the client raises for whatever goes wrong on the way and in the service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx


class ServiceError(Exception):
    """The service refused a request, answered with something else, or could not be reached.

    `code` is the stable code of docs/api.md; `unreachable`, `timeout`, `unexpected_answer` are the
    client's own. `status` is 0 when no answer came. `details` is the whole problem document.
    """

    def __init__(
        self, code: str, status: int, detail: str, details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.status = status
        self.detail = detail
        self.details = dict(details or {})

    def __str__(self) -> str:
        return f"{self.detail} ({self.code}, HTTP {self.status})" if self.status else self.detail


def told(error: ServiceError) -> str:
    """What went wrong, and what to do where there is no service."""
    hint = ": is it running? (memory-service serve)" if error.code == "unreachable" else ""
    return f"{error}{hint}"


def raise_for_problem(response: httpx.Response) -> None:
    """Raise `ServiceError` from a problem+json answer, or from any other 4xx or 5xx."""
    if response.status_code < 400:
        return
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {}
    detail = problem.get("detail") or problem.get("title") or response.reason_phrase
    raise ServiceError(
        str(problem.get("code") or "unexpected_answer"), response.status_code, str(detail), problem
    )


def unreachable(url: httpx.URL | str, cause: httpx.HTTPError) -> ServiceError:
    """The error for a request that got no answer."""
    if isinstance(cause, httpx.TimeoutException):
        return ServiceError("timeout", 0, f"{url} did not answer in time")
    return ServiceError("unreachable", 0, f"cannot reach {url}: {cause}")
