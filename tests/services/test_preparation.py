"""Generators that are loaded before anyone asks for them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from memory_service.api import create_app
from memory_service.services.preparation import Preparation
from memory_service.settings import Settings


def active(load: Callable[[str], object]) -> Any:
    generators = dict.fromkeys(("image", "text", "audio"))
    return SimpleNamespace(models=SimpleNamespace(generators=generators, generator=load))


def test_all_are_loaded_one_after_the_other() -> None:
    loaded: list[str] = []
    preparation = Preparation(active(loaded.append), wanted=True, wait_s=0)
    preparation.start()
    preparation.wait()
    assert loaded == ["image", "text", "audio"]


def test_where_it_is_not_wanted_nothing_is_loaded() -> None:
    loaded: list[str] = []
    preparation = Preparation(active(loaded.append), wanted=False, wait_s=0)
    preparation.start()
    preparation.close()
    assert loaded == []


def test_one_that_cannot_be_loaded_leaves_the_others(caplog: pytest.LogCaptureFixture) -> None:
    loaded: list[str] = []

    def load(modality: str) -> None:
        if modality == "image":
            raise RuntimeError("no weights")
        loaded.append(modality)

    preparation = Preparation(active(load), wanted=True, wait_s=0)
    with caplog.at_level(logging.ERROR):
        preparation.start()
        preparation.wait()
    assert loaded == ["text", "audio"]
    assert "image" in caplog.text


def test_closing_ends_it_before_the_next() -> None:
    loaded: list[str] = []
    begun, go_on = threading.Event(), threading.Event()

    def load(modality: str) -> None:
        loaded.append(modality)
        begun.set()
        go_on.wait(10)

    preparation = Preparation(active(load), wanted=True, wait_s=0)
    preparation.start()
    assert begun.wait(10)
    closing = threading.Thread(target=preparation.close)
    closing.start()
    while not preparation._closing.is_set():
        pass
    go_on.set()
    closing.join(10)
    assert loaded == ["image"]


@pytest.mark.parametrize("load", ["ahead", "first-use"])
def test_the_service_begins_when_it_is_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: Any
) -> None:
    started: list[bool] = []

    def start(self: Preparation) -> None:
        started.append(self._wanted)

    monkeypatch.setattr(Preparation, "start", start)
    settings = Settings(data_dir=tmp_path / "data", profile="fake", load_generators=load)
    with TestClient(create_app(settings=settings), base_url="http://127.0.0.1") as client:
        assert client.get("/readyz").status_code == 200
    assert started == [load == "ahead"]
