"""Who a request is from, and whether it may: 401, 403, and 404 for what is in other namespaces."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from memory_service.access import ANYONE, Caller
from memory_service.api.calls import application_of, probe
from memory_service.api.headers import header
from memory_service.api.permissions import RULES, Namespace
from memory_service.api.problems import service_problem
from memory_service.app import Application
from memory_service.errors import (
    ForeignNamespace,
    InsufficientScope,
    MemoryServiceError,
    NotFound,
    Unauthorized,
)

CALLER = "memory_service.caller"  # in the scope of a request
_HOW = "send it as `Authorization: Bearer mem_...`; `memory-service keys create` makes one"


class Authentication:
    """Finds the caller by the key, which all paths ask for but the `public` ones.

    `required` False: who sends no key may do everything; a key that is sent counts all the same.
    """

    def __init__(self, app: ASGIApp, required: bool, public: Collection[str]) -> None:
        self._app = app
        self._required = required
        self._public = frozenset(public)
        self._below_public = tuple(f"{each}/" for each in public)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                scope[CALLER] = self._caller(scope)
            except MemoryServiceError as error:
                await service_problem(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _caller(self, scope: Scope) -> Caller | None:
        given = header(scope, b"authorization")
        path = scope["path"]
        if path in self._public or path.startswith(self._below_public):
            return None
        if given is None:
            if self._required:
                raise Unauthorized(f"this service asks for an API key: {_HOW}")
            return ANYONE
        kind, _, text = given.partition(" ")
        if kind.lower() != "bearer":
            raise Unauthorized(f"the Authorization header is no API key: {_HOW}")
        return application_of(Request(scope)).keys.caller(text.strip())


def require_rules(routes: Iterable[BaseRoute]) -> None:
    """Raises KeyError for a route that has no rule."""
    for route in routes:
        if isinstance(route, APIRoute):
            for method in route.methods or ():
                RULES[f"{method} {route.path}"]


async def authorize(request: Request) -> None:
    """Runs before every endpoint, and before its body is read. Raises InsufficientScope,
    ForeignNamespace or NotFound."""
    caller: Caller | None = request.scope[CALLER]
    if caller is None or caller is ANYONE:
        return
    rule = RULES[f"{request.method} {request.scope['route'].path}"]
    if rule.scope is None:
        return
    if caller.scope < rule.scope:
        raise InsufficientScope(
            f"the key may {caller.scope.name}, this needs {rule.scope.name}",
            found=caller.scope.name,
            accepted=rule.scope.name,
        )
    if caller.namespaces is not None:
        await _require_own(request, caller, rule.namespace)


async def _require_own(request: Request, caller: Caller, how: Namespace) -> None:
    if how in (Namespace.NONE, Namespace.CHECKED):
        return
    if how is Namespace.WHOLE:
        raise ForeignNamespace(
            "this concerns the whole store, and the key is bound to namespaces",
            accepted=_names(caller),
        )
    name = request.path_params[how.value]
    if how is Namespace.PATH:
        _require(caller, name)
        return
    application = application_of(request)
    try:
        seen = caller.sees(await probe(request, lambda: _namespace(application, how, name)))
    except NotFound:
        seen = False
    if not seen:  # there is none, or it is another's: ids of others are nobody's business
        kind = how.name.lower()
        raise NotFound(f"there is no {kind} {name!r}", kind=kind, id=name)


def _namespace(application: Application, how: Namespace, name: str) -> str | None:
    """Where something is, None for the whole store; raises NotFound."""
    if how is Namespace.MEMORY:
        return application.memory.namespace_of(name)
    if how is Namespace.EPISODE:
        return application.memory.namespace_of_episode(name)
    if how is Namespace.GENERATION:
        return application.generations.get(name).namespace
    if how is Namespace.RECEIPT:
        return application.forgetting.receipt(name).namespace
    if how is Namespace.CONSOLIDATION:  # a job, or a prototype
        try:
            return application.memory.namespace_of(name)
        except NotFound:
            pass
    return job_namespace(application.jobs.get(name).parameters)


def job_namespace(parameters: object) -> str | None:
    """The namespace that a job is about; None: the whole store."""
    named = parameters.get("namespace") if isinstance(parameters, dict) else None
    return named if isinstance(named, str) else None


def caller_of(request: Request) -> Caller:
    caller: Caller | None = request.scope[CALLER]
    return ANYONE if caller is None else caller


def namespace_of(request: Request, given: str | None, *, default: str = "default") -> str:
    """The namespace that a body or a parameter means; `given` None: nothing was said.

    Then a key that is bound to one namespace means that one. Raises ForeignNamespace.
    """
    caller = caller_of(request)
    if given is None and caller.namespaces is not None and len(caller.namespaces) == 1:
        (given,) = caller.namespaces
    name = default if given is None else given
    _require(caller, name)
    return name


def _require(caller: Caller, namespace: str) -> None:
    if not caller.sees(namespace):
        raise ForeignNamespace(
            f"the key is not for namespace {namespace[:80]!r}",
            found=namespace[:80],
            accepted=_names(caller),
        )


def _names(caller: Caller) -> list[str]:
    return sorted(caller.namespaces or ())
