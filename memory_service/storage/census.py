"""What the namespaces hold, counted."""

from __future__ import annotations

from collections import defaultdict

from memory_service.records import NamespaceCounts
from memory_service.storage.catalog import Catalog

_STATEMENTS = {
    "memories": "SELECT namespace, modality, COUNT(*), SUM(size_bytes) FROM alive"
    " WHERE consolidated_by IS NULL AND {only} GROUP BY 1, 2 ORDER BY 1, 2",
    "episodes": "SELECT namespace, COUNT(*) FROM episodes WHERE {only} AND EXISTS"
    " (SELECT 1 FROM alive WHERE episode_id = episodes.id) GROUP BY 1",
    "generations": "SELECT namespace, COUNT(*) FROM generations WHERE {only} GROUP BY 1",
    "prototypes": "SELECT namespace, COUNT(*) FROM alive"
    " WHERE consolidated_by IS NOT NULL AND {only} GROUP BY 1",
}


def namespaces(catalog: Catalog, name: str | None = None) -> list[NamespaceCounts]:
    """Of every namespace that holds anything, by name; or of this one, if it does."""
    only, values = ("TRUE", ()) if name is None else ("namespace = ?", (name,))
    found = {
        kind: catalog.select(statement.format(only=only), values)
        for kind, statement in _STATEMENTS.items()
    }
    modalities: dict[str, dict[str, int]] = defaultdict(dict)
    sizes: dict[str, int] = defaultdict(int)
    for namespace, modality, count, size_bytes in found["memories"]:
        modalities[namespace][modality] = count
        sizes[namespace] += size_bytes
    counts = {
        kind: {row[0]: row[1] for row in found[kind]}
        for kind in ("episodes", "generations", "prototypes")
    }
    return [
        NamespaceCounts(
            namespace=each,
            memories=sum(modalities[each].values()),
            by_modality=dict(modalities[each]),
            content_bytes=sizes[each],
            **{kind: counts[kind].get(each, 0) for kind in counts},
        )
        for each in sorted({*modalities, *(name for kind in counts.values() for name in kind)})
    ]
