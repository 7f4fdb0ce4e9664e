"""An application over a temporary folder, with the fake profile."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from service_media import audio, image, sensor, text
from turnable_clock import TurnableClock

from memory_service.app import Application
from memory_service.bootstrap import build
from memory_service.clock import Clock
from memory_service.records import Episode
from memory_service.services import embedding_batches
from memory_service.settings import Settings
from memory_service.storage import blobs, database

Open = Callable[..., Application]


@pytest.fixture(scope="module", autouse=True)
def unsynced(request: pytest.FixtureRequest) -> Iterator[None]:
    """No waiting for the disk, except where that is what is tested."""
    with pytest.MonkeyPatch.context() as patch:
        if request.module.__name__ != "test_durability":
            patch.setattr(database, "SYNCHRONOUS", "OFF")
            patch.setattr(blobs.os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def open_app(folder: Path) -> Iterator[Open]:
    """Opens the application over `folder`; closes at the end what is still open."""
    opened: list[Application] = []

    def open_it(clock: Clock | None = None, **settings: object) -> Application:
        values = {"data_dir": folder, "profile": "fake", **settings}
        opened.append(build(Settings(**values), clock))  # type: ignore[arg-type]
        return opened[-1]

    yield open_it
    for app in opened:
        app.close()


@pytest.fixture
def clock() -> TurnableClock:
    return TurnableClock()


@pytest.fixture
def timed(open_app: Open, clock: TurnableClock) -> Application:
    """An application whose time the test turns; memories halve in 100 s."""
    return open_app(clock, half_life_s=100.0)


@pytest.fixture
def app(open_app: Open) -> Application:
    return open_app()


@pytest.fixture(scope="module")
def empty_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """For tests that leave it empty."""
    with build(Settings(data_dir=tmp_path_factory.mktemp("empty"), profile="fake")) as app:
        yield app


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """Three animals, for tests that only read."""
    with build(Settings(data_dir=tmp_path_factory.mktemp("zoo"), profile="fake")) as app:
        store_animals(app)
        yield app


@pytest.fixture
def animals(app: Application) -> dict[str, Episode]:
    return store_animals(app)


def store_animals(app: Application, *, series: bool = True) -> dict[str, Episode]:
    """Three episodes of picture, text, sound and, unless told otherwise, series."""
    names = ("a red fox", "a blue whale", "a green frog")
    return {
        name.split()[-1]: app.memory.store(
            [
                image(number),
                text(name),
                audio(300 + 400 * number),
                *([sensor(number)] if series else []),
            ],
            metadata={"name": name.split()[-1], "number": number, "wet": number > 0},
        ).episode
        for number, name in enumerate(names)
    }


@pytest.fixture
def noted_app(open_app: Open) -> Application:
    """Twenty memories without series: three animals, and notes in a namespace of their own."""
    app = open_app()
    store_animals(app, series=False)
    for number in range(11):
        app.memory.store([text(f"note number {number}")], namespace="notes")
    return app


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_batches, "BATCH", 4)


@pytest.fixture
def at_batch(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], None]], None]:
    """Calls a function while the n-th batch is encoded, before its vectors are written."""
    real, count = embedding_batches.embed_batch, 0
    hooks: dict[int, Callable[[], None]] = {}

    def hooked(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        made = real(*arguments)
        hooks.get(count, lambda: None)()
        return made

    monkeypatch.setattr(embedding_batches, "embed_batch", hooked)
    return hooks.__setitem__
