"""Evaluates a namespace as a job: reads what is stored, keeps nothing of what it makes there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np

from encoders.base import Modality, Space
from generator.base import Generator
from memory_service.clock import Clock
from memory_service.errors import InvalidInput, JobConflict
from memory_service.records import Job
from memory_service.services.active import ActiveModels, Service
from memory_service.services.evaluation import efficiency, page, targets
from memory_service.services.evaluation.cases import Cases, read_cases
from memory_service.services.evaluation.lab import FEWEST, Lab
from memory_service.services.evaluation.measuring import machine, measure, rounded
from memory_service.services.evaluation.reports import Report, Reports
from memory_service.services.evaluation.request import DEPTHS, MOST_ITEMS, Request, checked
from memory_service.services.jobs import Jobs, Run
from memory_service.services.models import Models
from memory_service.services.retrieval import Retriever
from memory_service.settings import Settings
from memory_service.storage.store import Store

KIND = "evaluate"

# Generators by modality, from a folder of weights for a space; raises ValueError.
LoadWeights = Callable[[str, Space], Mapping[Modality, Generator]]


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
        self._reports = Reports(store)

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
        return self._jobs.start(KIND, asdict(request), self._work(checked(request)))

    def run(self, request: Request, on_change: Callable[[Job], None] = lambda job: None) -> Job:
        """`begin`, but to the end; the job says how it went."""
        return self._jobs.run(KIND, asdict(request), self._work(checked(request)), on_change)

    def report(self, job_id: str) -> Report:
        """Raises NotFound when there is none, or none any more."""
        return self._reports.of(job_id)

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
        self._reports.keep(run.job.id, report)
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
