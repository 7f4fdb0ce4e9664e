"""The models that the services work with, and the moment at which they become others.

A request keeps the models that it started with: `using` is held for as long as it lasts, and a
change waits for all such requests; those that come meanwhile wait for the change.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar, cast

from encoders.media import Decoded
from memory_service.services.embedding import embed
from memory_service.services.models import Models
from memory_service.shared_lock import SharedLock
from memory_service.storage.spaces import Embedding

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


class ActiveModels:
    """Safe for use from several threads."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._also: Models | None = None
        self._lock = SharedLock()
        self._thread = threading.local()  # using: whether this thread holds the lock
        self.changing = False  # or about to: whoever comes now waits for requests to end

    @property
    def models(self) -> Models:
        return self._models

    @contextmanager
    def using(self) -> Iterator[None]:
        """The models stay as they are. May be nested: only the outermost takes the lock, or a
        waiting change would stand between the two."""
        if not self.begin():
            yield
            return
        try:
            yield
        finally:
            self.end()

    def begin(self) -> bool:
        """`using` until `end`; False where this thread has begun already."""
        if getattr(self._thread, "using", False):
            return False
        self._lock.share()
        self._thread.using = True
        return True

    def end(self) -> None:
        self._thread.using = False
        self._lock.unshare()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No request is under way, and none starts."""
        self.changing = True
        try:
            with self._lock.exclusive():
                yield
        finally:
            self.changing = False

    def embed_also(self, models: Models | None) -> None:
        """From the next request on, new memories get the vectors of `models`, too."""
        with self.alone():
            self._also = models

    def become(self, models: Models) -> None:
        """Work with these models from now on. Within `alone` only."""
        former, self._models, self._also = self._models, models, None
        if former is not models:
            former.close()

    @property
    def state(self) -> tuple[Models, Models | None]:
        """What vectors are made with; equal as long as nothing has changed."""
        return self._models, self._also

    def embed(
        self, decoded: Sequence[Decoded], given: Sequence[Embedding | None] | None = None
    ) -> list[tuple[Embedding, ...]]:
        """`embed` by the active models, and by those that a re-embedding prepares.

        What the latter cannot embed, the re-embedding finds missing, and tries itself.
        """
        found = embed(self._models, decoded, given)
        if self._also is None:
            return found
        more = [self._other(self._also, each) for each in decoded]
        return [
            (*own, *(each for each in other if each.space not in {one.space for one in own}))
            for own, other in zip(found, more, strict=True)
        ]

    def _other(self, models: Models, decoded: Decoded) -> tuple[Embedding, ...]:
        if decoded.modality not in models.encoders:
            return ()
        try:
            return embed(models, [decoded])[0]
        except Exception:
            log.exception("profile %s could not embed a new memory", models.profile)
            return ()


class Service:
    """What works with the active models; its methods that need them to stay are `steady`."""

    _active: ActiveModels

    @property
    def _models(self) -> Models:
        return self._active.models


S = TypeVar("S", bound=Service)


def steady(
    method: Callable[Concatenate[S, P], T],
) -> Callable[Concatenate[S, P], T]:
    """A service's method that works with the same models from its start to its end."""

    @wraps(method)
    def call(service: S, *args: P.args, **kwargs: P.kwargs) -> T:
        active = service._active
        if not active.begin():
            return method(service, *args, **kwargs)
        try:
            return method(service, *args, **kwargs)
        finally:
            active.end()

    return cast(Callable[Concatenate[S, P], T], call)
