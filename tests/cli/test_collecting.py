"""How often a service that serves looks for cyclic garbage."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from memory_service.api import create_app
from memory_service.bootstrap import build
from memory_service.cli import server
from memory_service.settings import Settings


@pytest.fixture
def as_before() -> Iterator[None]:
    usual = gc.get_threshold()
    yield
    gc.set_threshold(*usual)
    gc.unfreeze()


@pytest.mark.usefixtures("as_before")
def test_garbage_is_looked_for_rarely_while_serving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, looked = gc.get_threshold()[0], []

    def serve(self: server.Server) -> None:
        looked.append((gc.get_threshold()[0], gc.get_freeze_count()))
        self.started = True

    monkeypatch.setattr(server.Server, "run", serve)
    with build(Settings(data_dir=tmp_path, profile="fake")) as application:
        server.run(create_app(application), application.settings, application)
    ((threshold, frozen),) = looked
    assert threshold > 10 * usual
    assert frozen > 10_000  # what was imported
