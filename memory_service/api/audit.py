"""The audit log: who changed what, and when. Contents and metadata are no part of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any

from starlette.types import Scope

from memory_service import logs, trail
from memory_service.access import Caller
from memory_service.access import Scope as KeyScope
from memory_service.api.access import CALLER
from memory_service.api.permissions import RULES
from memory_service.api.turns import Call
from memory_service.app import Application
from memory_service.errors import MemoryServiceError
from memory_service.logs import Sparing
from memory_service.trail import Made

log = logging.getLogger(__name__)
sparing = Sparing()
NOTED = "memory_service.noted"  # in the scope: with which status it was, before its answer


def record(scope: Scope, request_id: str, status: int | None, made: Made) -> None:
    """Write the line of a request that changes something, done or refused, and of each that was
    refused for want of a key or its scope. Where it cannot be written, the answer goes all the
    same: a full disk must not keep anybody from deleting. The line of a change follows then.

    `status` None: of what was committed before or after the request was answered.
    """
    if status is not None and status == scope.get(NOTED) and not made:
        return
    if (entry := _entry(scope, request_id, status, made)) is not None:
        _write(scope, [entry], changed=status is None or status < 400)


def record_together(answers: Iterable[tuple[Call, int]]) -> None:
    """`record` of calls whose requests are about to be answered with these statuses, all of them
    done: in one go, which takes as long as one of them does."""
    entries, scope = [], None
    for call, status in answers:
        assert call.request is not None
        scope = call.request.scope
        entries.append(call.context.run(_answered, scope, status))
    if scope is not None:
        _write(scope, [each for each in entries if each is not None], changed=True)


def _answered(scope: Scope, status: int) -> dict[str, Any] | None:
    committed = trail.current()
    scope[NOTED] = status
    made = {} if committed is None else committed.end()
    return _entry(scope, logs.request_id.get(), status, made)


def _entry(
    scope: Scope, request_id: str | None, status: int | None, made: Made
) -> dict[str, Any] | None:
    path = getattr(scope.get("route"), "path", None)
    rule = RULES.get(f"{scope['method']} {path}")
    writes = rule is not None and rule.scope is not None and rule.scope >= KeyScope.write
    if not (writes and scope["method"] != "GET") and status not in (401, 403):
        return None
    caller: Caller | None = scope.get(CALLER)
    return {
        "time": time.time(),
        "request_id": request_id,
        "key": None if caller is None else caller.key_id,
        "method": scope["method"],
        "route": path,
        "status": status,
        **scope.get("path_params", {}),
        **made,
    }


def _write(scope: Scope, entries: Sequence[dict[str, Any]], *, changed: bool) -> None:
    application: Application | None = getattr(scope["app"].state, "application", None)
    if application is None or application.audit is None:
        return
    try:
        application.audit.add(*entries, owed=changed)
    except MemoryServiceError as error:
        if changed:
            log.error("a change is not yet in the audit log: %s: %s", error, entries)
        elif (untold := sparing.met(error.code)) is not None:
            log.error("a refusal is missing from the audit log: %s%s", error, untold)
