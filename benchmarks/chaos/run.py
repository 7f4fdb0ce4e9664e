"""`python -m benchmarks.chaos.run`: kill the service again and again under a mixed load.

Each round starts the service on the same data folder, and compares what it says with what its
callers know: nothing acknowledged is missing, nothing deleted is back, nothing was done by half,
what is read is what was stored, and the indexes hold what the catalog does. Stores that bore an
idempotency key and were not answered are sent again, and are stored once. At the end the folder is
checked (`fsck`). Then several clients
work on it until it is killed (SIGKILL): at a random time, or by itself at a chosen point between
two writes. `--seed` repeats the draws of a run; how threads meet is up to the machine.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from benchmarks.chaos.crashing import POINTS
from benchmarks.chaos.ledger import Ledger
from benchmarks.chaos.load import KEY, REPLAYED, Caller
from memory_service.demo.service import free_port
from memory_service.storage.fsck.run import check

CLIENTS = 4
LOOKS, LOOK_S = 3000, 0.02  # for the service to be ready: a minute, that of a pause left out
LOAD_S = (0.05, 1.2)  # until a kill from outside
MOST_S = 4.0  # for a point to be come by
SAMPLE = 40  # contents read of those that nothing happened to since the last round


CUT = "; but for lines of the audit log that a kill has cut off"


class Broken(Exception):
    """The service does not start, or start again."""


@dataclass
class Run:
    folder: Path
    drawn: random.Random
    ledger: Ledger = field(default_factory=Ledger)
    wrong: list[str] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    starts_s: list[float] = field(default_factory=list)
    checked: dict[str, int] = field(default_factory=dict)  # by fsck, at the end
    cut_lines: int = 0  # files of the audit log that have one

    def round(self, number: int, point: str | None) -> None:
        """Start, compare, load, kill."""
        crash = None if point is None else f"{point}:{self.drawn.randint(1, POINTS[point])}"
        process, port = self._start(crash)
        died_at_start = process is None
        if process is None:  # at its point, while starting: as good as any
            self.kills[f"{point} at start"] += 1
            process, port = self._start(None)
            if process is None:
                raise Broken(f"round {number}: {self._log()}")
        self.compare(port, f"round {number} (after {self.last})")
        self.send_again(port, f"round {number} (after {self.last})")
        before = len(self.wrong)
        self._load(process, port, number, None if died_at_start else point)
        self.wrong[before:] = [f"round {number}: {each}" for each in self.wrong[before:]]

    last = "nothing"

    def _start(self, crash: str | None) -> tuple[subprocess.Popen[bytes] | None, int]:
        """The service when it is ready; None where it died at its point before."""
        port, report = free_port(), self.folder / "report.json"
        report.unlink(missing_ok=True)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "CHAOS_REPORT": str(report)}
        environment |= {"CHAOS_CRASH": crash} if crash else {}
        command = [sys.executable, "-m", "benchmarks.chaos.crashing", "serve", "--profile", "fake"]
        command += ["--port", str(port), "--data-dir", str(self.folder / "data")]
        command += ["--log-level", "warning"]
        started = time.monotonic()
        with (self.folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        with httpx.Client(transport=httpx.HTTPTransport()) as client:
            looks = 0
            while process.poll() is None:
                looks += 1
                try:
                    if client.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                        self.starts_s.append(time.monotonic() - started)
                        self.wrong += json.loads(report.read_text())
                        return process, port
                except httpx.TransportError:
                    time.sleep(LOOK_S)
                if looks > LOOKS:
                    process.kill()
                    raise Broken(f"not ready after {looks} looks: {self._log()}")
        if crash is None or process.returncode != -signal.SIGKILL:
            raise Broken(f"ended with {process.returncode}: {self._log()}")
        self.last = f"{crash} at start"
        return None, port

    def _log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-2000:]

    def compare(self, port: int, where: str, *, every: bool = False) -> None:
        """What the callers know beside what the service says."""
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", transport=httpx.HTTPTransport(), timeout=60
        ) as client:
            fresh, self.ledger.fresh = self.ledger.fresh, set()
            wrong = self.ledger.compare(self._listed(client))
            self.ledger.fresh = set()
            ids = sorted(self.ledger.known)
            fresh |= set(ids if every else self.drawn.sample(ids, min(SAMPLE, len(ids))))
            for id in sorted(fresh & self.ledger.known.keys()):
                content = client.get(f"/memories/{id}/content")
                found = hashlib.sha256(content.content).hexdigest()
                if content.status_code != 200 or found != self.ledger.known[id].sha256:
                    wrong.append(f"the content of {id} is another: {content.status_code} {found}")
            for id in sorted(fresh & self.ledger.deleted):
                for path in (f"/memories/{id}", f"/memories/{id}/content"):
                    if client.get(path).status_code != 404:
                        wrong.append(f"{path} was deleted, and is answered")
            wrong += self._generations(client, every)
        self.wrong += [f"{where}: {each}" for each in wrong]

    def send_again(self, port: int, where: str) -> None:
        """What bore an idempotency key and was not answered: it is stored once, whether it was
        there or not. The service may die at its point meanwhile."""
        try:
            with httpx.Client(
                base_url=f"http://127.0.0.1:{port}", transport=httpx.HTTPTransport(), timeout=60
            ) as client:
                for mark in list(self.ledger.unanswered):
                    request = self.ledger.keyed[mark]
                    answer = client.post("/store", json=request, headers={KEY: mark})
                    if answer.status_code != 201:
                        self.wrong.append(f"{where}: {mark} sent again: {answer.text[:300]}")
                        return
                    memories = answer.json()["episode"]["memories"]
                    wrong = self.ledger.repeated(mark, memories, REPLAYED in answer.headers)
                    self.wrong += [f"{where}: {wrong}"] if wrong else []
                    self.done["sent again after a kill"] += 1
        except httpx.TransportError:
            return

    def _listed(self, client: httpx.Client) -> list[dict]:
        listed: list[dict] = []
        after = None
        while True:
            page = client.get(
                "/memories", params={"limit": 1000, **({"after": after} if after else {})}
            )
            listed += page.json()["memories"]
            after = page.json()["next"]
            if after is None:
                return listed

    def _generations(self, client: httpx.Client, every: bool) -> list[str]:
        ids = sorted(self.ledger.generations)
        wrong = []
        for id in ids if every else ids[-10:]:
            record = client.get(f"/generations/{id}")
            found = [each["sha256"] for each in record.json().get("outputs", ())]
            if found != self.ledger.generations[id]:
                wrong.append(f"generation {id} is missing, or another: {record.text[:200]}")
                continue
            content = client.get(f"/generations/{id}/content").content
            if hashlib.sha256(content).hexdigest() != found[0]:
                wrong.append(f"the content of generation {id} is another")
        return wrong

    def _load(
        self, process: subprocess.Popen[bytes], port: int, number: int, point: str | None
    ) -> None:
        seed = self.drawn.random()
        callers = [
            Caller(f"http://127.0.0.1:{port}", self.ledger, f"{number}-{n}", f"{seed} {n}")
            for n in range(CLIENTS)
        ]
        threads = [threading.Thread(target=each.run) for each in callers]
        for thread in threads:
            thread.start()
        wait_s = MOST_S if point else self.drawn.uniform(*LOAD_S)
        try:
            process.wait(wait_s)
            name = point or "by itself"
            if point is None or process.returncode != -signal.SIGKILL:
                self.wrong.append(f"the service ended with {process.returncode}: {self._log()}")
        except subprocess.TimeoutExpired:
            name = "at a random time" if point is None else "point not come by: at a random time"
            process.kill()
            process.wait()
        self.kills[name] += 1
        self.last = name
        for caller in callers:
            caller.stop.set()
        for thread, caller in zip(threads, callers, strict=True):
            thread.join()
            self.done += caller.done
            self.wrong += caller.wrong

    def end(self) -> None:
        """Start once more, read everything, stop in order, and check the folder."""
        process, port = self._start(None)
        assert process is not None
        where = f"at the end (after {self.last})"
        self.compare(port, where, every=True)
        self.send_again(port, where)
        process.terminate()
        process.wait(120)
        report = check(self.folder / "data")
        self.checked = report.checked
        for found in report.findings:
            # A kill in the midst of a line of the audit log leaves half of it.
            if found.kind == "audit_broken":
                self.cut_lines += 1
            else:
                self.wrong.append(f"fsck: {found.kind} {found.subject}: {found.detail}")


def run(kills: int, seed: int, folder: Path, console: Console) -> Run:
    found = Run(folder, random.Random(seed))
    points = list(POINTS)
    for number in range(kills):
        # Every other kill from outside; the points in turns, so that each has its share.
        point = None if number % 2 else points[number // 2 % len(points)]
        found.round(number, point)
        if found.wrong:
            break
        if number % 20 == 19:
            console.print(f"{number + 1} kills, {len(found.ledger.known)} memories")
    if not found.wrong:
        found.end()
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, help="drawn, and printed, when not given")
    given = parser.parse_args(arguments)
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    console = Console()
    console.print(f"--kills {given.kills} --seed {seed}")
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = run(given.kills, seed, Path(folder), console)
    table = Table("killed", "times", title=f"{sum(found.kills.values())} kills, seed {seed}")
    for name, times in sorted(found.kills.items()):
        table.add_row(name, str(times))
    console.print(table)
    console.print(
        f"answered: {dict(found.done)}; at the end {len(found.ledger.known)} memories there, "
        f"{len(found.ledger.deleted)} deleted, {len(found.ledger.generations)} generations; "
        f"starts {sorted(found.starts_s)[len(found.starts_s) // 2]:.2f} s (median), "
        f"{max(found.starts_s):.2f} s (longest); {time.monotonic() - started:.0f} s in all"
    )
    for each in found.wrong[:20]:
        console.print(f"[red]WRONG[/] {each}", highlight=False)
    if not found.wrong:
        console.print(
            "nothing acknowledged is missing, nothing deleted is back, nothing was done by half or "
            "twice, the indexes hold what the catalog does"
        )
        console.print(
            f"fsck finds nothing amiss in {found.checked}{CUT if found.cut_lines else ''}"
        )
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
