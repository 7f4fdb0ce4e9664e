"""Which scope each route asks for, and how the namespace of a request is known: the one table.

A route that is not in it keeps the app from being made (`access.require_rules`), so that none is
open by mistake.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from memory_service.access import Scope


class Namespace(Enum):
    """What a key that is bound to namespaces may see or change on a route."""

    NONE = "none"  # there is nothing of any memory in it
    CHECKED = "checked"  # the route asks `access.namespace_of` or limits what it answers
    PATH = "namespace"  # the path names the namespace
    MEMORY = "memory_id"  # ... or what is in one: of others, it answers 404
    EPISODE = "episode_id"
    GENERATION = "generation_id"
    RECEIPT = "receipt_id"
    JOB = "job_id"
    CONSOLIDATION = "name"
    WHOLE = "whole"  # the whole store: refused to keys that are bound


@dataclass(frozen=True)
class Rule:
    """`scope` None: asks for no key at all."""

    scope: Scope | None
    namespace: Namespace


def _read(namespace: Namespace) -> Rule:
    return Rule(Scope.read, namespace)


def _write(namespace: Namespace) -> Rule:
    return Rule(Scope.write, namespace)


def _admin(namespace: Namespace) -> Rule:
    return Rule(Scope.admin, namespace)


_OPEN = Rule(None, Namespace.NONE)

RULES: dict[str, Rule] = {
    "POST /store": _write(Namespace.CHECKED),
    "POST /store/batch": _write(Namespace.CHECKED),
    "POST /retrieve": _read(Namespace.CHECKED),
    "POST /embed": _read(Namespace.NONE),
    # Leaves a record and its media in the store.
    "POST /generate": _write(Namespace.CHECKED),
    "GET /memories": _read(Namespace.CHECKED),
    "DELETE /memories": _write(Namespace.CHECKED),
    "GET /memories/{memory_id}": _read(Namespace.MEMORY),
    "PATCH /memories/{memory_id}": _write(Namespace.MEMORY),
    "DELETE /memories/{memory_id}": _write(Namespace.MEMORY),
    "GET /memories/{memory_id}/content": _read(Namespace.MEMORY),
    "GET /memories/{memory_id}/thumbnail": _read(Namespace.MEMORY),
    "GET /episodes/{episode_id}": _read(Namespace.EPISODE),
    "DELETE /episodes/{episode_id}": _write(Namespace.EPISODE),
    "GET /generations": _read(Namespace.CHECKED),
    "GET /generations/{generation_id}": _read(Namespace.GENERATION),
    "DELETE /generations/{generation_id}": _write(Namespace.GENERATION),
    "GET /generations/{generation_id}/content": _read(Namespace.GENERATION),
    "GET /generations/{generation_id}/card": _read(Namespace.GENERATION),
    # Writes the effects into the record.
    "POST /generations/{generation_id}/explain": _write(Namespace.GENERATION),
    "POST /generations/{generation_id}/replay": _read(Namespace.GENERATION),
    "GET /namespaces": _read(Namespace.CHECKED),
    "GET /namespaces/{namespace}": _read(Namespace.PATH),
    "DELETE /namespaces/{namespace}": _admin(Namespace.PATH),
    "GET /receipts": _read(Namespace.CHECKED),
    "GET /receipts/{receipt_id}": _read(Namespace.RECEIPT),
    "GET /namespaces/{namespace}/settings": _read(Namespace.PATH),
    "PUT /namespaces/{namespace}/settings": _admin(Namespace.PATH),
    "POST /sweep": _admin(Namespace.WHOLE),
    "POST /consolidate": _admin(Namespace.CHECKED),
    "POST /consolidate/{name}/undo": _admin(Namespace.CONSOLIDATION),
    "POST /evaluate": _admin(Namespace.CHECKED),
    "GET /evaluate/{job_id}/report": _read(Namespace.JOB),
    "POST /backup": _admin(Namespace.WHOLE),
    "POST /reembed": _admin(Namespace.WHOLE),
    "GET /reembed": _admin(Namespace.WHOLE),
    "DELETE /reembed/{role}": _admin(Namespace.WHOLE),
    "GET /jobs": _read(Namespace.CHECKED),
    "GET /jobs/{job_id}": _read(Namespace.JOB),
    "DELETE /jobs/{job_id}": _admin(Namespace.JOB),
    "POST /keys": _admin(Namespace.WHOLE),
    "GET /keys": _admin(Namespace.WHOLE),
    "DELETE /keys/{key_id}": _admin(Namespace.WHOLE),
    "GET /audit": _admin(Namespace.WHOLE),
    "GET /models": _read(Namespace.NONE),
    "GET /stats": _read(Namespace.CHECKED),
    "GET /livez": _OPEN,
    "GET /readyz": _OPEN,
    "GET /metrics": _read(Namespace.WHOLE),
}
