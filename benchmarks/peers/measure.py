"""The rows of the table. Both databases are asked in turns, so that other work of the machine hits
both alike; of the turns, the median ratio is what counts.
"""

from __future__ import annotations

import itertools
import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.peers.databases import Database, K, Ours, bucket
from benchmarks.peers.limit import exact, recall
from benchmarks.peers.load import Answer, Connection, Measured, drive
from benchmarks.peers.servers import Server, settle
from benchmarks.peers.vectors import Glosses

AT_ONCE = 100
LOADED_AT_ONCE = 2000
RECALL_QUERIES = 200
FILTERED = 10  # of so many queries of a mixed load, one has a filter besides
WARMING = 4  # a mixed load's time, by so much, comes before it
Requests = Callable[[Database], Iterator[bytes]]


@dataclass(frozen=True)
class Row:
    what: str
    ours: str
    peer: str
    figure: float  # what is to be reached: a ratio, or milliseconds
    reach: str
    reached: bool | None  # None: no target
    note: str = ""


@dataclass
class Turns:
    """The same load on both, in turns."""

    ours: list[Measured] = field(default_factory=list)
    peer: list[Measured] = field(default_factory=list)
    ours_s: float = 0.0  # of the servers' processors
    peer_s: float = 0.0

    def processor(self) -> str:
        """What other work on the machine changes least."""
        ours, peer = (
            used / sum(len(each.seconds) for each in measured) * 1e3
            for used, measured in ((self.ours_s, self.ours), (self.peer_s, self.peer))
        )
        return f"processor: {ours:.2f} and {peer:.2f} ms, {peer / max(ours, 1e-9):.1f} times"

    @property
    def ratio(self) -> float:
        return statistics.median(
            a.per_s / b.per_s for a, b in zip(self.ours, self.peer, strict=True)
        )

    @property
    def failed(self) -> int:
        return sum(each.failed for each in (*self.ours, *self.peer))


def shown(turns: Sequence[Measured]) -> str:
    per_s, p50, p99 = (
        statistics.median(values)
        for values in zip(*((t.per_s, t.ms(50), t.ms(99)) for t in turns), strict=True)
    )
    return f"{per_s:.0f}/s  p50 {p50:.2f}  p99 {p99:.2f} ms"


def turns(
    databases: Sequence[Database],
    requests: Requests,
    connections: int,
    rounds: int,
    *,
    seconds: float | None,
) -> Turns:
    """`requests` are made before the clock runs; without `seconds`, all of them are sent."""
    found = Turns()
    servers = [each.server for each in databases]
    before = [each.processor_s() for each in servers]
    for _ in range(rounds):
        for database, kept in zip(databases, (found.ours, found.peer), strict=True):
            made = list(requests(database))
            ready = iter(made) if seconds is None else itertools.cycle(made)
            kept.append(drive(database.server.port, ready, connections, seconds=seconds))
    found.ours_s, found.peer_s = (
        each.processor_s() - first for each, first in zip(servers, before, strict=True)
    )
    if found.failed:
        error = next(e for each in (*found.ours, *found.peer) for e in each.errors)
        raise RuntimeError(f"{found.failed} requests failed: {error!r}")
    return found


def load(database: Database, glosses: Glosses, start: int, end: int) -> float:
    """Store the glosses from `start` to `end`; returns seconds."""
    connection = Connection(database.server.port)
    started = time.perf_counter()
    for first in range(start, end, LOADED_AT_ONCE):
        numbers = range(first, min(first + LOADED_AT_ONCE, end))
        texts = [glosses.texts[number] for number in numbers]
        answer = connection.ask(database.add(numbers, texts, glosses.vectors[numbers]))
        if answer.status >= 400:
            raise RuntimeError(f"{database.name}: {answer.status} {answer.body[:500]!r}")
    connection.close()
    return time.perf_counter() - started


