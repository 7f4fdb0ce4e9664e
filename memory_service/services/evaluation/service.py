"""Evaluates a namespace as a job: reads what is stored, keeps nothing of what it makes there.

Pages are kept in memory only, for as long as the service runs, and only the latest: they show
what is remembered, and nobody who deletes a memory thinks of a report.
"""

from __future__ import annotations

import os
import platform
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from encoders.base import Modality, Space
from generator.base import Generator
from memory_service.clock import Clock
from memory_service.errors import InvalidInput, JobConflict, ModalityUnavailable, NotFound
from memory_service.records import Job
from memory_service.services import checks
from memory_service.services.active import ActiveModels, Service
from memory_service.services.evaluation import (
    blind,
    consistency,
    efficiency,
    generalisation,
    judges,
    ladder,
    ladder_table,
    memorisation,
    page,
    recall,
    robustness,
    samples,
    scoring,
    swap,
    targets,
)
from memory_service.services.evaluation.blind import Blind
from memory_service.services.evaluation.cases import MODALITIES, Cases, read_cases
from memory_service.services.evaluation.lab import FEWEST, FULL, QUICK, Budget, Lab
from memory_service.services.jobs import Jobs, Run
from memory_service.services.models import Models
from memory_service.services.retrieval import Retriever
from memory_service.settings import Settings
from memory_service.storage.store import Store

KIND = "evaluate"
KEPT = 4  # reports
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


# Generators by modality, from a folder of weights for a space; raises ValueError.
LoadWeights = Callable[[str, Space], Mapping[Modality, Generator]]


@dataclass(frozen=True)
class Report:
    """`figures` are JSON values; `memory_ids` are of the memories that the page shows."""

    figures: Mapping[str, Any]
    page: str
    memory_ids: frozenset[str]
    blind: Blind | None = None


class Evaluation(Service):
    """Safe for use from several threads; one evaluation runs at a time."""

    def __init__(
        self,
        store: Store,
        active: ActiveModels,
        retriever: Retriever,
        jobs: Jobs,
        settings: Settings,
        clock: Clock,
        load_weights: LoadWeights,
    ) -> None:
        self._store = store
        self._active = active
        self._retriever = retriever
        self._jobs = jobs
        self._settings = settings
        self._clock = clock
        self._load_weights = load_weights
        self._reports: OrderedDict[str, Report] = OrderedDict()  # by job
        self._lock = threading.Lock()

    def begin(
        self,
        *,
        namespace: str = Request.namespace,
        depth: str = Request.depth,
        max_items: int = Request.max_items,
        seed: int = Request.seed,
        field: str = Request.field,
        queries: int | None = Request.queries,
    ) -> Job:
        """Begin in the background; see `Request`. Raises InvalidInput, ModalityUnavailable where
        the libraries are missing, and JobConflict while another one runs."""
        request = Request(namespace, depth, max_items, seed, field, queries=queries)
        return self._jobs.start(KIND, asdict(request), self._work(_checked(request)))

    def run(self, request: Request, on_change: Callable[[Job], None] = lambda job: None) -> Job:
        """`begin`, but to the end; the job says how it went."""
        return self._jobs.run(KIND, asdict(request), self._work(_checked(request)), on_change)

    def report(self, job_id: str) -> Report:
        """Raises NotFound when there is none, or none any more."""
        with self._lock:
            report = self._reports.get(job_id)
            if report is not None and not self._all_there(report):
                del self._reports[job_id]
                raise NotFound(
                    f"the report of job {job_id} showed memories that were forgotten since, and is "
                    "gone: evaluate again",
                    kind="report",
                )
        if report is None:
            raise NotFound(
                f"there is no report of job {job_id}: the latest {KEPT} are kept until the service "
                "stops; the figures are in the job's result",
                kind="report",
            )
        return report

    def _all_there(self, report: Report) -> bool:
        for memory_id in report.memory_ids:
            try:
                self._store.catalog.memory(memory_id)
            except NotFound:
                return False
        return True

    def _work(self, request: Request) -> Callable[[Run], Mapping[str, Any]]:
        return lambda run: self._evaluate(request, run)

    def _evaluate(self, request: Request, run: Run) -> Mapping[str, Any]:
        models = self._models
        space = models.generator_space or _shared_space(models)
        enter = _stepping(run, self._active, models)
        random = np.random.default_rng(request.seed)
        with enter("reading"):
            cases = self._cases(request.namespace, request, models, space, random, run)
            training = self._training(request, models, space, random, run)
        budget = DEPTHS[request.depth].within(len(cases))
        if request.queries is not None:
            budget = budget.asking(request.queries, len(cases))
        lab = Lab(models, space, cases, budget, request.seed, enter, self._untaught(request, space))
        started, at = time.perf_counter(), self._clock.now()
        figures, seen = measure(lab, request, training)
        timed = self._efficiency(lab, request)
        figures["efficiency"] = rounded(
            {
                **timed,
                "targets": targets.fast_enough(timed["latency"]),
                "machine": machine(),
                "evaluation_s": time.perf_counter() - started,
                "at": at,
            }
        )
        with enter("page"):
            written = page.render_page(figures, seen.sheets, seen.blind)
        report = Report(figures, written, seen.memory_ids, seen.blind)
        with self._lock:
            self._reports[run.job.id] = report
            while len(self._reports) > KEPT:
                self._reports.popitem(last=False)
        return {"figures": figures, "report": f"/evaluate/{run.job.id}/report"}

    def _untaught(self, request: Request, space: Space) -> Mapping[Modality, Generator]:
        if request.without_memory is None:
            return {}
        try:
            return self._load_weights(request.without_memory, space)
        except (OSError, ValueError) as error:
            raise InvalidInput(
                f"{request.without_memory} has no weights of generators: {error}",
                found=request.without_memory,
            ) from error

    def _cases(
        self,
        namespace: str,
        request: Request,
        models: Models,
        space: Space,
        random: np.random.Generator,
        run: Run,
    ) -> Cases:
        cases = read_cases(
            self._store,
            models,
            space,
            namespace,
            most=request.max_items,
            random=random,
            go_on=run.go_on,
        )
        if len(cases) < FEWEST:
            raise InvalidInput(
                f"namespace {namespace!r} has {len(cases)} episodes with vectors of the active "
                f"profile; an evaluation needs {FEWEST} at least",
                found=len(cases),
                accepted=[FEWEST, MOST_ITEMS],
            )
        return cases

    def _training(
        self,
        request: Request,
        models: Models,
        space: Space,
        random: np.random.Generator,
        run: Run,
    ) -> Cases | None:
        if request.training is None:
            return None
        read = read_cases(
            self._store,
            models,
            space,
            request.training,
            most=MOST_ITEMS,
            random=random,
            go_on=run.go_on,
        )
        return read if len(read) else None

    def _efficiency(self, lab: Lab, request: Request) -> dict[str, Any]:
        desk = efficiency.Desk(self._store, self._retriever, self._settings, request.namespace)
        return {
            "latency": efficiency.latency(lab, desk),
            "encoders": efficiency.encoders(lab),
            "training": efficiency.training(lab),
            "threads": self._settings.threads,
        }


