"""What is asked of an evaluation, checked before it begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec

from memory_service.errors import InvalidInput, ModalityUnavailable
from memory_service.services import checks
from memory_service.services.evaluation.lab import FEWEST, FULL, QUICK, Budget

MOST_ITEMS = 2000
QUERIES = (3, 1000)
DEPTHS: Mapping[str, Budget] = {"quick": QUICK, "full": FULL}
NEEDED = ("matplotlib", "skimage")


@dataclass(frozen=True)
class Request:
    """`field`: the metadata field by whose values transfer and classifier are measured.
    `training`: a namespace of what the models were trained on, to look for copies of it."""

    namespace: str = "default"
    depth: str = "full"
    max_items: int = 400
    seed: int = 0
    field: str = "folder"
    training: str | None = None
    source: str | None = None  # where the episodes come from, in words
    queries: int | None = None  # per task of the ladder; None: by the number of episodes
    without_memory: str | None = None  # folder of weights of a model that was trained so


def checked(request: Request) -> Request:
    """The same; raises InvalidInput, or ModalityUnavailable where the libraries are missing."""
    checks.namespace(request.namespace)
    if request.training is not None:
        checks.namespace(request.training)
    checks.one_of("depth", request.depth, tuple(DEPTHS))
    _require_within("max_items", request.max_items, (FEWEST, MOST_ITEMS))
    if request.queries is not None:
        _require_within("queries", request.queries, QUERIES)
    if not 0 <= request.seed < 2**32:
        raise InvalidInput("seed must be a whole number from 0 to 2^32 - 1", found=request.seed)
    _require_libraries()
    return request


def _require_within(name: str, value: int, limits: tuple[int, int]) -> None:
    least, most = limits
    if checks.count(name, value, most) < least:
        raise InvalidInput(
            f"{name} must be from {least} to {most}", found=value, accepted=[least, most]
        )


def _require_libraries() -> None:
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ModalityUnavailable(
            f"an evaluation needs {' and '.join(missing)}: pip install 'simmim[evaluation]'",
            found=missing,
        )
