"""Traces whose half-life is next to nothing, under a clock that goes forward and back."""

import numpy as np
import pytest
from pydantic import ValidationError
from service_media import text
from turnable_clock import TurnableClock

from memory_service.app import Application
from memory_service.errors import InvalidInput
from memory_service.services.models import key_of
from memory_service.settings import Settings
from memory_service.storage import namespace_settings


def trace(app: Application) -> np.ndarray:
    return app.store.catalog.trace("default", "text", key_of(app.active.models.space("text")))


@pytest.mark.parametrize("half_life_s", [5e-324, 1e-300, 1e-3])
@pytest.mark.parametrize("turned_s", [-1e9, -10.0, 0.0, 10.0, 1e9])
def test_stores_and_forgets_whatever_the_clock_does(
    timed: Application, clock: TurnableClock, half_life_s: float, turned_s: float
) -> None:
    """As small as earlier versions took it."""
    with timed.store.catalog.transaction("setting a namespace") as connection:
        namespace_settings.write(connection, "default", {"trace_half_life_s": half_life_s})
    timed.memory.store([text("an owl")])
    clock.turn(turned_s)
    second = timed.memory.store([text("a hen")]).episode
    assert np.isfinite(trace(timed)).all()
    assert np.isfinite(timed.memory.stats()[0].trace_norm)
    timed.memory.forget_episode(second.id)
    timed.memory.store([text("a cow")])
    assert np.isfinite(trace(timed)).all()


def test_what_is_long_gone_leaves_the_trace(timed: Application, clock: TurnableClock) -> None:
    timed.namespaces.configure("default", {"trace_half_life_s": 1.0})
    timed.memory.store([text("an owl")])
    clock.turn(1e6)
    timed.memory.store([text("a hen")])
    assert np.linalg.norm(trace(timed)) == pytest.approx(1.0, abs=1e-6)


def test_no_half_life_is_below_a_millisecond(timed: Application) -> None:
    for name in ("half_life_s", "trace_half_life_s"):
        with pytest.raises(InvalidInput, match=r"from 0\.001"):
            timed.namespaces.configure("default", {name: 9e-4})
        timed.namespaces.configure("default", {name: 1e-3})
    with pytest.raises(ValidationError, match=r"0\.001"):
        Settings(half_life_s=9e-4)
    assert Settings(half_life_s=0.0).half_life_s == 0.0
