"""Near-duplicates become one prototype each: what is much alike takes one place in a ranking.

Members are neither lost nor changed: they are left out of rankings while their prototype is there,
and it leads to the episodes of all of them. Knows no HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from memory_service.clock import Clock
from memory_service.errors import InvalidInput, NotFound, told
from memory_service.ids import new_id
from memory_service.records import Job, Memory
from memory_service.services import checks
from memory_service.services.active import ActiveModels
from memory_service.services.jobs import Jobs, Run
from memory_service.services.models import key_of
from memory_service.services.recalls import Recalls
from memory_service.storage import lineage
from memory_service.storage.prototypes import Candidate, Group, mean
from memory_service.storage.spaces import SpaceKey
from memory_service.storage.store import Store
from memory_service.storage.vectors import SubMemory
from memory_service.strength import Trail, strength

KIND = "consolidate"
# Cosines from which two memories are near-duplicates: above those of nearly all different items of
# the sample, below those of most altered copies, by profile bundled: see docs/decisions.md.
THRESHOLDS = {"image": 0.95, "text": 0.98, "audio": 0.98}
OTHER_THRESHOLD = 0.98
ROUNDING = 1e-5  # equal vectors may have a cosine of .999999
INDEX_ROUNDING = 2e-3  # the index keeps fp16; what it finds is compared again
FIRST_LOOK = 32  # neighbours; as long as all of them are near, twice as many
MOST_MEMBERS = 1024
PAGE = 256
MOST_LISTED = 1000  # groups in a result; all are counted

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Request:
    """None: all namespaces, all modalities, the default of each modality."""

    namespace: str | None = None
    modalities: Sequence[str] | None = None
    threshold: float | None = None
    dry_run: bool = False


@dataclass(frozen=True)
class _Place:
    """Where near-duplicates are looked for."""

    namespace: str
    modality: str
    space: SpaceKey
    threshold: float


class Consolidation:
    """Safe for use from several threads; one consolidation runs at a time."""

    def __init__(
        self, store: Store, active: ActiveModels, jobs: Jobs, recalls: Recalls, clock: Clock
    ) -> None:
        self._store = store
        self._active = active
        self._jobs = jobs
        self._recalls = recalls
        self._clock = clock

    def begin(
        self,
        *,
        namespace: str | None = None,
        modalities: Sequence[str] | None = None,
        threshold: float | None = None,
        dry_run: bool = False,
    ) -> Job:
        """Begin in the background; see `Request`. Raises InvalidInput, ModalityUnavailable, and
        JobConflict while another one runs."""
        request = Request(namespace, modalities, threshold, dry_run)
        return self._jobs.start(KIND, *self._checked(request))

    def run(self, request: Request) -> Job:
        """`begin`, but to the end; the job says how it went."""
        return self._jobs.run(KIND, *self._checked(request))

    def _checked(
        self, request: Request
    ) -> tuple[Mapping[str, Any], Callable[[Run], Mapping[str, Any]]]:
        """The parameters and the work of the job."""
        if request.namespace is not None:
            checks.namespace(request.namespace)
        if request.modalities is not None:
            known = checks.modalities(request.modalities, self._active.models.encoders)
            request = replace(request, modalities=list(known))  # as it comes back from JSON
        threshold = request.threshold
        if threshold is not None and not 0.0 < threshold <= 1.0:  # NaN, too
            raise InvalidInput(
                "threshold must be a cosine above 0 and at most 1",
                found=told(threshold),
                accepted=[0, 1],
            )
        return asdict(request), lambda run: self._work(request, run)

    def _work(self, request: Request, run: Run) -> Mapping[str, Any]:
        listed: list[Mapping[str, Any]] = []
        counts = {"seen": 0, "groups": 0, "members": 0}
        places = list(self._places(request))
        total = sum(self._store.prototypes.count(each.namespace, each.modality) for each in places)
        run.progress(phase="grouping", memories=total, **counts)
        for place in places:
            taken: set[int] = set()  # by groups of this run, which a dry run does not write
            for seed in self._seeds(place, counts):
                run.go_on()
                if counts["seen"] % PAGE == 0:
                    run.progress(**counts)
                if seed.sequence in taken:
                    continue
                with self._active.using():
                    found = self._group(place, seed, taken, run.job.id, request.dry_run)
                if found is None:
                    continue
                taken.update(found["sequences"])
                counts["groups"] += 1
                counts["members"] += len(found["members"])
                if len(listed) < MOST_LISTED:
                    listed.append({k: v for k, v in found.items() if k != "sequences"})
                run.progress(**counts)
        if not request.dry_run:  # with what the job wrote before it was taken up
            counts["groups"], counts["members"] = lineage.sizes(self._store.catalog, run.job.id)
        return {**counts, "listed": listed, "dry_run": request.dry_run}

    def _places(self, request: Request) -> Iterator[_Place]:
        models = self._active.models
        wanted = request.modalities or tuple(models.encoders)
        spaces = {modality: key_of(models.space(modality)) for modality in wanted}
        for each in self._store.catalog.stats():
            if request.namespace not in (None, each.namespace) or each.modality not in spaces:
                continue
            space = spaces[each.modality]
            if each.space_id == space[0] and space in self._store.spaces(each.modality):
                default = THRESHOLDS.get(each.modality, OTHER_THRESHOLD)
                threshold = default if request.threshold is None else request.threshold
                yield _Place(each.namespace, each.modality, space, threshold)

    def _seeds(self, place: _Place, counts: dict[str, int]) -> Iterator[Candidate]:
        after = 0
        where = (place.namespace, place.modality, place.space)
        while page := self._store.prototypes.single(*where, after, PAGE):
            after = page[-1].sequence
            for seed in page:
                counts["seen"] += 1
                yield seed

    def _group(
        self, place: _Place, seed: Candidate, taken: set[int], job_id: str, dry_run: bool
    ) -> Mapping[str, Any] | None:
        """Write the group that the seed begins or joins, and tell of it; None when it is alone."""
        near = self._near(place, seed)
        joined = self._joined(place, seed, near)
        base = list(joined[1].values()) if joined else []
        single = [each for each in near if each.prototype is None and each.sequence not in taken]
        chosen = complete([*base, seed], single, place.threshold)
        if len(chosen) < 2:
            return None
        group = self._assembled(chosen, joined[0] if joined else None, job_id)
        if group is None:
            return None
        made = None if dry_run else self._store.prototypes.add(group)
        if made is None and not dry_run:
            return None  # something was forgotten meanwhile
        memories = self._store.catalog.memories(sequence for sequence, _ in group.members)
        return {
            "prototype_id": None if made is None else made.id,
            "namespace": place.namespace,
            "modality": place.modality,
            "members": [
                memories[sequence].id for sequence, _ in group.members if sequence in memories
            ],
            "least_cosine": min(cosine for _, cosine in group.members),
            "sequences": [sequence for sequence, _ in group.members],
        }

    def _near(self, place: _Place, seed: Candidate) -> list[Candidate]:
        """The other candidates that are near-duplicates of the seed, the nearest first."""
        index = self._store.index(SubMemory(place.namespace, place.modality, *place.space))
        if index is None:
            return []
        look = FIRST_LOOK
        while True:
            found = index.nearest(seed.vector, look)
            near = found.cosines >= place.threshold - INDEX_ROUNDING
            if not near.all() or len(near) < look or look >= MOST_MEMBERS:
                break
            look *= 2
        candidates = self._store.prototypes.candidates(found.sequences[near], place.space)
        candidates.pop(seed.sequence, None)
        cosines = {each.sequence: float(each.vector @ seed.vector) for each in candidates.values()}
        return sorted(
            (
                each
                for each in candidates.values()
                if cosines[each.sequence] >= place.threshold - ROUNDING
            ),
            key=lambda each: (-cosines[each.sequence], each.sequence),
        )

    def _joined(
        self, place: _Place, seed: Candidate, near: Sequence[Candidate]
    ) -> tuple[int, dict[int, Candidate]] | None:
        """The earlier prototype, and its members, all of which the seed is a near-duplicate of."""
        for prototype in dict.fromkeys(each.prototype for each in near):
            if prototype is None:
                continue
            members = self._store.prototypes.members(prototype, place.space)
            if members and complete(list(members.values()), [seed], place.threshold)[-1] is seed:
                return prototype, members
        return None

    def _assembled(
        self, chosen: Sequence[Candidate], replaced: int | None, job_id: str
    ) -> Group | None:
        chosen = sorted(chosen, key=lambda each: each.sequence)  # as they were stored
        vectors = np.stack([each.vector for each in chosen])
        center = mean(vectors)
        cosines = np.clip(vectors @ center, -1.0, 1.0)
        wanted = [each.sequence for each in chosen] + ([] if replaced is None else [replaced])
        memories = self._store.catalog.memories(wanted)
        if len(memories) < len(wanted):
            return None  # forgotten, or expired, meanwhile
        medoid = memories[chosen[int(cosines.argmax())].sequence]
        own = [memories[each.sequence] for each in chosen]
        old = None if replaced is None else memories[replaced]
        return Group(
            prototype=_record(medoid, own, job_id),
            members=tuple(
                (each.sequence, float(cosine)) for each, cosine in zip(chosen, cosines, strict=True)
            ),
            medoid=medoid.sequence,
            trail=self._trail(chosen, old, medoid.namespace),
            replaced=old,
        )

    def _trail(self, chosen: Sequence[Candidate], old: Memory | None, namespace: str) -> Trail:
        """As strong as all encounters together; those of members are in an earlier prototype's."""
        now = self._clock.now()
        fresh = [each.sequence for each in chosen if old is None or each.prototype is None]
        found = self._recalls.trails([*fresh, *([] if old is None else [old.sequence])])
        trails = [trail for trail, _ in found.values()]
        half_life_s = self._recalls.half_life_s(namespace)
        times = [each.recalled_at for each in trails if each.recalled_at is not None]
        return Trail(
            base=sum(strength(each, now, half_life_s) for each in trails),
            since=now,
            recalls=sum(each.recalls for each in trails),
            recalled_at=max(times, default=None),
        )

    def undo(self, name: str) -> tuple[str, ...]:
        """Take apart the prototypes that a job made, or the one of this id; returns their ids.

        Their members are ranked again. Raises NotFound, and JobConflict while a job runs.
        """
        with self._jobs.none(KIND):
            found = lineage.made_by(self._store.catalog, name)
            if not found and self._job_kind(name) != KIND:
                raise NotFound(
                    f"there is no prototype, and no consolidation, {name!r}",
                    kind="prototype",
                    id=name,
                )
            for first in range(0, len(found), PAGE):
                self._store.removal.prototypes(found[first : first + PAGE])
            return tuple(memory.id for memory in found)

    def _job_kind(self, name: str) -> str | None:
        try:
            return self._jobs.get(name).kind
        except NotFound:
            return None


