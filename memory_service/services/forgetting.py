"""Forgetting by filter and by namespace, generations, and the receipts of it. Knows no HTTP."""

from __future__ import annotations

from memory_service.errors import InvalidInput, NotFound, UnexpectedCount
from memory_service.records import PLAIN, Forgotten, Manner, NamespaceCounts, Selection
from memory_service.services import checks
from memory_service.services.namespaces import Namespaces
from memory_service.storage import census, filters, receipts
from memory_service.storage.store import Store


class Forgetting:
    """Safe for use from several threads."""

    def __init__(self, store: Store, namespaces: Namespaces) -> None:
        self._store = store
        self._namespaces = namespaces

    def count(self, selection: Selection) -> int:
        """How many memories `forget` would forget. Raises InvalidInput."""
        return self._store.removal.count_matching(*_checked(selection))

    def forget(
        self, selection: Selection, expected: int | None, manner: Manner = PLAIN
    ) -> Forgotten:
        """Forget what is selected, provided that it is `expected` memories, as `count` told.

        Raises InvalidInput, and UnexpectedCount, with nothing forgotten.
        """
        namespace, modality, filter = _checked(selection)
        if expected is None:
            raise InvalidInput(
                "say in expected how many memories are to be forgotten: dry_run tells how many "
                "there are",
                accepted="whole number",
            )
        return self._store.removal.matching(namespace, modality, filter, expected, manner)

    def namespaces(self) -> list[NamespaceCounts]:
        """Those that hold anything."""
        return census.namespaces(self._store.catalog)

    def namespace(self, name: str) -> NamespaceCounts:
        """Raises InvalidInput, and NotFound for one that holds nothing."""
        checks.namespace(name)
        found = census.namespaces(self._store.catalog, name)
        if not found:
            raise NotFound(f"namespace {name!r} holds nothing", kind="namespace", id=name)
        return found[0]

    def forget_namespace(
        self, name: str, expected: int | None = None, manner: Manner = PLAIN
    ) -> Forgotten:
        """Forget all memories of a namespace, its generations and its settings. What is stored
        there meanwhile stays. Raises InvalidInput, NotFound, and UnexpectedCount."""
        found = self.namespace(name).memories
        if expected not in (None, found):
            raise UnexpectedCount(
                f"namespace {name} has {found} memories, not {expected}: nothing was forgotten",
                found=found,
                accepted=expected,
            )
        receipt = self._store.removal.namespace(name, manner)
        self._namespaces.configure(name, {})
        return receipt

    def forget_generation(self, generation_id: str, manner: Manner = PLAIN) -> Forgotten:
        """Forget what was generated, and the record of it; raises NotFound."""
        return self._store.removal.generation(generation_id, manner)

    def receipt(self, receipt_id: str) -> Forgotten:
        """Raises NotFound."""
        return receipts.get(self._store.catalog, receipt_id)


def _checked(selection: Selection) -> tuple[str, str | None, filters.Filter]:
    checks.namespace(selection.namespace)
    if selection.modality is not None:
        checks.known_modality(selection.modality)
    filter = filters.parse(selection.filter)
    if not filter and not selection.all:
        raise InvalidInput(
            "an empty filter matches every memory: say all if that is meant",
            accepted={"filter": {"field": "value"}, "all": True},
        )
    if filter and selection.all:
        raise InvalidInput("give a filter or all, not both", accepted=["filter", "all"])
    return selection.namespace, selection.modality, filter
