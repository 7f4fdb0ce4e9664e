"""A second profile for all tests that need one."""

from types import ModuleType

import other_profile as module
import pytest

from encoders import registry


@pytest.fixture
def other_profile(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Registers the profile `other`; the module counts what is encoded."""
    monkeypatch.setattr(registry, "_LOADERS", module.loaders())
    monkeypatch.setattr(module, "broken", set())
    module.encoded.clear()
    return module
