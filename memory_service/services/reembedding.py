"""From the stored originals into the spaces of another profile, beside the present ones.

Embed what lacks a vector, batch by batch; prove that nothing was skipped; compare recall; then
switch in one transaction. What is searched stays as it is until then, and the old vectors are kept
until they are dropped. Whatever ends it early, the next run goes on with what is there.
Knows no HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from memory_service.errors import Incomplete, InvalidInput, JobConflict, NothingKept
from memory_service.records import Job
from memory_service.services import embedding_batches, forecast, recall_comparison
from memory_service.services.active import ActiveModels
from memory_service.services.jobs import Jobs, Run
from memory_service.services.models import Models, key_of
from memory_service.services.pace import Pace
from memory_service.services.workload import sizes_of
from memory_service.storage import jobs as job_records
from memory_service.storage.spaces import Role
from memory_service.storage.standby import Targets
from memory_service.storage.store import Store

KIND = "reembed"
NOTHING_KEPT = "nothing was kept: there is no switch to take back"
MOST_LISTED = 1000  # failures in a proof; all are counted


@dataclass(frozen=True)
class Request:
    """`switch=False` stops before the switch. `accept_failures` switches although some memories
    could not be embedded: these are not found by their own content afterwards. `rollback`: only
    where the profile's spaces are those that were kept."""

    profile: str
    dry_run: bool = False
    switch: bool = True
    accept_failures: bool = False
    rollback: bool = False


def targets_of(models: Models) -> Targets:
    """By modality, the spaces that a memory has to have vectors in."""
    return {
        modality: {key_of(space): space.dimension for space in models.spaces(modality)}
        for modality in models.encoders
    }


