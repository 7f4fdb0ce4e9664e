"""`make bench`: the service beside a chroma server and raw FAISS, in one run on one machine.

All hold the same vectors: sentence embeddings of WordNet's glosses by the bundled text tower, which
are computed once and kept in runs/bench. Ratios are what to read; times depend on the machine and
on its other work. `--full` takes more of everything; `--json` keeps the figures.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.peers import scale, servers
from benchmarks.peers.databases import Chroma, Database, K, Ours
from benchmarks.peers.limit import exact, fastest, raw
from benchmarks.peers.load import Connection, drive, request
from benchmarks.peers.measure import (
    AT_ONCE,
    Mixed,
    Row,
    Turns,
    found_share,
    inserts,
    load,
    mixed,
    queries_of,
    shown,
    turns,
)
from benchmarks.peers.vectors import CACHE, Glosses, glosses


@dataclass(frozen=True)
class Plan:
    """How much of everything."""

    count: int
    rounds: int
    seconds: float  # of each turn
    inserts: int
    batches: int
    mixed_s: float


QUICK = Plan(count=50_000, rounds=3, seconds=1.5, inserts=200, batches=15, mixed_s=30.0)
FULL = Plan(count=50_000, rounds=7, seconds=4.0, inserts=1000, batches=60, mixed_s=600.0)


# The last is of a million vectors, takes some minutes, and is left out unless all is measured.
ROWS = ("queries", "filtered", "inserts", "searching", "mixed", "scale")


class Bench:
    def __init__(
        self, plan: Plan, data: Glosses, ours: servers.Server, peer: servers.Server
    ) -> None:
        self.plan = plan
        self.data = data
        self.ours, self.peer = ours, peer
        self.databases: tuple[Database, Database] = (Ours(ours, "glosses"), Chroma(peer, "glosses"))
        self.numbers = itertools.count(10**6)

    def rows(self, wanted: Collection[str]) -> Iterator[Row]:
        kinds = {
            "queries": self._queries,
            "filtered": self._filtered,
            "inserts": self._inserts,
            "searching": self._searching,
            "mixed": self._mixed,
        }
        yield from self._growth()  # loads what the others ask for
        for name, rows in kinds.items():
            if name in wanted:
                self._settle()
                yield from rows()

    def _settle(self) -> None:
        servers.settle([each.server for each in self.databases])

    def _growth(self) -> Iterator[Row]:
        """Load both, and ask on the way."""
        at = 0
        costs = []
        for count in (self.plan.count // 5, self.plan.count // 2, self.plan.count):
            loaded = [load(each, self.data, at, count) for each in self.databases]
            self._settle()
            found = turns(self.databases, queries_of(self.data), 1, 1, seconds=self.plan.seconds)
            costs.append((count, found.ours[0].ms(50), found.peer[0].ms(50)))
            size = [f"{(count - at) / seconds:.0f}/s loaded" for seconds in loaded]
            ours, peer = shown(found.ours), shown(found.peer)
            note = f"loaded {size[0]} and {size[1]}"
            yield Row(
                f"query, {count} stored, 1 connection", ours, peer, found.ratio, "", None, note
            )
            at = count
        (first, cost, _), (last, later, _) = costs[0], costs[-1]
        grown = (later / cost) / (last / first)
        what = f"growth of cost from {first} to {last} by growth of n"
        yield Row(what, f"{grown:.2f}", "", grown, "below 1", grown < 1)

    def _queries(self) -> Iterator[Row]:
        shares = [found_share(each, self.data, self.plan.count) for each in self.databases]
        truth = exact(self.data.vectors, self.data.queries, K)
        limits = raw(self.data.vectors, self.data.queries, truth)
        limit = fastest(limits, shares[0] - 0.001)
        for each in limits:
            figure = f"recall {each.recall:.4f}  p50 {each.p50_ms:.2f} ms"
            yield Row(f"raw FAISS in process, {each.name}", "", figure, 0.0, "", None)
        yield Row("recall@10 of queries", f"{shares[0]:.4f}", f"{shares[1]:.4f}", 0.0, "", None)
        for connections in (1, 8, 32):
            found = turns(
                self.databases,
                queries_of(self.data),
                connections,
                self.plan.rounds,
                seconds=self.plan.seconds,
            )
            what = f"query, {connections} connections"
            ours, peer = shown(found.ours), shown(found.peer)
            good, note = found.ratio >= 2.5, found.processor()
            yield Row(what, ours, peer, found.ratio, ">= 2.5x", good, note)
            if connections == 1:
                beyond = sorted(each.ms(50) for each in found.ours)[len(found.ours) // 2]
                beyond -= limit.p50_ms
                note = f"raw FAISS, {limit.name}, recall {limit.recall:.4f}"
                yield Row(
                    "p50 beyond raw FAISS",
                    f"{beyond:.2f} ms",
                    f"raw: {limit.p50_ms:.2f} ms",
                    beyond,
                    "<= 0.3 ms",
                    beyond <= 0.3,
                    note,
                )

    def _filtered(self) -> Iterator[Row]:
        only = 3
        shares = [found_share(each, self.data, self.plan.count, only) for each in self.databases]
        found = turns(
            self.databases,
            queries_of(self.data, only),
            1,
            self.plan.rounds,
            seconds=self.plan.seconds,
        )
        note = f"recall@10 {shares[0]:.4f} and {shares[1]:.4f}; {found.processor()}"
        good = found.ratio >= 20 and shares[0] >= 0.99
        ours, peer = shown(found.ours), shown(found.peer)
        yield Row("5 % filtered query", ours, peer, found.ratio, ">= 20x", good, note)

    def _inserts(self) -> Iterator[Row]:
        databases: tuple[Database, Database] = (
            Ours(self.ours, "inserts"),
            Chroma(self.peer, "inserts"),
        )
        for connections, reach in ((1, 10.0), (32, 20.0)):
            made = inserts(self.data, self.plan.inserts, 1, self.numbers)
            found = turns(databases, made, connections, self.plan.rounds, seconds=None)
            what = f"durable insert, {connections} connections"
            ours, peer = shown(found.ours), shown(found.peer)
            good, note = found.ratio >= reach, found.processor()
            yield Row(what, ours, peer, found.ratio, f">= {reach:g}x", good, note)
        made = inserts(self.data, self.plan.batches, AT_ONCE, self.numbers)
        found = turns(databases, made, 1, self.plan.rounds, seconds=None)
        ours, peer = shown(found.ours), shown(found.peer)
        good, note = found.ratio >= 4, found.processor()
        yield Row(f"batch of {AT_ONCE}", ours, peer, found.ratio, ">= 4x", good, note)

    def _searching(self) -> Iterator[Row]:
        """Queries of one connection, alone and while another one stores batches without a pause."""
        databases: tuple[Database, Database] = (
            Ours(self.ours, "beside"),
            Chroma(self.peer, "beside"),
        )
        alone = turns(
            self.databases, queries_of(self.data), 1, self.plan.rounds, seconds=self.plan.seconds
        )
        found = Turns()
        for _ in range(self.plan.rounds):
            for own, other, kept in zip(
                self.databases, databases, (found.ours, found.peer), strict=True
            ):
                # More than are stored in that time.
                made = inserts(self.data, 400, AT_ONCE, self.numbers)(other)
                with storing(own.server.port, made):
                    ready = itertools.cycle(list(queries_of(self.data)(own)))
                    kept.append(drive(own.server.port, ready, 1, seconds=self.plan.seconds))
        slower = [
            statistics.median(a.ms(50) / b.ms(50) for a, b in zip(during, before, strict=True))
            for during, before in ((found.ours, alone.ours), (found.peer, alone.peer))
        ]
        note = f"p50 is {slower[0]:.1f} and {slower[1]:.1f} times that of queries alone"
        ours, peer = shown(found.ours), shown(found.peer)
        what = f"query, 1 connection, while batches of {AT_ONCE} are stored"
        yield Row(what, ours, peer, found.ratio, "", None, note)

    def _mixed(self) -> Iterator[Row]:
        found = mixed(self.ours, self.data, 32, self.plan.mixed_s, seed=1)
        yield from mixed_rows(found, self.plan.mixed_s, self.data.vectors.shape[1])


def mixed_rows(found: Mixed, seconds: float, dimension: int) -> list[Row]:
    """No error, no request much slower than the others, and no memory beyond what is stored."""
    p50, p99 = found.measured.ms(50), found.measured.ms(99)
    failed = found.measured.failed
    errors = f"{failed} errors {found.measured.errors[:1] or ''}"
    good = failed == 0 and p99 <= 20 * p50
    what = f"mixed load, {seconds:.0f} s, 32 connections"
    load = Row(what, shown([found.measured]), "", p99 / p50, "p99 <= 20x p50", good, errors)
    first, last = found.at_rest
    grown = last.resident - first.resident
    kept = max(last.kept - first.kept, 1)
    vectors = kept * dimension * 2 / 2**20
    indexed = last.indexed - first.indexed
    memory = Row(
        "memory grown from rest to rest",
        f"{grown / 2**20:.1f} MB",
        f"its indexes: {indexed / 2**20:.1f} MB",
        grown / max(indexed, 1),
        "<= 1.5x, or 8 MB",
        grown <= max(1.5 * indexed, 8 * 2**20),
        f"{kept:.0f} more memories, {grown / kept:.0f} bytes each; their vectors in fp16 are"
        f" {vectors:.1f} MB; meanwhile up to {(found.most - first.resident) / 2**20:.1f} MB more",
    )
    return [load, memory]


@contextmanager
def storing(port: int, made: Iterator[bytes]) -> Iterator[None]:
    """One connection sends these one after the other, as long as the block lasts."""
    over = threading.Event()

    def store() -> None:
        connection = Connection(port)
        for content in made:
            if over.is_set():
                break
            connection.ask(content)
        connection.close()

    thread = threading.Thread(target=store)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def floor_rows(folder: Path) -> Iterator[Row]:
    """What HTTP and the disk take by themselves: no service under uvicorn can be faster, and no
    durable insert alone."""
    yield Row("append of 4 KB and fdatasync", f"p50 {synced_ms(folder):.2f} ms", "", 0.0, "", None)
    with servers.floor(folder) as server:
        content = request("POST", "/retrieve", bytes(1536), "application/octet-stream")
        for connections in (1, 8, 32):
            found = drive(server.port, itertools.repeat(content), connections, seconds=1.0)
            what = f"uvicorn with an empty application, {connections} connections"
            yield Row(what, shown([found]), "", 0.0, "", None)


def synced_ms(folder: Path, times: int = 200) -> float:
    seconds = []
    with (folder / "synced").open("wb", buffering=0) as file:
        for _ in range(times):
            started = time.perf_counter()
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            seconds.append(time.perf_counter() - started)
    return statistics.median(seconds) * 1e3


def generator_per_s(folder: Path, connections: int) -> float:
    """What the load generator itself can do, against an endpoint that does nothing."""
    with servers.null(folder) as server:
        content = request("POST", "/", bytes(1536))
        return drive(server.port, itertools.repeat(content), connections, seconds=1.0).per_s


def machine() -> str:
    cpu = next(
        (
            line.partition(": ")[2]
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return f"{os.cpu_count()} cores, {cpu}; load {os.getloadavg()[0]:.2f} at the start"


def every_row(plan: Plan, data: Glosses, folder: Path, wanted: Collection[str]) -> Iterator[Row]:
    yield from floor_rows(folder)
    if set(wanted) - {"scale"}:
        with ExitStack() as stack:
            ours = stack.enter_context(servers.ours(folder))
            peer = stack.enter_context(servers.chroma(folder, CACHE))
            yield from Bench(plan, data, ours, peer).rows(wanted)
    if "scale" in wanted:
        yield from scale.rows()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="more of everything; half an hour")
    parser.add_argument("--count", type=int, help="vectors; default: 50000")
    parser.add_argument("--mixed-minutes", type=float, help="of the mixed load")
    parser.add_argument(
        "--rows", default="", help=f"only these, comma-separated: {', '.join(ROWS)}"
    )
    parser.add_argument("--json", type=Path, help="also write the figures here")
    given = parser.parse_args(arguments)
    plan = FULL if given.full else QUICK
    changes = {"count": given.count, "mixed_s": given.mixed_minutes and given.mixed_minutes * 60}
    plan = Plan(**{**asdict(plan), **{name: each for name, each in changes.items() if each}})
    console = Console(width=None if os.isatty(1) else 200)
    wanted = [each for each in given.rows.split(",") if each] or (ROWS if given.full else ROWS[:-1])
    if unknown := set(wanted) - set(ROWS):
        parser.error(f"no such rows: {', '.join(unknown)}; there are: {', '.join(ROWS)}")
    data = glosses(plan.count)
    console.print(f"{machine()}; {len(data.texts)} glosses, {data.vectors.shape[1]} dimensions")
    table = Table("what", "simmim", "peer", "ratio", "reach", "", "note")
    rows = []
    started = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        own = ", ".join(f"{generator_per_s(folder, n):.0f}/s at {n}" for n in (1, 32))
        console.print(f"load generator against an endpoint that does nothing: {own}")
        for row in every_row(plan, data, folder, wanted):
            console.print(
                f"{row.what}: {row.ours} | {row.peer} | {row.figure:.2f}", highlight=False
            )
            rows.append(row)
            mark = {True: "yes", False: "NO", None: ""}[row.reached]
            figure = f"{row.figure:.2f}" if row.figure else ""
            table.add_row(row.what, row.ours, row.peer, figure, row.reach, mark, row.note)
    console.print(table)
    console.print(f"{time.monotonic() - started:.0f} s")
    if given.json:
        figures = {
            "machine": machine(),
            "plan": asdict(plan),
            "rows": [asdict(row) for row in rows],
        }
        given.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
