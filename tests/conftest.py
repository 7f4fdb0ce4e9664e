"""A second profile for all tests that need one."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import ModuleType

import other_profile as module
import pytest

from encoders import registry

# Most tests are not about workers, and would wait for one to start: tests/decoding has them.
os.environ.setdefault("MEMORY_SERVICE_DECODE", "inline")
# Nor do most generate by what is shipped.
os.environ.setdefault("MEMORY_SERVICE_LOAD_GENERATORS", "first-use")


@pytest.fixture
def other_profile(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Registers the profile `other`; the module counts what is encoded."""
    monkeypatch.setattr(registry, "_LOADERS", module.loaders())
    monkeypatch.setattr(module, "broken", set())
    module.encoded.clear()
    return module


@pytest.fixture
def no_threads() -> Callable[[], AbstractContextManager[None]]:
    """Within what it gives, the system has no thread to be started."""

    def fails(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    @contextmanager
    def without() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(threading.Thread, "start", fails)
            yield

    return without