def complete(
    chosen: Sequence[Candidate], more: Sequence[Candidate], threshold: float
) -> list[Candidate]:
    """Complete linkage, greedily: each of `more` joins that is near to all who are in by then.

    Never a chain, in which the first and the last have little in common.
    """
    group = list(chosen)
    vectors: list[npt.NDArray[np.float32]] = [each.vector for each in group]
    for each in more:
        if len(group) >= MOST_MEMBERS:
            break
        if float(np.min(np.stack(vectors) @ each.vector)) >= threshold - ROUNDING:
            group.append(each)
            vectors.append(each.vector)
    return group


def _record(medoid: Memory, members: Sequence[Memory], job_id: str) -> Memory:
    """Content and metadata of the medoid; as new as the newest, and gone with the first to go."""
    expiries = [each.expires_at for each in members if each.expires_at is not None]
    return Memory(
        id=new_id(),
        sequence=0,  # given by the catalog
        namespace=medoid.namespace,
        episode_id=medoid.episode_id,
        modality=medoid.modality,
        media_type=medoid.media_type,
        blob=medoid.blob,
        size_bytes=medoid.size_bytes,
        metadata=medoid.metadata,
        created_at=max(each.created_at for each in members),
        text=medoid.text,
        expires_at=min(expiries, default=None),
        consolidated_by=job_id,
    )