class Reembedding:
    """Safe for use from several threads; one re-embedding runs at a time."""

    def __init__(
        self,
        store: Store,
        active: ActiveModels,
        jobs: Jobs,
        load: Callable[[str], Models],
        profiles: Collection[str],
    ) -> None:
        self._store = store
        self._standby = store.standby
        self._active = active
        self._jobs = jobs
        self._load = load
        self._profiles = profiles
        self._first = active.models.profile

    def begin(
        self,
        profile: str,
        *,
        dry_run: bool = False,
        switch: bool = True,
        accept_failures: bool = False,
    ) -> Job:
        """Begin in the background; see `Request`. Raises InvalidInput for an unknown profile, and
        JobConflict while another one runs."""
        request = Request(profile, dry_run, switch, accept_failures)
        return self._jobs.start(KIND, *self._checked(request))

    def run(self, request: Request, on_change: Callable[[Job], None] = lambda job: None) -> Job:
        """`begin`, but to the end; the job says how it went."""
        return self._jobs.run(KIND, *self._checked(request), on_change)

    def begin_rollback(self) -> Job:
        """Back to before, while the service goes on: drop an unfinished re-embedding, or go over to
        the profile of the kept vectors again, which embeds what was stored since.

        Raises NothingKept, and JobConflict while a re-embedding runs.
        """
        going_back = _unfinished_rollback(self._store)
        if going_back is None and self._standby.in_role("new"):
            return self._jobs.start(KIND, {"rollback": True}, lambda run: self._drop_new())
        if going_back is None and not self._standby.in_role("old"):
            raise NothingKept(NOTHING_KEPT)
        profile = self._former() if going_back is None else str(going_back.parameters["profile"])
        return self._jobs.start(KIND, *self._checked(Request(profile, rollback=True)))

    def _drop_new(self) -> Mapping[str, Any]:
        return {"dropped": self._standby.drop("new"), "switched": False}

    def _former(self) -> str:
        """The profile that the kept vectors are of, by name."""
        active = self._active.models.profile
        switched = [
            job for job in self._jobs.latest(100, KIND) if (job.result or {}).get("switched")
        ]
        names: list[str | None] = [self._first]
        if switched:
            last = switched[0]
            names = [(last.result or {}).get("former_profile"), last.parameters["profile"], *names]
        for name in names:
            if name and name in self._profiles and name != active:
                return name
        raise NothingKept(
            "the vectors that were kept are of this profile with other weights, or of one that is "
            "not known any more: stop the service and take the switch back on its folder "
            "(memory-service reembed --rollback --data-dir)"
        )

    def _checked(
        self, request: Request
    ) -> tuple[Mapping[str, Any], Callable[[Run], Mapping[str, Any]]]:
        if request.profile not in self._profiles:
            raise InvalidInput(
                f"no profile {request.profile!r}; there are: {', '.join(sorted(self._profiles))}",
                found=request.profile,
                accepted=sorted(self._profiles),
            )
        parameters = asdict(request)
        if not request.rollback:  # as in the records of jobs before there was one
            del parameters["rollback"]
        return parameters, lambda run: self._work(request, run)

    def _work(self, request: Request, run: Run) -> Mapping[str, Any]:
        run.progress(phase="loading")
        active = self._active.models
        models = active if request.profile == active.profile else self._load(request.profile)
        try:
            return self._embed(request, run, models)
        finally:
            if models is not self._active.models:  # no switch
                models.close()

    def _embed(self, request: Request, run: Run, models: Models) -> Mapping[str, Any]:
        targets = targets_of(models)
        if request.rollback:
            self._require_kept(models, targets)
        self._require_no_other(targets)
        if request.dry_run:
            run.progress(phase="measuring")
            return {"forecast": forecast.measure(self._store, models, targets, run.go_on)}
        if not run.job.progress.get("started"):  # not one that is taken up: try again what failed
            self._standby.forget_failures()
        with self._filling(models, targets):
            run.progress(phase="embedding", started=True)
            return self._fill_and_switch(request, run, models, targets)

    def _require_kept(self, models: Models, targets: Targets) -> None:
        """Other weights of the same profile would be embedded into from the beginning."""
        kept = self._standby.in_role("old") or self._standby.in_role("new")
        for modality, keys in kept.items():
            if foreign := sorted(keys - set(targets.get(modality, {}))):
                raise NothingKept(
                    f"the {modality} vectors that were kept are of space {foreign[0][0]} "
                    f"({foreign[0][1]}), which profile {models.profile} does not encode into any "
                    "more: stop the service and take the switch back on its folder "
                    "(memory-service reembed --rollback --data-dir)"
                )

    def _require_no_other(self, targets: Targets) -> None:
        """Two half-filled spaces would need twice the disk, and one of them would be forgotten."""
        for modality, keys in self._standby.in_role("new").items():
            for space_id, fingerprint in keys - set(targets.get(modality, {})):
                raise JobConflict(
                    f"a re-embedding of {modality} into space {space_id} ({fingerprint}) is "
                    "unfinished: go on with it, or drop it (memory-service reembed --rollback)",
                    space=space_id,
                    fingerprint=fingerprint,
                )

    @contextmanager
    def _filling(self, models: Models, targets: Targets) -> Iterator[None]:
        self._standby.open(targets, targets_of(self._active.models))
        if models is not self._active.models:
            self._active.embed_also(models)
        try:
            yield
        finally:
            if models is not self._active.models:
                self._active.embed_also(None)
            self._standby.close()

    def _fill_and_switch(
        self, request: Request, run: Run, models: Models, targets: Targets
    ) -> Mapping[str, Any]:
        sizes = {name: sizes_of(self._store, name, targets, run.go_on) for name in targets}
        pace = Pace(self._standby.coverage(targets), sizes)
        result: dict[str, Any] = {}
        while True:
            embedding_batches.embed_lacking(self._store, models, targets, run, pace)
            if not result:
                run.progress(phase="comparing", eta_s=None)
                result["recall"] = recall_comparison.compare(self._store, targets, run.go_on)
            with self._active.alone(), self._store.catalog.write_lock:
                result["proof"] = proof = prove(self._store, targets)
                if proof["missing"]:  # stored in the meantime, and not embedded into both
                    continue
                self._require_complete(request, proof, result)
                if not request.switch:
                    return {**result, "switched": False}
                former = self._active.models.profile
                switched = {**result, "switched": True, "former_profile": former}
                done = run.finished("succeeded", result=switched)
                self._standby.switch(targets, done)
                self._active.become(models)
                return done.result or {}

    def _require_complete(
        self, request: Request, proof: Mapping[str, Any], result: Mapping[str, Any]
    ) -> None:
        if not request.switch:
            return
        if proof["failed"] and not request.accept_failures:
            raise Incomplete(
                f"{proof['failed']} memories could not be embedded, so nothing was switched; the "
                "vectors made so far are kept. Mend what the proof lists and run it again, or "
                "accept the failures (--accept-failures)",
                **result,
            )
        if proof["not_indexed"]:
            raise Incomplete("vectors are missing from the index: restart and try again", **result)

    def drop(self, role: Role) -> int:
        """Delete the vectors kept from before the last switch (`old`), or those of an unfinished
        re-embedding (`new`); returns how many. Raises JobConflict while one runs."""
        with self._jobs.none(KIND):
            return self._standby.drop(role)

    def spaces(self) -> list[Mapping[str, Any]]:
        """Every space that a modality has vectors in, and its role: active, new or old."""
        return [
            {
                "modality": modality,
                "space": space_id,
                "fingerprint": fingerprint,
                "role": role or "active",
                "vectors": vectors,
            }
            for modality, space_id, fingerprint, role, vectors in self._standby.census()
        ]


