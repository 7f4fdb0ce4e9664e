"""The way of the requests that come most often: straight to their route, past the router.

FastAPI tries one route after the other and looks for dependencies to solve, which takes longer
than a small search. The routes here read their own body and have no dependency but the one of all
routes; what they answer and what their errors become is the same on either way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from memory_service.api import access, problems


class Shortcut:
    """To be the innermost middleware. `paths` are those of `routes` that take it: their endpoints
    are functions of a request."""

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute], paths: Collection[str]) -> None:
        self._app = app
        self._routes = {
            (method, route.path): route
            for route in routes
            if isinstance(route, APIRoute) and route.path in paths
            for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = None
        if scope["type"] == "http" and not scope.get("root_path"):
            route = self._routes.get((scope["method"], scope["path"]))
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = route
        request = Request(scope, receive, send)
        try:
            await access.authorize(request)
            response = await route.endpoint(request)
        except Exception as error:
            response = await problems.answer(request, error)
            if response is None:
                raise
        await response(scope, receive, send)
