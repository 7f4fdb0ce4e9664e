"""JSON merge patch (RFC 7396): what is null goes, objects are merged, all else is replaced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def patched(target: Any, patch: Any) -> Any:
    """The target with the patch applied; neither is changed. `checks.metadata` bounds the depth of
    what is stored, and a patch is no deeper than the parser of its JSON lets it be."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = patched(result.get(key), value)
    return result
