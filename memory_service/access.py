"""Who may do what: scopes, keys, and the caller of a request. Imports nothing of ours."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any


class Scope(IntEnum):
    """Each allows what those before it allow, too."""

    read = 1
    write = 2
    admin = 3


@dataclass(frozen=True)
class Key:
    """What is kept of a key; of its secret only a hash is, and that stays in storage.

    `namespaces`: those that it is bound to; None: all. Times are Unix seconds. The limits are its
    own; None: those of the settings, 0: none.
    """

    id: str
    name: str
    scope: Scope
    namespaces: frozenset[str] | None
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    requests_per_s: float | None = None
    bytes_per_min: int | None = None

    def as_json(self) -> dict[str, Any]:
        """As the service tells it."""
        bound = None if self.namespaces is None else sorted(self.namespaces)
        return {**asdict(self), "scope": self.scope.name, "namespaces": bound}

    def valid(self, now: float) -> bool:
        alive = self.expires_at is None or self.expires_at > now
        return alive and self.revoked_at is None


@dataclass(frozen=True)
class Caller:
    """Whom a request is from; without a key where the service is open."""

    key: Key | None
    scope: Scope
    namespaces: frozenset[str] | None = None

    @property
    def key_id(self) -> str | None:
        return None if self.key is None else self.key.id

    def sees(self, namespace: str | None) -> bool:
        """None, the whole store, is seen by who is not bound."""
        return self.namespaces is None or namespace in self.namespaces


def caller_with(key: Key) -> Caller:
    return Caller(key, key.scope, key.namespaces)


ANYONE = Caller(None, Scope.admin)  # where no key is asked for
