"""What was generated: listed, read, shown, made again, and explained. Knows no HTTP."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from contextlib import suppress

from encoders.base import Space
from memory_service.card.content import Card
from memory_service.errors import (
    InvalidInput,
    ModalityUnavailable,
    NotFound,
    SpaceMismatch,
    StorageFailure,
    told,
)
from memory_service.records import Generation, GenerationOutput
from memory_service.services import cards, checks, neighbours
from memory_service.services.active import ActiveModels, Service, steady
from memory_service.services.explaining import effects
from memory_service.services.making import file_of, make_again
from memory_service.services.models import key_of
from memory_service.storage.generations import newest
from memory_service.storage.store import Store

ID = re.compile(r"[0-9a-f-]{36}")
MAX_LIST = 100  # records at once: each names up to 64 memories


class Generations(Service):
    """Safe for use from several threads."""

    def __init__(self, store: Store, active: ActiveModels) -> None:
        self._store = store
        self._active = active

    def get(self, generation_id: str) -> Generation:
        """Raises NotFound."""
        return self._store.generation(generation_id)

    def page(
        self,
        *,
        namespace: str | None = None,
        namespaces: Collection[str] | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> tuple[list[Generation], str | None]:
        """The newest first, and the cursor of the next page if there is one.

        `namespaces`: all that may be listed, whatever `namespace` says; None: any. Raises
        InvalidInput.
        """
        if namespace is not None:
            checks.namespace(namespace)
        limit = checks.count("limit", limit, MAX_LIST)
        if after is not None and not ID.fullmatch(after):
            raise InvalidInput(
                f"{after[:80]!r} is no cursor that a listing gave", found=told(after)
            )
        found = newest(self._store.catalog, namespace, namespaces, after, limit + 1)
        listed = []
        for each in found[:limit]:
            with suppress(NotFound):  # forgotten in this very moment
                listed.append(self.get(each))
        return listed, found[limit - 1] if len(found) > limit else None

    def content(
        self, generation_id: str, output: str | None = None
    ) -> tuple[GenerationOutput, bytes]:
        """An output and its bytes, by modality or output id; the first one by default."""
        record = self.get(generation_id)
        for each in record.outputs:
            if output in (None, each.modality, each.id):
                try:
                    return each, self._store.blobs.read(each.blob)
                except NotFound as error:
                    raise StorageFailure(
                        f"the content of output {each.id} is missing from the data folder"
                    ) from error
        raise NotFound(
            f"generation {generation_id} has no output {output!r}",
            kind="output",
            accepted=[each.modality for each in record.outputs],
        )

    @steady
    def card(self, generation_id: str) -> Card:
        """The record with its media and those of its memories, to be shown. Raises NotFound."""
        return cards.card(self.get(generation_id), self._store, self._models)

    @steady
    def explain(self, generation_id: str) -> Generation:
        """Measure, by making it again without them, what its memories did; kept in the record.

        Raises what `replay` raises. What was measured before is not measured again.
        """
        record = self.get(generation_id)
        if any(share.effects for share in record.memories):
            return record
        space = self._space_of(record)
        found = effects(record, self._sources_of(record, space), self._models)
        return self._store.add_effects(generation_id, found)

    @steady
    def replay(self, generation_id: str) -> Mapping[str, bool]:
        """Generate again from the record; says per output id whether the bytes are the same.

        Raises NotFound when there is no such generation, or a memory that it was made from was
        forgotten, and SpaceMismatch under another profile.
        """
        record = self.get(generation_id)
        sources = self._sources_of(record, self._space_of(record))
        condition = neighbours.condition_of(record, sources, self._models.calibration)
        identical = {}
        for output in record.outputs:
            (made,) = make_again(output, [condition], record, self._models)
            content = file_of(record, output, made.media)
            identical[output.id] = hashlib.sha256(content).hexdigest() == output.blob
        return identical

    def _space_of(self, record: Generation) -> Space:
        try:
            space = self._models.space_to_generate([each.modality for each in record.outputs])
        except ModalityUnavailable:
            space = None
        if space is None or key_of(space) != (record.space_id, record.space_fingerprint):
            raise SpaceMismatch(
                f"the generation was made in space {record.space_id} "
                f"({record.space_fingerprint}): start the service with that profile to make it "
                "again",
                recorded={"id": record.space_id, "fingerprint": record.space_fingerprint},
            )
        return space

    def _sources_of(self, record: Generation, space: Space) -> list[neighbours.Source]:
        gone = [share.memory_id for share in record.memories if share.deleted]
        if not gone:
            memories = [self._store.catalog.memory(share.memory_id) for share in record.memories]
            sources = neighbours.load(
                memories, record.query_vector, space, self._store, self._models
            )
            if len(sources) == len(record.memories):
                return sources
        raise NotFound(
            f"generation {record.id} was made from memories that were forgotten since: "
            "it cannot be made again",
            kind="memory",
            memory_ids=gone,
        )
