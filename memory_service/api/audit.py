"""The audit log: who changed what, and when. Contents and metadata are no part of it."""

from __future__ import annotations

import logging
import time
from typing import Any

from starlette.types import Scope

from memory_service.access import Caller
from memory_service.access import Scope as KeyScope
from memory_service.api.access import CALLER
from memory_service.api.permissions import RULES
from memory_service.app import Application
from memory_service.errors import MemoryServiceError
from memory_service.trail import Made

log = logging.getLogger(__name__)


def record(scope: Scope, request_id: str, status: int | None, made: Made) -> None:
    """Write the line of a request that changes something, done or refused, and of each that was
    refused for want of a key or its scope. Where it cannot be written, the answer goes all the
    same: a full disk must not keep anybody from deleting.

    `status` None: of what was committed before or after the request was answered.
    """
    path = getattr(scope.get("route"), "path", None)
    rule = RULES.get(f"{scope['method']} {path}")
    writes = rule is not None and rule.scope is not None and rule.scope >= KeyScope.write
    if not (writes and scope["method"] != "GET") and status not in (401, 403):
        return
    application: Application | None = getattr(scope["app"].state, "application", None)
    if application is None or application.audit is None:
        return
    caller: Caller | None = scope.get(CALLER)
    entry: dict[str, Any] = {
        "time": time.time(),
        "request_id": request_id,
        "key": None if caller is None else caller.key_id,
        "method": scope["method"],
        "route": path,
        "status": status,
        **scope.get("path_params", {}),
        **made,
    }
    try:
        application.audit.add(entry)
    except MemoryServiceError:
        log.exception("a change is missing from the audit log: %s", entry)
