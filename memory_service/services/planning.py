"""What was asked of a generation, checked, before anything is made. Knows no HTTP."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from encoders.base import Modality, Space
from generator.fusion import METHODS, methods_in
from memory_service.errors import InvalidInput, told
from memory_service.records import FusionMethod, QueryPart
from memory_service.services import checks, choosing
from memory_service.services.models import Models

MAX_EPISODES = 64  # that one generation may draw on: the media of each are read and decoded
MAX_SEED = 2**63 - 1  # what the catalog can record


@dataclass(frozen=True)
class Plan:
    outputs: tuple[Modality, ...]
    namespace: str
    k: int
    fusion: FusionMethod
    creativity: float
    seed: int
    space: Space
    max_similarity: float | None
    candidates: int | None  # None: as many as is usual for the output
    modes: Mapping[str, str]  # by modality, those that are not the default


def plan(
    models: Models,
    parts: Sequence[QueryPart],
    *,
    outputs: Sequence[str],
    namespace: str,
    k: int,
    most_k: int,
    fusion: FusionMethod,
    creativity: float,
    seed: int | None,
    max_similarity: float | None,
    candidates: int | None,
    modes: Mapping[str, str],
) -> Plan:
    """Raises InvalidInput or ModalityUnavailable. Without a seed one is drawn."""
    checks.namespace(namespace)
    asked = checks.modalities(outputs, models.generators, "generator")
    if len(asked) < len(outputs):
        raise InvalidInput(
            "each output can be asked for once: for several of one kind, ask again with another "
            "seed",
            found=told(outputs),
        )
    checks.one_of("fusion", fusion, METHODS)
    creativity = checks.share("creativity", creativity)
    space = models.space_to_generate(asked)
    # An unknown name was refused above; here it is one without weights for this profile's vectors.
    checks.one_of("fusion", fusion, methods_in(space.id))
    return Plan(
        outputs=asked,
        namespace=namespace,
        k=checks.count("k", k, min(most_k, MAX_EPISODES)),
        fusion=fusion,
        creativity=creativity,
        seed=_seed(seed),
        space=space,
        max_similarity=_limit(max_similarity, creativity),
        candidates=(
            None if candidates is None else checks.count("candidates", candidates, choosing.MOST)
        ),
        modes=_modes(models, parts, asked, modes),
    )


def _seed(given: Any) -> int:
    if given is None:
        return secrets.randbits(32)  # every client can hold such a number exactly
    if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given <= MAX_SEED:
        raise InvalidInput(
            f"seed must be a whole number from 0 to {MAX_SEED}",
            found=told(given),
            accepted=[0, MAX_SEED],
        )
    return given


def _limit(max_similarity: Any, creativity: float) -> float | None:
    if max_similarity is None:
        return None
    limit = checks.share("max_similarity", max_similarity)
    if creativity == 0:
        raise InvalidInput(
            "max_similarity needs a creativity above 0: at 0 every draw is the same",
            found=creativity,
        )
    return limit


def _modes(
    models: Models,
    parts: Sequence[QueryPart],
    outputs: Sequence[Modality],
    given: Mapping[str, str],
) -> Mapping[str, str]:
    """Those that are not the default, each of an output that it counts for."""
    for modality, mode in given.items():
        checks.one_of(f"{modality}_mode", mode, models.mode_names(modality))
    chosen = {
        modality: mode
        for modality, mode in given.items()
        if mode != models.default_modes.get(modality)
    }
    generators = {each: models.generator(each, chosen.get(each)) for each in outputs}
    if any(each.reads_draft for each in generators.values()) and "text" not in generators:
        generators["text"] = models.generator("text", chosen.get("text"))
    for modality, mode in chosen.items():
        if modality not in generators:
            raise InvalidInput(
                f"{modality}_mode {mode} is given, but {modality} is not asked for",
                found=list(outputs),
            )
        if generators[modality].needs_words and not _has_words(parts):
            raise InvalidInput(
                f"{modality}_mode {mode} needs a text in the query: the question", found=mode
            )
    return chosen


def _has_words(parts: Sequence[QueryPart]) -> bool:
    return any(part.modality == "text" and (part.content or b"").strip() for part in parts)
