"""API keys: made, told once, recognised, revoked. Knows no HTTP.

A key is `mem_<id>_<secret>`. The secret is 256 random bits, which nobody guesses, so a fast hash
keeps it as well as a slow one would (docs/decisions.md).
"""

from __future__ import annotations

import hashlib
import hmac
import math
import secrets
from collections.abc import Collection
from typing import Any

from memory_service.access import Caller, Key, Scope, caller_with
from memory_service.clock import Clock
from memory_service.errors import InvalidInput, NotFound, Unauthorized, told
from memory_service.services import checks
from memory_service.storage.keys import KeyFile

PREFIX = "mem"
MAX_NAME = 100
_NOBODY = bytes(32)


class Keys:
    """Safe for use from several threads."""

    def __init__(self, file: KeyFile, clock: Clock) -> None:
        self._file = file
        self._clock = clock

    def close(self) -> None:
        self._file.close()

    def create(
        self,
        name: str,
        scope: str,
        *,
        namespaces: Collection[str] | None = None,
        expires_at: float | None = None,
        requests_per_s: float | None = None,
        bytes_per_min: int | None = None,
    ) -> tuple[Key, str]:
        """A new key and its text, which is told here and never again.

        `namespaces`: what it is bound to; None: all. Raises InvalidInput.
        """
        if not isinstance(name, str) or not name.strip() or len(name) > MAX_NAME:
            raise InvalidInput(f"a key needs a name of 1 to {MAX_NAME} characters", found=name)
        checks.one_of("scope", scope, [each.name for each in Scope])
        if namespaces is not None and not namespaces:
            raise InvalidInput("namespaces: name at least one, or leave them out for all")
        now = self._clock.now()
        if expires_at is not None and not (math.isfinite(expires_at) and expires_at > now):
            raise InvalidInput("expires_at must be Unix seconds in the future", found=expires_at)
        key = Key(
            id=secrets.token_hex(6),
            name=name,
            scope=Scope[scope],
            namespaces=None if namespaces is None else frozenset(map(checks.namespace, namespaces)),
            created_at=now,
            expires_at=expires_at,
            requests_per_s=_limit("requests_per_s", requests_per_s),
            bytes_per_min=_limit("bytes_per_min", bytes_per_min),
        )
        text = f"{PREFIX}_{key.id}_{secrets.token_urlsafe(32)}"
        self._file.add(key, _hash(text))
        return key, text

    def list(self) -> list[Key]:
        """The oldest first, those that are revoked or expired among them."""
        return [each.key for each in self._file.kept().values()]

    def revoke(self, key_id: str) -> Key:
        """From now on it opens nothing. Raises NotFound."""
        self._get(key_id)
        self._file.revoke(key_id, self._clock.now())
        return self._get(key_id)

    def _get(self, key_id: str) -> Key:
        kept = self._file.kept().get(key_id)
        if kept is None:
            raise NotFound(f"there is no key {key_id!r}", kind="key", id=key_id)
        return kept.key

    def any_valid(self) -> bool:
        now = self._clock.now()
        return any(each.key.valid(now) for each in self._file.kept().values())

    def caller(self, text: str) -> Caller:
        """Who bears this key. Raises Unauthorized, which does not say what is wrong with it."""
        prefix, _, rest = text.partition("_")
        kept = self._file.kept().get(rest.partition("_")[0]) if prefix == PREFIX else None
        # Compared in constant time, and in any case: time tells neither the hash nor which ids are.
        same = hmac.compare_digest(_hash(text), _NOBODY if kept is None else kept.hash)
        if kept is None or not same or not kept.key.valid(self._clock.now()):
            raise Unauthorized("this API key is unknown, revoked or expired")
        return caller_with(kept.key)


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _limit(name: str, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
        raise InvalidInput(f"{name} must be a number from 0 (no limit) on", found=told(value))
    return value
