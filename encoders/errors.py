"""What can go wrong when a profile is loaded, or media are decoded."""

from __future__ import annotations

from typing import Literal

ErrorCode = Literal["unsupported_media", "invalid_media", "too_large"]


class UnknownName(ValueError):
    """No profile or model of that name; the message lists the valid ones."""


class ModelUnavailable(RuntimeError):
    """The weights of a known model cannot be had, or do not fit; the message says what to do."""


class MediaError(ValueError):
    """Why bytes cannot be taken; `found` is what they are, `accepted` what could be taken: types,
    or of what is too large the most. `limit`: the field of `Limits` that says so."""

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        found: str | float | None,
        accepted: tuple[str, ...] | float,
        limit: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code: ErrorCode = code
        self.message = message
        self.found = found
        self.accepted = accepted
        self.limit = limit