def found_share(database: Database, glosses: Glosses, count: int, only: int | None = None) -> float:
    """recall@10 over HTTP, of the first queries."""
    queries = glosses.queries[:RECALL_QUERIES]
    rows = (
        np.arange(count)
        if only is None
        else np.array([n for n in range(count) if bucket(n) == only])
    )
    truth = rows[exact(glosses.vectors[rows], queries, K)]
    connection = Connection(database.server.port)
    answers = [connection.ask(database.query(query, only)) for query in queries]
    connection.close()
    return recall([database.found(answer) for answer in answers], truth)


def queries_of(glosses: Glosses, only: int | None = None) -> Requests:
    return lambda database: (database.query(query, only) for query in glosses.queries)


def inserts(glosses: Glosses, count: int, at_once: int, numbers: Iterator[int]) -> Requests:
    """`count` requests of `at_once` memories each, whose numbers come once in a whole run."""

    def made(database: Database) -> Iterator[bytes]:
        for _ in range(count):
            own = list(itertools.islice(numbers, at_once))
            rows = [number % len(glosses.texts) for number in own]
            texts = [
                f"{number} {glosses.texts[row]}" for number, row in zip(own, rows, strict=True)
            ]
            yield database.add(own, texts, glosses.vectors[rows])

    return made


@dataclass(frozen=True)
class AtRest:
    """A server that has nothing to do in the background."""

    resident: int  # bytes
    indexed: int  # bytes that its indexes take of these, by its own account
    kept: int  # memories of the mixed load


@dataclass
class Mixed:
    """Ten minutes of everyday work, or however long, behind a quarter of it to warm up. Memory is
    compared at rest: before, and after."""

    measured: Measured
    at_rest: list[AtRest]
    most: int  # bytes that were resident at any time


def mixed(server: Server, glosses: Glosses, connections: int, seconds: float, seed: int) -> Mixed:
    """70 % queries, some of them filtered, 25 % stores, 5 % deletions, on a namespace of its own
    that holds 5,000."""
    database = Ours(server, "mixed", reinforce=True)
    load(database, glosses, 0, min(5000, len(glosses.texts)))
    drawn = random.Random(seed)
    episodes: list[bytes] = []
    numbers = itertools.count(10**7)
    queries = [database.query(query) for query in glosses.queries]
    filtered = glosses.queries[: len(queries) // FILTERED]
    queries += [database.query(query, bucket(row)) for row, query in enumerate(filtered)]
    found = Mixed(Measured(), [], 0)

    def rest() -> None:
        settle([server])
        at_rest = AtRest(server.resident_bytes(), database.index_bytes(), len(episodes))
        found.at_rest.append(at_rest)

    def requests() -> Iterator[bytes]:
        while True:
            kind = drawn.choices(("query", "store", "delete"), (70, 25, 5))[0]
            if kind == "delete" and episodes:
                place = drawn.randrange(len(episodes))
                episodes[place], episodes[-1] = episodes[-1], episodes[place]
                yield b"DELETE /episodes/%b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % episodes.pop()
            elif kind == "query":
                yield drawn.choice(queries)
            else:
                number = next(numbers)
                row = number % len(glosses.texts)
                yield database.add([number], [glosses.texts[row]], glosses.vectors[[row]])

    def answered(answer: Answer) -> None:
        if answer.status == 201:
            episodes.append(answer.body.partition(b'"id":"')[2].partition(b'"')[0])

    done = threading.Event()

    def watch() -> None:
        while not done.wait(min(5.0, seconds / 20)):
            found.most = max(found.most, server.resident_bytes())

    def work(duration: float) -> Measured:
        return drive(server.port, requests(), connections, seconds=duration, on_answer=answered)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        warming = work(seconds / WARMING)
        rest()
        found.measured = work(seconds)
        found.measured.statuses += warming.statuses
        found.measured.errors = [*warming.errors, *found.measured.errors]
        rest()
    finally:
        done.set()
        watcher.join()
    return found
