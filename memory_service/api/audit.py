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
from memory_service.logs import Sparing
from memory_service.trail import Made

log = logging.getLogger(__name__)
sparing = Sparing()


def record(scope: Scope, request_id: str, status: int | None, made: Made) -> None:
    """Write the line of a request that changes something, done or refused, and of each that was
    refused for want of a key or its scope. Where it cannot be written, the answer goes all the
    same: a full disk must not keep anybody from deleting. The line of a change follows then.

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
    changed = status is None or status < 400
    try:
        application.audit.add(entry, owed=changed)
    except MemoryServiceError as error:
        if changed:
            log.error("a change is not yet in the audit log: %s: %s", error, entry)
        elif (untold := sparing.met(error.code)) is not None:
            log.error("a refusal is missing from the audit log: %s%s", error, untold)
