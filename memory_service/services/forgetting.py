"""Forgetting by filter and by namespace, generations, and the receipts of it. Knows no HTTP.

What is many memories is a job: who asked for it waits for a while, and reads the receipt later
where that was not long enough.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from typing import Any

from memory_service import trail
from memory_service.errors import InvalidInput, NotFound, UnexpectedCount
from memory_service.records import PLAIN, Forgotten, Manner, NamespaceCounts, Selection
from memory_service.services import checks
from memory_service.services.jobs import Jobs, Run, Stopped
from memory_service.services.namespaces import Namespaces
from memory_service.services.turns import Turns
from memory_service.storage import census, filters, receipts
from memory_service.storage.removal import Steps
from memory_service.storage.store import Store

KIND = "forget"
LARGE = 1000  # memories, from which on it is a job
MOST_JOBS = 8  # one at a time; so many with those that wait for their turn
PATIENCE_S = 5.0  # for the end of a job, before the answer is that it goes on
# Of a job's result, which those may read who may see the namespace: whether the bytes of a content
# are gone says whether another namespace has the same, and so do these counts.
_OF_ALL = ("blobs", "thumbnails", "quarantined")


class _Following:
    """A forgetting in a job, as who asked for it sees it."""

    def __init__(self) -> None:
        self._begun = threading.Event()
        self._ended = threading.Event()
        self._receipt: Forgotten | None = None
        self._error: Exception | None = None

    def begun(self, receipt: Forgotten) -> None:
        self._receipt = receipt
        self._begun.set()

    def run(self, work: Callable[[], Forgotten]) -> Forgotten:
        try:
            self._receipt = work()
        except Stopped:  # the receipt of the beginning says that it is not complete
            raise
        except Exception as error:
            self._error = error
            raise
        finally:
            self._ended.set()
            self._begun.set()
        return self._receipt

    def receipt(self, patience_s: float) -> Forgotten:
        """The whole one, or what there was at the beginning. Raises what the work raised."""
        self._begun.wait()
        if self._ended.wait(patience_s) and self._error is not None:
            raise self._error
        assert self._receipt is not None
        return self._receipt


class Forgetting:
    """Safe for use from several threads."""

    def __init__(self, store: Store, namespaces: Namespaces, jobs: Jobs) -> None:
        self._store = store
        self._namespaces = namespaces
        self._jobs = jobs
        self._turns = Turns()

    def count(self, selection: Selection) -> int:
        """How many memories `forget` would forget. Raises InvalidInput."""
        return len(self._store.removal.which_match(*_checked(selection)))

    def forget(
        self, selection: Selection, expected: int | None, manner: Manner = PLAIN
    ) -> Forgotten:
        """Forget what is selected, provided that it is `expected` memories, as `count` told. What
        does not match any more when its turn comes stays.

        A receipt that is not `complete` is of a `job` that goes on. Raises InvalidInput,
        UnexpectedCount, and Overloaded while many such jobs wait, with nothing forgotten.
        """
        namespace, modality, filter = _checked(selection)
        if expected is None:
            raise InvalidInput(
                "say in expected how many memories are to be forgotten: dry_run tells how many "
                "there are",
                accepted="whole number",
            )
        removal = self._store.removal
        found = removal.which_match(namespace, modality, filter)
        if len(found) != expected:
            raise UnexpectedCount(
                f"{len(found)} memories would be forgotten, not {expected}: nothing was. Look at "
                "what the filter matches, and say that number",
                found=len(found),
                accepted=expected,
            )

        def work(steps: Steps | None) -> Forgotten:
            return removal.matching(namespace, modality, filter, found, manner, steps)

        return self._forget("filter", namespace, expected, work)

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
        there meanwhile stays. As `forget`, with NotFound."""
        found = self.namespace(name).memories
        if expected not in (None, found):
            raise UnexpectedCount(
                f"namespace {name} has {found} memories, not {expected}: nothing was forgotten",
                found=found,
                accepted=expected,
            )

        def work(steps: Steps | None) -> Forgotten:
            receipt = self._store.removal.namespace(name, manner, steps)
            self._namespaces.configure(name, {})
            return receipt

        return self._forget("namespace", name, found, work)

    def _forget(
        self, what: str, namespace: str, count: int, work: Callable[[Steps | None], Forgotten]
    ) -> Forgotten:
        if count < LARGE:
            return work(None)
        following, asked = _Following(), trail.current()

        def in_job(run: Run) -> Mapping[str, Any]:
            def step(gone: int) -> None:
                run.progress(forgotten=gone, of=count)
                run.go_on()

            def begun(receipt: Forgotten) -> None:
                run.progress(forgotten=0, of=count)
                following.begun(receipt)
                turn.enter_context(self._turns.turn(run.go_on))

            trail.follow(asked)
            with ExitStack() as turn:
                steps = Steps(run.job.id, begun, step)
                return _result(following.run(lambda: work(steps)))

        parameters = {"namespace": namespace, "what": what, "memories": count}
        self._jobs.start(KIND, parameters, in_job, behind_requests=False, most=MOST_JOBS)
        return following.receipt(PATIENCE_S)

    def forget_generation(self, generation_id: str, manner: Manner = PLAIN) -> Forgotten:
        """Forget what was generated, and the record of it; raises NotFound."""
        return self._store.removal.generation(generation_id, manner)

    def receipt(self, receipt_id: str) -> Forgotten:
        """Raises NotFound."""
        return receipts.get(self._store.catalog, receipt_id)

    def receipts(
        self, limit: int, before: str | None = None, namespaces: Collection[str] | None = None
    ) -> list[Forgotten]:
        """The newest first, without their lists: those older than the receipt `before`, of these
        `namespaces`; None: of all."""
        return receipts.latest(self._store.catalog, limit, before, namespaces)


def _result(receipt: Forgotten) -> dict[str, Any]:
    """What the record of a job says of it: where no receipt is kept, that is all."""
    removed = {name: count for name, count in receipt.removed.items() if name not in _OF_ALL}
    return {
        "receipt_id": receipt.id if receipt.kept else None,
        "removed": removed,
        "digest": receipt.digest,
        "clean": receipt.clean,
        "probe": receipt.probe,
    }


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
