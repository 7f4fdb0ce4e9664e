"""The load generator reads what servers answer, and the figures are made of the right things."""

import itertools
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers import servers
from benchmarks.peers.limit import Raw, exact, fastest, recall
from benchmarks.peers.load import Connection, Measured, drive, request
from benchmarks.peers.measure import AtRest, Mixed
from benchmarks.peers.run import mixed_rows

ANSWERS = {
    "a length": [b"HTTP/1.1 201 Created\r\nContent-Length: 4\r\n\r\nbody"],
    "a length, in pieces": [
        b"HTTP/1.1 201 Created\r\nCont",
        b"ent-Length: 4\r\n\r",
        b"\nbo",
        b"dy",
    ],
    "chunks": [
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbo",
        b"dy\r\n0\r\n\r\n",
    ],
}


@pytest.fixture
def scripted() -> Iterator[tuple[int, list[bytes]]]:
    """A port that answers each request with the pieces that are put into the list."""
    pieces: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        peer, _ = listener.accept()
        with peer:
            peer.recv(65_536)
            for piece in pieces:
                peer.sendall(piece)
                threading.Event().wait(0.02)

    thread = threading.Thread(target=answer)
    thread.start()
    yield listener.getsockname()[1], pieces
    thread.join()
    listener.close()


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_read_to_its_end(scripted: tuple[int, list[bytes]], name: str) -> None:
    port, pieces = scripted
    pieces += ANSWERS[name]
    connection = Connection(port)
    answer = connection.ask(request("POST", "/", b"{}"))
    connection.close()
    assert answer.status == 201
    assert b"body" in answer.body


def test_half_an_answer_is_none(scripted: tuple[int, list[bytes]]) -> None:
    port, pieces = scripted
    pieces += [b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"]
    with pytest.raises(ConnectionError, match="hung up"):
        drive(port, iter([request("GET", "/")]), 1)


def test_every_request_is_sent_once(tmp_path: Path) -> None:
    with servers.null(tmp_path) as server:
        some = drive(server.port, iter([request("GET", "/")] * 7), 3)
        assert some.statuses == Counter({200: 7})
        assert len(some.seconds) == len(some.at) == 7
        timed = drive(server.port, itertools.repeat(request("GET", "/")), 2, seconds=0.1)
        assert timed.elapsed_s == pytest.approx(0.1, abs=0.5)
        assert timed.per_s > 0
        assert server.resident_bytes() > 2**20


def test_recall_counts_true_neighbours() -> None:
    vectors = np.eye(4, dtype=np.float32)
    truth = exact(vectors, vectors[:2] + 0.1 * vectors[2], 2)
    assert truth.tolist() == [[0, 2], [1, 2]]
    assert recall([[0, 2], [1, 3]], truth) == 0.75


def test_the_limit_finds_as_much() -> None:
    measured = [Raw("exact", 1.0, 2.0), Raw("deep", 0.99, 0.5), Raw("shallow", 0.9, 0.1)]
    assert fastest(measured, 0.95).name == "deep"
    assert fastest(measured[1:], 0.999).name == "deep"


@pytest.mark.parametrize(
    ("slowest_s", "failed", "grown", "reached"),
    [
        (0.01, 0, 0, [True, True]),
        (1.0, 0, 0, [False, True]),
        (0.01, 1, 0, [False, True]),
        (0.01, 0, 100 * 2**20, [True, False]),
    ],
)
def test_a_mixed_load_is_judged(
    slowest_s: float, failed: int, grown: int, reached: list[bool]
) -> None:
    measured = Measured([0.01] * 90 + [slowest_s] * 10, elapsed_s=60.0)
    measured.statuses += Counter({500: failed})
    at_rest = [AtRest(10**8, 10**6, 500), AtRest(10**8 + grown, 2 * 10**6, 1500)]
    found = Mixed(measured, at_rest, most=2 * 10**8)
    assert [row.reached for row in mixed_rows(found, 60.0, 384)] == reached
