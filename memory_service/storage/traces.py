"""The traces: Mem[t] = decay * Mem[t-1] + e_t of each sub-memory, with a decay by time.

With a half-life h the trace at time t is the sum of e_i * 2 ** (-(t - t_i) / h) over the memories.
What is kept is that sum as of a reference time: a new memory adds e * 2 ** ((t_i - reference) / h),
and a deletion takes exactly that out again, whatever happened between. (A decay per step would not
allow it: the memories before a deleted one would have decayed by a step that is gone.) The length
of the trace now is 2 ** (-(now - reference) / h) times that of what is kept; its direction, all
that cosines need, is the same.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from memory_service.records import Vector
from memory_service.storage import namespace_settings, rows

Double = npt.NDArray[np.float64]
Vectors = npt.NDArray[np.float32]
Key = tuple[str, str, int]  # namespace, modality, number of the space

MOST_HALF_LIVES = 64.0  # ahead of the reference; then that is moved, before numbers grow too large
# Share of the length left by a deletion from which on what is left is rounding, and is summed anew.
ROUNDING = 1e-6

MOST_STEPS = 2000  # of two, after which nothing is left of any double
MOST_EXPONENT = 1000.0  # of a weight, so that it stays a double: a clock may go back by years
SUMMED_AT_ONCE = 4096  # vectors

_SUMMED = (
    "FROM memories JOIN vectors USING (sequence) WHERE namespace = ? AND modality = ?"
    " AND space = ? AND segment = 0 AND consolidated_by IS NULL"
)
_HERE = "namespace = ? AND modality = ? AND space = ?"


def add(connection: sqlite3.Connection, key: Key, vectors: Vectors, times: Sequence[float]) -> None:
    """Add the vectors (N, D) of memories that were stored at `times` (N,)."""
    _shift(connection, key, vectors, 1, times)


def shift(connection: sqlite3.Connection, key: Key, vector: Vector, sign: int, when: float) -> bool:
    """Add (`sign` 1) or take out (-1) the vector of a memory that was stored at `when`. As
    `take_out`."""
    return _shift(connection, key, vector[None], sign, [when])


def take_out(
    connection: sqlite3.Connection, key: Key, vectors: Vectors, times: Sequence[float]
) -> bool:
    """Take out the vectors (N, D) of memories that were stored at `times` (N,).

    True when what is left is mostly rounding: the trace is to be summed anew once the rows are
    gone.
    """
    return _shift(connection, key, vectors, -1, times)


def _shift(
    connection: sqlite3.Connection, key: Key, vectors: Vectors, sign: int, times: Sequence[float]
) -> bool:
    found = connection.execute(
        f"SELECT vector, count, half_life_s, reference FROM traces WHERE {_HERE}", key
    ).fetchone()
    count = (found["count"] if found else 0) + sign * len(vectors)
    if count == 0:  # exactly empty again, whatever the rounding
        connection.execute(f"DELETE FROM traces WHERE {_HERE}", key)
        return False
    latest = max(times)
    if found is None:
        half_life_s = namespace_settings.life(connection, key[0]).trace_half_life_s
        trace, reference = np.zeros(vectors.shape[1]), latest
    else:
        half_life_s, reference = found["half_life_s"], found["reference"]
        trace = np.frombuffer(found["vector"], "<f8")
    trace, reference = _based(trace, reference, latest, half_life_s)
    weights = np.array([_weight(when, reference, half_life_s) for when in times])
    shifted = trace + sign * (weights @ vectors.astype(np.float64))
    _write(connection, key, shifted, count, half_life_s, reference)
    if half_life_s is None or sign > 0:
        return False
    return float(np.linalg.norm(shifted)) < ROUNDING * float(np.linalg.norm(trace))


def _weight(when: float, reference: float, half_life_s: float | None) -> float:
    if half_life_s is None:
        return 1.0
    return float(2.0 ** min((when - reference) / half_life_s, MOST_EXPONENT))


def _based(
    trace: Double, reference: float, when: float, half_life_s: float | None
) -> tuple[Double, float]:
    """The same trace as of a reference that `when` is not too far ahead of.

    Moved by whole half-lives, so that the values are divided by powers of two: exactly.
    """
    if half_life_s is None or when - reference <= MOST_HALF_LIVES * half_life_s:
        return trace, reference
    ahead = (when - reference) / half_life_s
    if ahead > MOST_STEPS:  # or it is more than a whole number can be
        return np.zeros_like(trace), when
    steps = math.floor(ahead)
    return np.ldexp(trace, -steps), reference + steps * half_life_s


def _write(
    connection: sqlite3.Connection,
    key: Key,
    trace: Double,
    count: int,
    half_life_s: float | None,
    reference: float,
) -> None:
    values = (trace.astype("<f8", copy=False).tobytes(), count, half_life_s, reference)
    # To replace a row takes twice as long as to change it where it is.
    changed = connection.execute(
        f"UPDATE traces SET vector = ?, count = ?, half_life_s = ?, reference = ? WHERE {_HERE}",
        (*values, *key),
    )
    if not changed.rowcount:
        connection.execute(
            "INSERT INTO traces (vector, count, half_life_s, reference, namespace, modality, space)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*values, *key),
        )


@dataclass(frozen=True)
class Trace:
    """The sum as of `reference`."""

    vector: Double  # (D,)
    count: int
    half_life_s: float | None
    reference: float

    def as_of(self, when: float) -> Double:
        """The sum as of another time."""
        return self.vector * _weight(self.reference, when, self.half_life_s)


def sum_anew(connection: sqlite3.Connection, key: Key, half_life_s: float | None) -> None:
    """From the vectors of the memories that are there, prototypes left out, and what is damaged."""
    found = summed(connection, key, half_life_s, whole=True)
    if found is None:
        connection.execute(f"DELETE FROM traces WHERE {_HERE}", key)
    else:
        _write(connection, key, found.vector, found.count, half_life_s, found.reference)


def summed(
    connection: sqlite3.Connection, key: Key, half_life_s: float | None, *, whole: bool = False
) -> Trace | None:
    """What the trace has to be; None when there is no memory. Raises ValueError for vectors that
    are not of one length. `whole`: of those alone that are not damaged, though all are counted."""
    bounds = connection.execute(
        f"SELECT MAX(created_at) AS latest, COUNT(*) AS count {_SUMMED}", key
    ).fetchone()
    if not bounds["count"]:
        return None
    latest = float(bounds["latest"])
    dimension = connection.execute(
        "SELECT dimension FROM spaces WHERE number = ?", key[2:]
    ).fetchone()["dimension"]
    trace: Double = np.zeros(dimension)
    cursor = connection.execute(f"SELECT created_at, vector {_SUMMED}", key)
    while found := cursor.fetchmany(SUMMED_AT_ONCE):
        read = [
            (rows.whole_vector(row["vector"], dimension) if whole else rows.vector(row["vector"]))
            for row in found
        ]
        weights = [
            _weight(row["created_at"], latest, half_life_s) if vector is not None else 0.0
            for row, vector in zip(found, read, strict=True)
        ]
        vectors = np.stack([np.zeros(dimension) if each is None else each for each in read])
        trace = trace + np.array(weights) @ vectors.astype(np.float64)
    return Trace(trace, bounds["count"], half_life_s, latest)


def kept(connection: sqlite3.Connection, key: Key) -> Trace | None:
    """What is in the catalog."""
    row = connection.execute(
        f"SELECT vector, count, half_life_s, reference FROM traces WHERE {_HERE}", key
    ).fetchone()
    if row is None:
        return None
    vector = np.frombuffer(row["vector"], "<f8")
    return Trace(vector, row["count"], row["half_life_s"], row["reference"])


def set_half_life(
    connection: sqlite3.Connection, namespace: str, half_life_s: float | None
) -> None:
    """Of all traces of a namespace: each is summed anew, which reads all its vectors."""
    found = connection.execute(
        "SELECT modality, space FROM traces WHERE namespace = ? AND half_life_s IS NOT ?",
        (namespace, half_life_s),
    ).fetchall()
    for row in found:
        sum_anew(connection, (namespace, row["modality"], row["space"]), half_life_s)


def length_now(row: sqlite3.Row, now: float) -> float:
    """Of a row of traces: the length of the trace as it is now."""
    length = float(np.linalg.norm(np.frombuffer(row["vector"], "<f8")))
    return length * _weight(row["reference"], now, row["half_life_s"])