@dataclass(frozen=True)
class Seen:
    """What is to be looked at."""

    sheets: list[samples.Sheet]
    blind: Blind | None

    @property
    def memory_ids(self) -> frozenset[str]:
        return samples.all_ids(self.sheets) | (self.blind.memory_ids if self.blind else frozenset())


def measure(lab: Lab, request: Request, training: Cases | None) -> tuple[dict[str, Any], Seen]:
    """All but times: the same store, request and machine give the same figures."""
    with lab.step("describing"):
        scorers = scoring.scorers(lab)
    climbs = [ladder.climb(lab, task, scorers[task.output]) for task in lab.tasks()]
    known = training or Cases([case for case in lab.cases.all if case.unseen is False])
    swapped = swap.swap(lab)
    swaps = swap.table(lab, swapped)
    figures = {
        "about": about(lab, request),
        "targets": targets.judged(lab, climbs)
        + [targets.swapped(row["share"]) for row in swaps[:1]],
        "order": targets.order(lab, climbs),
        "recall": recall.recall(lab),
        "ladders": [ladder_table.table(lab, climb) for climb in climbs],
        "swap": swaps,
        "memorisation": memorisation.memorisation(lab, climbs, known if len(known) else None),
        "robustness": robustness.curves(lab),
        "dropped": robustness.dropped(lab, scorers),
        "consistency": consistency.consistency(lab, scorers),
        "cross_validation": generalisation.cross_validation(lab),
        "transfer": generalisation.transfer(lab, request.field),
        "classification": generalisation.classification(lab, request.field),
        "field": request.field,
    }
    sheets = [samples.sheet(lab, climb) for climb in climbs]
    exchanged = samples.swap_sheet(lab, swapped)
    return rounded(figures), Seen(
        [*sheets, *([] if exchanged is None else [exchanged])], blind.blind(lab, climbs)
    )


def rounded(value: Any) -> Any:
    """All numbers to five decimals: less than any interval, and the same on every reading."""
    if isinstance(value, float):
        return round(value, 5)
    if isinstance(value, Mapping):
        return {name: rounded(each) for name, each in value.items()}
    return [rounded(each) for each in value] if isinstance(value, list | tuple) else value


def about(lab: Lab, request: Request) -> dict[str, Any]:
    """What was evaluated, and how much of it."""
    cases, models = lab.cases, lab.models
    unseen = [case.unseen for case in cases.all]
    return {
        **asdict(request),
        "episodes": len(cases),
        "items": {m: len(cases.having(m)) for m in MODALITIES},
        "meanings": len(np.unique(cases.groups)),
        "unseen": None if all(each is None for each in unseen) else unseen.count(True),
        "profile": models.profile,
        "space": {"id": lab.space.id, "fingerprint": lab.space.fingerprint},
        "generators": {
            m: {"name": g.name, "fingerprint": g.fingerprint}
            for m in MODALITIES
            if (g := lab.generator(m)) is not None
        },
        "without_memory": {m: g.fingerprint for m, g in lab.without_memory.items()} or None,
        "budget": asdict(lab.budget),
        "judges": {
            "form": dict(judges.FORM),
            "meaning": judges.MEANING if judges.sees_meaning() else None,
        },
    }


def machine() -> dict[str, Any]:
    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }


def _checked(request: Request) -> Request:
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
    from importlib.util import find_spec

    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ModalityUnavailable(
            f"an evaluation needs {' and '.join(missing)}: pip install 'simmim[evaluation]'",
            found=missing,
        )


def _shared_space(models: Models) -> Space:
    """Of a profile without generators: the space of most of the modalities."""
    spaces = [encoder.space for encoder in models.all_encoders()]
    return max(spaces, key=spaces.count)


def _stepping(run: Run, active: ActiveModels, models: Models) -> Callable[[str], Any]:
    """Enters a step: tells of it, ends when asked to, and keeps the models from being replaced
    only for as long as one step takes."""
    done = 0

    @contextmanager
    def enter(label: str) -> Iterator[None]:
        nonlocal done
        run.go_on()
        done += 1
        run.progress(phase=label, steps=done)
        with active.using():
            if active.models is not models:
                raise JobConflict("the profile was changed while it was evaluated: begin again")
            yield

    return enter
