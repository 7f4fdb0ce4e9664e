"""The audit log: one JSON object a line, appended; the oldest of several files is dropped.

A line is in the operating system's hands when `add` returns: the end of the process does not lose
it. A power cut may lose those of the last half minute, which the system had not written yet. There
is a whole line or none: what a full disk has cut is taken back.
"""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from memory_service.errors import StorageFailure
from memory_service.storage.failures import storage_errors

FOLDER = "audit"
MOST_OWED = 10_000  # lines that could not be written, and are tried again


def files(folder: Path) -> list[Path]:
    """Those of a log, the newest first."""
    return sorted(folder.glob("*.jsonl"), key=lambda path: (len(path.name), path.name))


class AuditLog:
    """`audit/0.jsonl` is written, up to `max_bytes`; then it becomes `1.jsonl`, that `2.jsonl`, and
    so on, `files` in all. Safe for use from several threads. Raises StorageFailure or StorageFull.
    """

    def __init__(self, data_dir: Path, *, max_bytes: int, files: int) -> None:
        self._folder = data_dir / FOLDER
        self._max_bytes = max_bytes
        self._files = files
        self._lock = threading.Lock()
        self._file = -1
        self._size = 0
        self._torn = False  # the last line has no end
        self._closed = False
        self._owed: deque[bytes] = deque(maxlen=MOST_OWED)
        with storage_errors("opening the audit log"):
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._open()

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
        self._file = os.open(self._folder / "0.jsonl", flags, 0o600)
        self._size = os.fstat(self._file).st_size
        # By a power cut. Ended with the next line: a full disk must not keep us from starting.
        self._torn = self._size > 0 and os.pread(self._file, 1, self._size - 1) != b"\n"

    def close(self) -> None:
        with self._lock:
            if self._file >= 0:
                with suppress(OSError):
                    self._pay()
                os.fsync(self._file)
                os.close(self._file)
            self._file, self._closed = -1, True

    def add(self, *entries: Mapping[str, Any], owed: bool = True) -> None:
        """All of them or none. Where it raises, what is `owed` is written before the next that can
        be."""
        lines = b"".join(to_json(dict(each), fallback=str) + b"\n" for each in entries)
        with self._lock, storage_errors("writing the audit log"):
            if self._closed:  # what is committed while the service ends is told of all the same
                raise StorageFailure("the audit log is closed")
            try:
                self._pay()
                self._append(lines)
            except OSError:
                if owed:
                    self._owed.extend(lines.splitlines(keepends=True))
                raise

    def _pay(self) -> None:
        while self._owed:
            self._append(self._owed[0])
            self._owed.popleft()

    def _append(self, lines: bytes) -> None:
        if self._file < 0:
            self._open()
        if self._size and self._size + len(lines) > self._max_bytes:
            self._rotate()
        left = memoryview(b"\n" + lines if self._torn else lines)
        written = self._size + len(left)
        try:
            while left:
                left = left[os.write(self._file, left) :]
        except OSError:
            self._take_back()
            raise
        self._torn, self._size = False, written

    def _take_back(self) -> None:
        """A part of a line would make the next one unreadable, too."""
        try:
            os.ftruncate(self._file, self._size)
        except OSError:
            self._torn, self._size = True, os.fstat(self._file).st_size

    def _rotate(self) -> None:
        os.close(self._file)
        self._file = -1  # what comes next may fail, and the number is given to another file
        for number in reversed(range(self._files - 1)):
            path = self._folder / f"{number}.jsonl"
            if path.exists():
                path.replace(self._folder / f"{number + 1}.jsonl")
        (self._folder / "0.jsonl").unlink(missing_ok=True)  # of one file alone
        self._open()

    def latest(self, limit: int, match: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The newest entries that have all the values of `match`, the newest first."""
        found: list[dict[str, Any]] = []
        with storage_errors("reading the audit log"):
            for number in range(self._files):
                path = self._folder / f"{number}.jsonl"
                if len(found) < limit and path.exists():
                    of_file = deque(_matching(path, match), maxlen=limit - len(found))
                    found += reversed(of_file)
        return found


def _matching(path: Path, match: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:  # cut by a power cut
                continue
            if all(entry.get(name) == value for name, value in match.items()):
                yield entry
