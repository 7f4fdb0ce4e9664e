"""Vectors of what is given, as they would be stored, without storing anything. Knows no HTTP."""

from __future__ import annotations

from collections.abc import Sequence

from memory_service.errors import InvalidInput, TooLarge
from memory_service.records import Embedded, Upload
from memory_service.services import checks
from memory_service.services.active import ActiveModels, Service, steady
from memory_service.services.models import key_of
from memory_service.settings import Settings


class Encoding(Service):
    """Safe for use from several threads."""

    def __init__(self, active: ActiveModels, settings: Settings) -> None:
        self._active = active
        self._settings = settings

    @steady
    def embed(self, uploads: Sequence[Upload], space: str | None = None) -> list[Embedded]:
        """The vector of each, in their order: in the space of this id, by default in the home of
        its modality. Those of one modality are encoded together.

        Raises InvalidInput, UnsupportedMedia, InvalidMedia, TooLarge, ModalityUnavailable or
        Overloaded.
        """
        most = self._settings.max_query_parts
        checks.not_empty(uploads, "items to embed", most)
        decoded = []
        for number, upload in enumerate(uploads):
            modality = checks.modality(upload.modality, self._models.encoders)
            size, largest = len(upload.content), self._settings.max_upload_bytes
            if size > largest:
                raise TooLarge(
                    f"item {number} has {size} bytes, at most {largest} are accepted",
                    found=size,
                    accepted=largest,
                    item=number,
                )
            self._require_space(modality, space, number)
            decoded.append(self._models.decode(modality, upload.content, item=number))
        made = self._active.embed(decoded, [None] * len(decoded))
        found = []
        for media, embeddings in zip(decoded, made, strict=True):
            spaces = self._models.spaces(media.modality)
            wanted = next(each for each in spaces if space in (None, each.id))
            # Of a long sound the first is of the whole.
            vector = next(each.vector for each in embeddings if each.space == key_of(wanted))
            found.append(Embedded(media.modality, media.media_type, *key_of(wanted), vector))
        return found

    def _require_space(self, modality: str, space: str | None, number: int) -> None:
        known = [each.id for each in self._models.spaces(modality)]
        if space is not None and space not in known:
            raise InvalidInput(
                f"item {number}: {modality} has no space {space[:80]!r}; it has: "
                f"{', '.join(known)}",
                found=space[:80],
                accepted=known,
                item=number,
            )
