"""What an evaluation asks about: a sample of a namespace's episodes, decoded, with vectors."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from encoders.base import Modality, Space, Vectors
from encoders.sounds import WHOLE_S, Recording
from memory_service.errors import InvalidMedia, NotFound, StorageFailure, UnsupportedMedia
from memory_service.records import Memory
from memory_service.services.models import Models, key_of
from memory_service.storage.store import Store

MODALITIES: tuple[Modality, ...] = ("image", "text", "audio")  # that can be made and compared
UNSEEN = ("test", "independent")  # values of the metadata field `split`
_NOT_WORDS = re.compile(r"[^\w]+")

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Case:
    """One episode, with the first of its memories of each modality.

    `group`: cases of one group mean the same; when one of them is to be imagined, all are held
    back. `unseen`: whether the models never met its like in training; None: not known.
    """

    id: str
    group: str
    media: Mapping[Modality, Any]
    vectors: Mapping[Modality, Vectors]
    memories: Mapping[Modality, Memory]
    metadata: Mapping[str, Any]
    unseen: bool | None

    @property
    def words(self) -> str:
        return str(self.media.get("text", self.group))


class Cases:
    """The cases, and what is computed of several of them. Indices are places in `all`."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self.all = list(cases)
        names = dict.fromkeys(case.group for case in self.all)
        number = {name: place for place, name in enumerate(names)}
        self.groups: Rows = np.array([number[case.group] for case in self.all], np.int64)

    def __len__(self) -> int:
        return len(self.all)

    def having(self, *modalities: Modality) -> Rows:
        """Places of the cases that have a vector of every one of these."""
        found = [n for n, each in enumerate(self.all) if set(modalities) <= set(each.vectors)]
        return np.array(found, np.int64)

    def vectors(self, modality: Modality, places: Rows | Sequence[int]) -> Vectors:
        """(N, D)."""
        return np.stack([self.all[place].vectors[modality] for place in places])

    def media(self, modality: Modality, places: Rows | Sequence[int]) -> list[Any]:
        return [self.all[place].media[modality] for place in places]

    def one_per_group(self, places: Rows) -> Rows:
        """The first case of each group."""
        _, first = np.unique(self.groups[places], return_index=True)
        return places[np.sort(first)]

    def unseen(self, places: Rows) -> npt.NDArray[np.bool_]:
        return np.array([self.all[place].unseen is True for place in places], bool)

    def draw(self, places: Rows, count: int, random: np.random.Generator) -> Rows:
        """At most `count` of them, those never seen in training first."""
        drawn = random.permutation(places)
        seen = ~self.unseen(drawn)
        return np.sort(drawn[np.argsort(seen, kind="stable")][:count])


def read_cases(
    store: Store,
    models: Models,
    space: Space,
    namespace: str,
    *,
    most: int,
    random: np.random.Generator,
    go_on: Callable[[], None] = lambda: None,
) -> Cases:
    """At most `most` episodes of the namespace, drawn by `random`; what cannot be read is left out.

    Prototypes are left out: what they stand for is asked about.
    """
    rows = store.catalog.select(
        "SELECT id FROM episodes WHERE namespace = ? ORDER BY id", (namespace,)
    )
    ids = [row["id"] for row in rows]
    if len(ids) > most:
        ids = [ids[place] for place in np.sort(random.choice(len(ids), most, replace=False))]
    members: dict[str, list[Memory]] = defaultdict(list)
    for memory in store.catalog.members(ids):
        if memory.consolidated_by is None:
            members[memory.episode_id].append(memory)
    cases = []
    for episode in ids:
        go_on()
        case = _case(episode, members[episode], store, models, space)
        if case.vectors:
            cases.append(case)
    return Cases(cases)


def _case(
    episode: str, members: Sequence[Memory], store: Store, models: Models, space: Space
) -> Case:
    media: dict[Modality, Any] = {}
    vectors: dict[Modality, Vectors] = {}
    read: dict[Modality, Memory] = {}
    for memory in members:
        if memory.modality in media or memory.modality not in MODALITIES:
            continue
        vector = store.catalog.vector(memory.sequence, key_of(space))
        if vector is None:
            continue
        try:
            content = store.blobs.read(memory.blob)
            decoded = models.decode_stored(memory.modality, content, memory_id=memory.id).media
        except (NotFound, StorageFailure, InvalidMedia, UnsupportedMedia):
            continue
        media[memory.modality] = (
            decoded.read(0.0, WHOLE_S) if isinstance(decoded, Recording) else decoded
        )
        vectors[memory.modality], read[memory.modality] = vector, memory
    metadata = members[0].metadata if members else {}
    split = metadata.get("split")
    return Case(
        id=episode,
        group=group_of(metadata, media.get("text"), episode),
        media=media,
        vectors=vectors,
        memories=read,
        metadata=metadata,
        unseen=split in UNSEEN if isinstance(split, str) else None,
    )


def group_of(metadata: Mapping[str, Any], text: str | None, episode: str) -> str:
    """What is the same for cases that mean the same: the metadata field `concept`, or else the
    text's words in lower case, or else the episode alone."""
    concept = metadata.get("concept")
    if isinstance(concept, str) and concept:
        return concept
    words = _NOT_WORDS.sub(" ", (text or "").lower()).strip()
    return words or episode


def value_of(case: Case, field: str) -> str | None:
    """The case's value of a metadata field; of a path, its first part."""
    value = case.metadata.get(field)
    if not isinstance(value, str) or not value:
        return None
    return value.split("/")[0]
