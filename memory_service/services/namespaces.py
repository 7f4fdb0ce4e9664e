"""What holds for the memories of a namespace: how fast they fade. Knows no HTTP."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from memory_service import trail
from memory_service.errors import InvalidInput, told
from memory_service.records import Life, NamespaceLife
from memory_service.services import checks
from memory_service.settings import LEAST_HALF_LIFE_S, Settings
from memory_service.storage import namespace_settings, traces
from memory_service.storage.store import Store

MOST_S = 1e12  # of a half-life: beyond, nothing would ever be seen to fade
MOST_KEPT = 4096
NAMES = tuple(field.name for field in fields(Life))


class Namespaces:
    """Safe for use from several threads."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        # 0 in a setting, which cannot say null.
        self._default = Life(half_life_s=settings.half_life_s or None, trace_half_life_s=None)
        self._lock = threading.Lock()
        self._lives: dict[str, Life] = {}

    def life(self, name: str) -> Life:
        """Read once: only `configure` changes it."""
        with self._lock:
            if name not in self._lives:
                if len(self._lives) >= MOST_KEPT:  # anybody may ask for any name
                    self._lives.clear()
                given = self._given(name)
                self._lives[name] = Life(**{**asdict(self._default), **given})
            return self._lives[name]

    def _given(self, name: str) -> Mapping[str, Any]:
        found = self._store.catalog.select(namespace_settings.SETTINGS, (name,))
        return namespace_settings.settings(found[0] if found else None)

    def get(self, name: str) -> NamespaceLife:
        """Of a namespace that nothing was set for, the defaults. Raises InvalidInput for what is
        no name of one."""
        checks.namespace(name)
        return NamespaceLife(name, self.life(name), tuple(sorted(self._given(name))))

    def configure(self, name: str, values: Mapping[str, Any]) -> NamespaceLife:
        """Replace the settings; what is not in `values` takes its default again.

        Another half-life of the trace reads all vectors of the namespace, while stores wait.
        Raises InvalidInput.
        """
        checks.namespace(name)
        given = {key: _half_life(key, value) for key, value in values.items()}
        life = Life(**{**asdict(self._default), **given})
        with self._store.catalog.transaction("setting a namespace") as connection, self._lock:
            namespace_settings.write(connection, name, given)
            traces.set_half_life(connection, name, life.trace_half_life_s)
            self._lives.pop(name, None)
        trail.told(namespaces=[name])
        return NamespaceLife(name, life, tuple(sorted(given)))


def _half_life(name: str, value: Any) -> float | None:
    if name not in NAMES:
        raise InvalidInput(
            f"a namespace has no setting {name!r}; there are: {', '.join(NAMES)}",
            found=name,
            accepted=list(NAMES),
        )
    if value is None:
        return None
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else 0.0
    if not LEAST_HALF_LIFE_S <= number <= MOST_S:  # NaN, too
        raise InvalidInput(
            f"{name} must be from {LEAST_HALF_LIFE_S:g} to {MOST_S:g} seconds, or null for no "
            "decay",
            found=told(value),
            accepted=[LEAST_HALF_LIFE_S, MOST_S],
        )
    return float(number)
