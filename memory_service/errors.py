"""What can go wrong, in the service's own words. Knows no HTTP status; imports nothing of ours.

`code` is stable and documented (docs/api.md): clients match on it, never on the message.
`details` holds what was found and what is accepted, as JSON values.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

LONGEST_TOLD = 80  # characters


def told(value: Any) -> Any:
    """What came, as a JSON value that a problem document can have; a text is cut short."""
    if isinstance(value, str):
        return value[:LONGEST_TOLD].encode("utf-8", "backslashreplace").decode()
    if value is None or isinstance(value, bool):
        return value
    if (isinstance(value, int) and abs(value) < 2**63) or (
        isinstance(value, float) and math.isfinite(value)
    ):
        return value
    if isinstance(value, int | float):  # JSON has none of these
        return str(value)[:LONGEST_TOLD]
    if isinstance(value, list | tuple):
        return [told(each) for each in value[:8]]
    return type(value).__name__


class MemoryServiceError(Exception):
    """Base of every error that a caller can cause or must know about."""

    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class InvalidInput(MemoryServiceError):
    """A parameter is missing, malformed or out of range."""

    code = "invalid_input"


class InvalidVector(InvalidInput):
    """A vector has the wrong dimension, a NaN, or no length."""

    code = "invalid_vector"


class InvalidMedia(MemoryServiceError):
    """The bytes are of an accepted type but broken, truncated or empty."""

    code = "invalid_media"


class UnsupportedMedia(MemoryServiceError):
    """The bytes are of a type that is not accepted."""

    code = "unsupported_media"


class TooLarge(MemoryServiceError):
    """A body, picture, sound or text is above its limit."""

    code = "too_large"


class NotFound(MemoryServiceError):
    """No memory, episode, generation, blob or namespace has this name."""

    code = "not_found"


class NoThumbnail(MemoryServiceError):
    """There is no picture of such a memory."""

    code = "no_thumbnail"


class UnexpectedCount(MemoryServiceError):
    """Another number of memories than expected would be forgotten; nothing was."""

    code = "unexpected_count"


class TooManyNamespaces(MemoryServiceError):
    """A memory was to be the first of a namespace, and there are as many as there may be."""

    code = "too_many_namespaces"


class SpaceMismatch(MemoryServiceError):
    """The store was written with another encoder; its vectors must be re-embedded first."""

    code = "space_mismatch"


class Incomplete(MemoryServiceError):
    """Memories lack a vector of the space that was to be switched to."""

    code = "incomplete"


class NothingKept(MemoryServiceError):
    """No re-embedding is unfinished, and of none before are vectors kept to go back to."""

    code = "nothing_kept"


class JobConflict(MemoryServiceError):
    """Another job is in the way: one is running, or one that was not finished must be first."""

    code = "job_conflict"


class KeyReused(MemoryServiceError):
    """The idempotency key stands for another request."""

    code = "idempotency_key_reused"


class KeyInUse(MemoryServiceError):
    """A request with this idempotency key is under way; `retry_after_s` of the details says when to
    ask again.
    """

    code = "idempotency_key_in_use"


class NotConfigured(MemoryServiceError):
    """The operator has not set what this needs."""

    code = "not_configured"


class ModalityUnavailable(MemoryServiceError):
    """The active profile has no encoder or generator for this modality."""

    code = "modality_unavailable"


class NothingRemembered(MemoryServiceError):
    """Nothing in memory matches, so there is nothing to generate from."""

    code = "nothing_remembered"


class GeneratorFailed(MemoryServiceError):
    """A generator of another service did not answer, or with nothing that can be used."""

    code = "generator_failed"


class TooSimilar(MemoryServiceError):
    """Every draw was more like a memory than was allowed; `draws` of the details lists them."""

    code = "too_similar"


class StorageFull(MemoryServiceError):
    """The disk is full; nothing was stored."""

    code = "storage_full"


class StorageFailure(MemoryServiceError):
    """The store could not be read or written."""

    code = "storage_failure"


class Overloaded(MemoryServiceError):
    """Too much waits already, and nothing was done; `retry_after_s` of the details says when to
    ask again.
    """

    code = "overloaded"


class RateLimited(MemoryServiceError):
    """The caller asks too often, or sends too much; `retry_after_s` says when to ask again."""

    code = "rate_limited"


class WaitedTooLong(MemoryServiceError):
    """The turn of a request did not come in time, and nothing was done."""

    code = "waited_too_long"


class TimedOut(MemoryServiceError):
    """The answer did not come in time; what had begun may yet be done."""

    code = "timed_out"


class SlowUpload(MemoryServiceError):
    """The rest of a body did not come."""

    code = "slow_upload"


class Unauthorized(MemoryServiceError):
    """A key is asked for, and none that is valid came."""

    code = "unauthorized"


class InsufficientScope(MemoryServiceError):
    """The key is valid, but not for this."""

    code = "insufficient_scope"


class ForeignNamespace(MemoryServiceError):
    """The key is bound to other namespaces, or to some where the whole store is meant."""

    code = "foreign_namespace"


class NotReady(MemoryServiceError):
    """The service is still loading, or is shutting down."""

    code = "not_ready"
