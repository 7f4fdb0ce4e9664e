"""Puts the HTTP application together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from importlib.metadata import version

import anyio.to_thread
from fastapi import Depends, FastAPI

from memory_service.api import access, audit, bodies, docs, problems
from memory_service.api.batch_places import Places
from memory_service.api.calls import Calls
from memory_service.api.metrics import Metrics
from memory_service.api.middleware import KnownHosts, RequestContext
from memory_service.api.rates import Rates
from memory_service.api.routes import (
    backups,
    dynamics,
    embed,
    episodes,
    evaluate,
    forgetting,
    generate,
    jobs,
    keys,
    memories,
    operations,
    reembed,
    retrieve,
    store,
)
from memory_service.api.searches import Searches
from memory_service.api.shortcut import Shortcut
from memory_service.api.together import Together
from memory_service.api.uploads import Pace, Room, Uploads
from memory_service.app import Application
from memory_service.services import storing
from memory_service.settings import Settings, asks_for_keys, is_loopback

# Service calls at a time: enough to overlap disk and computation, few enough that a burst waits
# here rather than as threads that all want the same two cores.
CONCURRENT_CALLS = 8
# Stores of vectors that the caller brings: they wait for the disk, together.
CONCURRENT_WRITES = 32
# Health checks, statistics and metrics besides: in a queue with the rest, a burst of generations
# would make a busy service look like a dead one.
CONCURRENT_PROBES = 2


STREAMED = ("/store/batch",)  # bodies of any length
FREQUENT = ("/store", "/retrieve")


def create_app(
    application: Application | None = None,
    settings: Settings | None = None,
    hosts: Collection[str] | None = None,
) -> FastAPI:
    """The ASGI app, which asks for keys as `settings.auth` says for `settings.host`. Without
    `application`, one is built when the server starts, and closed after.

    `hosts`: the names that requests, and pages that send them, may be of; None for any.
    Starting fails, and the server exits, when the application cannot be built.
    """
    settings = settings or (application.settings if application else Settings())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        waiting, timeout_s = settings.queue_requests, settings.request_timeout_s
        metrics: Metrics = app.state.metrics
        app.state.calls = Calls(CONCURRENT_CALLS, waiting, timeout_s, metrics)
        app.state.writes = Together(
            lambda orders: app.state.application.storing.store_all(orders),
            CONCURRENT_WRITES,
            waiting,
            timeout_s,
            metrics,
            name="write",
            done=lambda stored: storing.note([stored]),
            answering=lambda answers: audit.record_together(
                (call, store.status_of(stored)) for call, stored in answers
            ),
        )
        app.state.probes = Calls(CONCURRENT_PROBES, waiting, timeout_s, metrics, name="probe")
        app.state.searches = Searches()
        app.state.batches = Places()
        own = None
        if application is None:
            from memory_service.bootstrap import build

            own = await anyio.to_thread.run_sync(build, settings)
        app.state.application = application or own
        metrics.watch(app.state.application)
        metrics.watch_waiting(lambda: app.state.calls.waiting + app.state.writes.waiting)
        app.state.application.observe_batches(metrics)
        app.state.application.observe_writes(metrics)
        if own is not None:
            own.preparation.start()
        try:
            yield
        finally:
            app.state.calls.close()
            app.state.writes.close()
            app.state.probes.close()
            app.state.searches.close()
            if own is not None:
                own.close()

    app = FastAPI(
        title="simmim memory service",
        summary="Store, recall and generate pictures, texts and sounds.",
        version=version("simmim"),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a path with a slash too many is none, and says so
        dependencies=[Depends(access.authorize), Depends(bodies.refuse_idle_key)],
        # Newer versions of FastAPI watch each request, whether anyone listens or not: metrics and
        # log are our own.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.metrics = Metrics()
    app.state.draining = False  # told to stop: see cli.server
    # A body carries media as base64 at most: 4/3 of its bytes, and the fields around them.
    app.state.body_limit = settings.max_upload_bytes * 4 // 3 + 2**20
    app.state.file_limit = settings.max_upload_bytes
    problems.install(app)
    public = ["/livez", "/readyz", "/errors"]
    if settings.open_metrics:
        public.append("/metrics")
    if not asks_for_keys(settings) or is_loopback(settings.host):
        public += ["/", "/docs", "/docs-assets", "/openapi.json"]
    frequent = [*store.router.routes, *retrieve.router.routes]
    app.add_middleware(Shortcut, routes=frequent, paths=FREQUENT)
    app.add_middleware(
        Uploads,
        max_bytes=app.state.body_limit,
        pace=Pace(settings.upload_idle_s, settings.upload_bytes_per_s, settings.upload_timeout_s),
        room=_room(settings, app),
        slow=app.state.metrics.body_refused,
        streamed=STREAMED,
    )
    app.add_middleware(Rates, settings=settings)
    app.add_middleware(access.Authentication, required=asks_for_keys(settings), public=public)
    if hosts is not None:
        app.add_middleware(KnownHosts, hosts=hosts)
    app.add_middleware(RequestContext, metrics=app.state.metrics)
    for routes in (
        store,
        retrieve,
        embed,
        generate,
        memories,
        episodes,
        forgetting,
        dynamics,
        reembed,
        backups,
        evaluate,
        jobs,
        keys,
        operations,
    ):
        access.require_rules(routes.router.routes)
        app.include_router(routes.router)
    docs.install(app)
    return app


def _room(settings: Settings, app: FastAPI) -> Room:
    """For one body of the largest size at least; a key may take half of it."""
    largest, metrics = app.state.body_limit, app.state.metrics
    total = max(settings.upload_room_bytes, largest)
    room = Room(total, max(total // 2, largest), metrics.body_refused)
    metrics.watch_bodies(lambda: room.taken)
    return room
