"""Pages of evaluations, kept in memory only, for as long as the service runs, and only the latest:
they show what is remembered, and nobody who deletes a memory thinks of a report."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from memory_service.errors import NotFound
from memory_service.services.evaluation.blind import Blind
from memory_service.storage.store import Store

KEPT = 4  # reports


@dataclass(frozen=True)
class Report:
    """`figures` are JSON values; `memory_ids` are of the memories that the page shows."""

    figures: Mapping[str, Any]
    page: str
    memory_ids: frozenset[str]
    blind: Blind | None = None


class Reports:
    """By job. Safe for use from several threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._reports: OrderedDict[str, Report] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, job_id: str, report: Report) -> None:
        with self._lock:
            self._reports[job_id] = report
            while len(self._reports) > KEPT:
                self._reports.popitem(last=False)

    def of(self, job_id: str) -> Report:
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
