"""Memories leave the results of jobs, of which a deletion reads those alone that name them."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from memory_service.ids import new_id
from memory_service.records import Job
from memory_service.storage import jobs
from memory_service.storage.catalog import Catalog

A, B, C = (new_id() for _ in range(3))


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    catalog = Catalog(tmp_path / "catalog.sqlite3")
    yield catalog
    catalog.close()


def write(catalog: Catalog, name: str, when: float, *ids: str) -> None:
    result = {"listed": [{"memory_id": each} for each in ids]}
    with catalog.transaction("writing a job") as connection:
        jobs.write(connection, Job(name, "reembed", "succeeded", 1, when, {}, result=result))


def forget(catalog: Catalog, mentions: jobs.Mentions, *ids: str) -> tuple[int, int]:
    """How many entries went, and how many results were read."""
    read: list[str] = []

    def traced(statement: str) -> None:
        if statement.startswith("SELECT result, error"):
            read.append(statement)

    with catalog.transaction("deleting") as connection:
        connection.set_trace_callback(traced)
        taken = mentions.forget(connection, ids)
        connection.set_trace_callback(None)
    return taken, len(read)


def listed(catalog: Catalog, name: str) -> list[str]:
    result: Any = jobs.get(catalog, name).result
    return [each["memory_id"] for each in result["listed"]]


def test_results_that_name_none_are_read_once(catalog: Catalog) -> None:
    mentions = jobs.Mentions()
    for number in range(3):
        write(catalog, f"j{number}", 1, A)
    assert forget(catalog, mentions, B) == (0, 3)
    assert forget(catalog, mentions, C) == (0, 0)
    write(catalog, "j1", 2, A, C, B)
    assert forget(catalog, mentions, C)[0] == 1
    assert listed(catalog, "j1") == [A, B]
    assert forget(catalog, mentions, A, B)[0] == 4
    assert listed(catalog, "j0") == listed(catalog, "j1") == []


def test_a_transaction_that_fails_forgets_nothing(catalog: Catalog) -> None:
    mentions = jobs.Mentions()
    write(catalog, "j", 1, A, B)
    with suppress(RuntimeError), catalog.transaction("deleting") as connection:
        assert mentions.forget(connection, [A]) == 1
        raise RuntimeError
    assert listed(catalog, "j") == [A, B]
    assert forget(catalog, mentions, A)[0] == 1
    assert listed(catalog, "j") == [B]


def test_jobs_that_are_gone_are_not_remembered(catalog: Catalog) -> None:
    mentions = jobs.Mentions()
    for number in range(4):
        write(catalog, f"j{number}", 1, A)
    forget(catalog, mentions, B)
    with catalog.transaction("deleting jobs") as connection:
        jobs.keep_latest(connection, "reembed", 2)
    assert [job.id for job in jobs.latest(catalog, 9)] == ["j3", "j2"]
    forget(catalog, mentions, B)
    assert mentions._of.keys() == {"j2", "j3"}