def rollback(store: Store) -> Mapping[str, Any]:
    """Back to before: drop an unfinished re-embedding, or search again what was kept of the last
    switch. Needs no model.

    Raises Incomplete when memories were stored since, which lack a vector of the old space, and
    NothingKept when there is nothing to go back to.
    """
    going_back = _unfinished_rollback(store) is not None
    if store.standby.in_role("new") and not going_back:
        return {"dropped": store.standby.drop("new"), "switched": False}
    old = store.standby.in_role("old") or store.standby.in_role("new")
    if not old:
        raise NothingKept(NOTHING_KEPT)
    targets: Targets = {modality: dict.fromkeys(keys, 0) for modality, keys in old.items()}
    lacking = {
        modality: coverage.memories - coverage.embedded
        for modality, coverage in store.standby.coverage(targets).items()
        if modality in targets
    }
    if any(lacking.values()):
        names = ", ".join(sorted({key[0] for keys in old.values() for key in keys}))
        raise Incomplete(
            f"{sum(lacking.values())} memories have no vector in the kept space ({names}), most "
            "likely since they were stored after the switch: re-embed into that profile instead, "
            "which makes only what is missing",
            lacking=lacking,
        )
    store.standby.switch(targets)
    return {"dropped": 0, "switched": True}


def _unfinished_rollback(store: Store) -> Job | None:
    """Its kept vectors are in the role `new`: they must not be taken for a re-embedding's."""
    jobs = job_records.latest(store.catalog, 100, KIND)
    job = next((each for each in jobs if not each.parameters.get("dry_run")), None)
    if job is None or job.state == "succeeded" or not store.standby.in_role("new"):
        return None
    return job if job.parameters.get("rollback") and "profile" in job.parameters else None


def prove(store: Store, targets: Targets) -> Mapping[str, Any]:
    """Counted from the catalog, not from what was counted while embedding."""
    coverage = store.standby.coverage(targets)
    vectors = store.standby.vectors(targets)
    unequal = {
        modality: {"catalog": in_catalog, "index": in_faiss}
        for modality, (in_catalog, in_faiss) in vectors.items()
        if in_catalog != in_faiss
    }
    missing = sum(each.missing for each in coverage.values())
    failed = sum(each.failed for each in coverage.values())
    return {
        "modalities": {
            modality: {**asdict(each), "missing": each.missing}
            for modality, each in coverage.items()
        },
        "vectors": {modality: count for modality, (count, _) in vectors.items()},
        "not_indexed": unequal,
        "missing": missing,
        "failed": failed,
        "failures": [asdict(each) for each in store.standby.failures(MOST_LISTED)],
        "complete": not (missing or failed or unequal),
    }
