"""How log lines look: text for people, or one JSON object a line for machines. Of requests, with
their id, which lines from their threads bear, too.
"""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal

Style = Literal["text", "json"]

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
FIELDS = "fields"  # of a record, by `extra`: what a JSON line has besides


class TextFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        line = super().formatMessage(record)
        known = request_id.get()
        return line if known is None else f"{line} [{known}]"


class JsonFormatter(logging.Formatter):
    """`time` (UTC), `level`, `logger`, `message`; `request_id` and `exception` where there is one;
    of a request also `method`, `path`, `route`, `status`, `duration_ms`, `stages_ms`, `key`."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (known := request_id.get()) is not None:
            line["request_id"] = known
        line.update(getattr(record, FIELDS, {}))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class Sparing:
    """Tells what lasts now and then instead of each time. Safe for use from several threads."""

    def __init__(self, every_s: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._every_s = every_s
        self._clock = clock
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}
        self._untold: Counter[str] = Counter()

    def met(self, what: str) -> str | None:
        """None: told lately. Else what is to be said of those that were not told since."""
        with self._lock:
            now = self._clock()
            if now - self._last.get(what, -math.inf) < self._every_s:
                self._untold[what] += 1
                return None
            self._last[what] = now
            untold = self._untold.pop(what, 0)
        return f" ({untold} more since the last such line)" if untold else ""


def configure(level: str, style: Style) -> None:
    """Our lines and uvicorn's on stderr; of libraries only warnings."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    logging.basicConfig(handlers=[handler])
    for name in ("memory_service", "encoders", "uvicorn"):
        logging.getLogger(name).setLevel(level.upper())
