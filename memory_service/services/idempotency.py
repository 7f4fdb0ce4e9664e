"""Requests that are done once, however often they come: what makes two of them the same."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np

from memory_service.errors import InvalidInput, KeyInUse
from memory_service.records import Claim, QueryPart, StoreOrder, Vector

KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")
LONGEST_OF_A_BATCH = 240  # characters: the number of a line follows
RETRY_AFTER_S = 1


def of_order(order: StoreOrder, now: float, ttl_s: float) -> Claim | None:
    """The claim of a store; None without a key. Raises InvalidInput for what is no key."""
    if order.idempotency_key is None:
        return None
    asked = {
        "store": [
            [each.modality, _digest(each.content), _vector(each.vector), each.space]
            for each in order.uploads
        ],
        "metadata": order.metadata or {},
        "created_at": order.created_at,
        "if_duplicate": order.if_duplicate,
        "expires_at": order.expires_at,
        "ttl_s": order.ttl_s,
    }
    return _claim(order.namespace, order.idempotency_key, asked, now, ttl_s)


def of_generation(
    key: str, parts: Sequence[QueryPart], options: Mapping[str, Any], now: float, ttl_s: float
) -> Claim:
    """The claim of a generation. Raises InvalidInput for what is no key."""
    asked = {
        "generate": [
            [each.modality, _digest(each.content), _vector(each.vector), each.space, each.weight]
            for each in parts
        ],
        "options": {name: _plain(value) for name, value in options.items()},
    }
    return _claim(options["namespace"], key, asked, now, ttl_s)


def of_line(key: str, index: int) -> str:
    """The key of a line of a batch that came with `key` as a whole."""
    return f"{key}/{index}"


def require_key(key: str, longest: int = 255) -> None:
    """Raises InvalidInput for what is no key."""
    if not KEY.fullmatch(key) or len(key) > longest:
        raise InvalidInput(
            f"an idempotency key is 1 to {longest} printable ASCII characters, none of them a "
            "blank at either end",
            found=key[:80],
        )


def _claim(namespace: str, key: str, asked: Any, now: float, ttl_s: float) -> Claim:
    require_key(key)
    request = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    return Claim(namespace, key, request, made_at=now, expires_at=now + ttl_s)


def _plain(value: Any) -> Any:
    """As JSON has it, whose keys are sorted later: a filter is the same in any order."""
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def _digest(content: bytes | None) -> str | None:
    return None if content is None else hashlib.sha256(content).hexdigest()


def _vector(vector: Vector | None) -> str | None:
    """Equal for the same numbers, however they were sent."""
    if vector is None:
        return None
    return _digest(np.asarray(vector, dtype="<f4").tobytes())


class UnderWay:
    """Claims whose requests are being worked on. Safe for use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._claims: set[tuple[str, str]] = set()

    @contextmanager
    def alone(self, claim: Claim) -> Iterator[None]:
        """Raises KeyInUse while another request bears the same key."""
        place = claim.namespace, claim.key
        with self._lock:
            if place in self._claims:
                raise KeyInUse(
                    f"a request with the idempotency key {claim.key[:80]!r} is under way",
                    retry_after_s=RETRY_AFTER_S,
                    found=claim.key,
                )
            self._claims.add(place)
        try:
            yield
        finally:
            with self._lock:
                self._claims.remove(place)
