"""Telling observers what happens, whatever they do with it: counting must not stop the work."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TypeVar

log = logging.getLogger(__name__)

Observer = TypeVar("Observer")


def tell(observers: Iterable[Observer], what: Callable[[Observer], None]) -> None:
    """Tell each of them; what one raises is logged."""
    for observer in observers:
        try:
            what(observer)
        except Exception:
            log.exception("an observer failed")
