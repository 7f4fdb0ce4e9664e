"""Worker processes: started when they are needed, kept, and replaced when they crash or hang."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from memory_service.decoding import frames
from memory_service.errors import NotReady

COMMAND = (sys.executable, "-m", "memory_service.decoding.worker")


class Crashed(Exception):
    """The worker ended, or was ended because it took too long, in the midst of a job."""


class Pool:
    """At most `size` processes. Safe for use from several threads: who finds all of them at work
    waits for one.
    """

    def __init__(
        self,
        size: int,
        *,
        timeout_s: float,
        max_bytes: int,
        command: Sequence[str] = COMMAND,
    ) -> None:
        """`timeout_s`: of a worker's silence; `max_bytes`: of its memory."""
        self._command = [*command, str(max_bytes)]
        self._timeout_s = timeout_s
        self._places = threading.Semaphore(size)
        self._lock = threading.Lock()
        self._idle: list[subprocess.Popen[bytes]] = []  # the last one in is the first one out
        self._closed = False
        self.lost = 0  # workers that crashed or hung

    def warm(self) -> None:
        """Start a worker ahead, without waiting for it."""
        self._give_back(self._start())

    def run(
        self, head: Mapping[str, Any], content: bytes
    ) -> Generator[tuple[dict[str, Any], bytearray], None, None]:
        """The answers of a worker to a job, one after the other; the worker is taken until the
        last one, or until the iterator is closed.

        Raises Crashed, and NotReady where no process can be started. The last answer may be an
        `error`.
        """
        with self._worker() as worker:
            assert worker.stdin is not None
            assert worker.stdout is not None
            frames.send(worker.stdin.fileno(), head, content, self._deadline())
            while True:
                answer, payload = frames.receive(worker.stdout.fileno(), self._deadline())
                if not answer.get("more"):  # the last word of this job
                    break
                yield answer, payload
        if "error" in answer:
            yield answer, payload

    def _deadline(self) -> float:
        return time.monotonic() + self._timeout_s

    @contextmanager
    def _worker(self) -> Iterator[subprocess.Popen[bytes]]:
        with self._places:
            worker = self._take()
            try:
                yield worker
            except frames.Ended as error:
                self._end(worker)
                self.lost += 1
                raise Crashed(f"the decoder crashed on it ({_how(worker)})") from error
            except frames.TookTooLong as error:
                self._end(worker)
                self.lost += 1
                raise Crashed(f"the decoder took longer than {self._timeout_s:g} s") from error
            except BaseException:  # the caller wants no more of what is on its way
                self._end(worker)
                raise
            else:
                self._give_back(worker)

    def _take(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._closed:
                raise NotReady("the service is shutting down")
            while self._idle:
                worker = self._idle.pop()
                if worker.poll() is None:
                    return worker
                self._end(worker)  # ended by somebody else while it was idle
        return self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(each for each in sys.path if each),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        try:
            worker = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                env=environment,
                # Ctrl+C in a terminal is for the service, which closes its workers itself.
                start_new_session=True,
            )
        except OSError as error:
            raise NotReady(f"a decoder could not be started: {error}") from error
        for pipe in (worker.stdin, worker.stdout):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
            frames.widen(pipe.fileno())
        return worker

    def _give_back(self, worker: subprocess.Popen[bytes]) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(worker)
                return
        self._end(worker)

    def _end(self, worker: subprocess.Popen[bytes]) -> None:
        with suppress(OSError):
            worker.kill()
        worker.wait()
        for pipe in (worker.stdin, worker.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def close(self) -> None:
        """End the idle workers, and those at work when they have done."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for worker in idle:
            self._end(worker)


def _how(worker: subprocess.Popen[bytes]) -> str:
    code = worker.returncode
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
