"""Connections that take too long, say too much, or are too many: over real sockets."""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse

from memory_service.api.metrics import Metrics
from memory_service.api.uploads import BODY_HERE
from memory_service.cli import connections, server
from memory_service.settings import Settings

HEAD = b"GET /short HTTP/1.1\r\nHost: localhost\r\n"


class Service:
    """A server with routes of its own: what is tested here knows nothing of memories."""

    def __init__(self, **given: Any) -> None:
        self.ended = threading.Event()  # an endless answer has
        self.open = threading.Event()
        self.app = self._app()
        settings = Settings(port=0, drain_s=1.0, **given)
        self.server = server.Server(self.app, settings, None)  # type: ignore[arg-type]
        self._sockets: list[socket.socket] = []

    def _app(self) -> FastAPI:
        app = FastAPI()
        app.state.metrics = Metrics()

        @app.get("/short")
        async def short() -> Response:
            return Response("short")

        @app.get("/endless")
        async def endless() -> Response:
            return StreamingResponse(self._chunks())

        @app.post("/echo")
        async def echo(request: Request) -> Response:
            return Response(await request.body())

        return app

    async def _chunks(self) -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(65_536)
                await asyncio.sleep(0)  # to a client that is gone, sending does not wait
        finally:
            self.ended.set()

    def connect(self, content: bytes = b"") -> socket.socket:
        address = self.server.servers[0].sockets[0].getsockname()
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        connection.settimeout(10)
        connection.connect(address)
        connection.sendall(content)
        self._sockets.append(connection)
        return connection

    def refused(self, reason: str) -> float:
        text = self.app.state.metrics.text().decode()
        name = f'memory_service_connections_refused_total{{reason="{reason}"}} '
        return sum(float(each.split()[-1]) for each in text.splitlines() if each.startswith(name))

    @contextmanager
    def running(self) -> Iterator["Service"]:
        thread = threading.Thread(target=self.server.run)
        thread.start()
        try:
            while not self.server.started:
                threading.Event().wait(0.005)
            yield self
        finally:
            for each in self._sockets:
                each.close()
            self.server.should_exit = True
            thread.join()


@pytest.fixture(autouse=True)
def looked_at_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "TICKS_PER_LOOK", 1)


@pytest.fixture(scope="module")
def hurried() -> Iterator[Service]:
    with Service(head_timeout_s=0.4, unread_timeout_s=0.5).running() as service:
        yield service


def everything(connection: socket.socket) -> bytes:
    """Until the other side ends it."""
    found = b""
    with suppress(ConnectionResetError):
        while piece := connection.recv(65_536):
            found += piece
    return found


def problem(answer: bytes) -> dict[str, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Type: application/problem+json" in head
    assert b"Connection: close" in head
    assert b"X-Content-Type-Options: nosniff" in head
    told: dict[str, Any] = json.loads(body)
    assert int(head.split()[1]) == told["status"]
    return told


@pytest.mark.parametrize("begun", [HEAD, b"\r\n", b"G"])
def test_a_head_that_does_not_come(hurried: Service, begun: bytes) -> None:
    told = problem(everything(hurried.connect(begun)))
    assert (told["status"], told["code"], told["accepted"]) == (408, "slow_upload", 0.4)


def test_a_head_that_trickles(hurried: Service) -> None:
    connection = hurried.connect(HEAD)
    with suppress(OSError):
        for number in range(100):
            connection.sendall(b"X-%d: y\r\n" % number)
            threading.Event().wait(0.05)
    with suppress(OSError):
        assert problem(everything(connection))["status"] == 408
    assert number < 60  # it was not waited for


def test_a_head_that_trickles_behind_a_whole_request(hurried: Service) -> None:
    connection = hurried.connect(HEAD + b"\r\n" + HEAD)
    answers = everything(connection)
    assert answers.startswith(b"HTTP/1.1 200")
    assert answers.count(b"HTTP/1.1 408") == 1


def test_who_says_nothing_is_told_nothing(hurried: Service) -> None:
    before = hurried.refused("head_timeout")
    assert everything(hurried.connect()) == b""
    assert hurried.refused("head_timeout") == before + 1


def test_who_asks_again_and_again_is_answered(hurried: Service) -> None:
    connection = hurried.connect()
    for _ in range(12):  # longer than a head may take
        connection.sendall(HEAD + b"\r\n")
        assert connection.recv(65_536).endswith(b"short")
        threading.Event().wait(0.1)


@pytest.mark.parametrize("size", [connections.MOST_HEAD_BYTES + 1, 20 * 2**20])
def test_a_head_that_is_too_large(hurried: Service, size: int) -> None:
    connection = hurried.connect(HEAD + b"X: ")
    with suppress(OSError):
        for _ in range(0, size, 10_000):
            connection.sendall(b"y" * 10_000)
        connection.sendall(b"\r\n\r\n")
    with suppress(OSError):
        told = problem(everything(connection))
        assert (told["status"], told["code"]) == (431, "head_too_large")
    assert hurried.refused("head_too_large") >= 1


def test_heads_below_the_limit_are_taken_in_any_number(hurried: Service) -> None:
    one = HEAD + b"X: " + b"y" * 30_000 + b"\r\n\r\n"
    connection, answers = hurried.connect(one * 4), b""
    while answers.count(b"200 OK") < 4:
        piece = connection.recv(65_536)
        assert piece, answers
        answers += piece


def test_an_answer_that_nobody_reads_is_given_up(hurried: Service) -> None:
    hurried.ended.clear()
    hurried.connect(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert hurried.ended.wait(8)
    assert hurried.refused("unread") >= 1


def test_an_answer_that_is_read_slowly_is_not(hurried: Service) -> None:
    hurried.ended.clear()
    connection = hurried.connect(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
    for _ in range(20):
        for _ in range(16):
            assert connection.recv(65_536)
        threading.Event().wait(0.1)
    assert not hurried.ended.is_set()


def test_the_rest_of_a_body_is_not_taken_for_ever(
    hurried: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "REST_S", 0.3)
    connection = hurried.connect(
        b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n"
    )
    assert b"404" in everything(connection)
    assert hurried.refused("rest_of_body") == 1


def test_what_is_no_http_behind_a_body_that_is_awaited(hurried: Service) -> None:
    connection = hurried.connect(
        b"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
    )
    threading.Event().wait(0.1)
    connection.sendall(b"no length\r\n")
    told = problem(everything(connection))
    assert (told["status"], told["code"]) == (400, "malformed_body")


def test_one_too_many_takes_the_place_of_one_that_is_silent() -> None:
    with Service(connections=3).running() as service:
        silent: list[socket.socket] = []
        for _ in range(3):
            silent.append(service.connect())
            while len(service.server.server_state.connections) < len(silent):
                threading.Event().wait(0.01)
            threading.Event().wait(0.02)  # the loop's clock counts milliseconds
        connection = service.connect(HEAD + b"\r\n")
        assert connection.recv(65_536).endswith(b"short")
        assert everything(silent[0]) == b""
        assert service.refused("displaced") == 1


def test_one_too_many_where_all_are_busy() -> None:
    with Service(connections=2).running() as service:
        body = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhal"
        busy = [service.connect(body) for _ in range(2)]
        while len(service.server.server_state.tasks) < 2:
            threading.Event().wait(0.01)
        told = problem(everything(service.connect(HEAD + b"\r\n")))
        assert (told["status"], told["code"], told["retry_after_s"]) == (503, "overloaded", 1)
        for each in busy:
            each.sendall(b"lo")
            assert each.recv(65_536).endswith(b"hallo")


class Written:
    """A transport that notes what is written at once."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.pieces.append(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


def begun() -> tuple[Written, connections._WholeAnswers]:
    """A connection's transport, and what answers are written to in its place."""
    written = Written()
    return written, connections._WholeAnswers(written, asyncio.get_running_loop())


@pytest.mark.anyio
async def test_the_head_goes_along_with_the_body() -> None:
    written, answer = begun()
    for piece in (b"head ", b"body", b" and more"):
        answer.write(piece)
    await asyncio.sleep(0)
    assert written.pieces == [b"head body", b" and more"]


@pytest.mark.anyio
async def test_a_head_does_not_wait_for_its_body() -> None:
    written, answer = begun()
    answer.write(b"head")
    await asyncio.sleep(0)
    answer.write(b"body")
    assert written.pieces == [b"head", b"body"]


@pytest.mark.anyio
async def test_a_head_without_a_body_is_written_before_the_end() -> None:
    written, answer = begun()
    answer.write(b"head")
    answer.close()
    await asyncio.sleep(0)
    assert (written.pieces, answer.is_closing()) == ([b"head"], True)
    lost = connections._WholeAnswers(written, asyncio.get_running_loop())
    lost.write(b"of a connection that is gone by now")
    await asyncio.sleep(0)
    assert written.pieces == [b"head"]


@pytest.mark.anyio
async def test_to_be_told_to_go_on_is_not_the_head() -> None:
    written, answers = begun()
    go_on = b"HTTP/1.1 100 Continue\r\n\r\n"
    for piece in (go_on, b"HTTP/1.1 200 OK ", b"body"):
        answers.write(piece)
    assert written.pieces == [go_on, b"HTTP/1.1 200 OK body"]


@pytest.mark.anyio
async def test_a_large_body_is_not_copied() -> None:
    written, answer = begun()
    body = bytes(2**16)
    answer.write(b"head")
    answer.write(body)
    assert written.pieces == [b"head", body]
    assert written.pieces[1] is body


@pytest.mark.anyio
async def test_a_head_that_has_no_body_goes_before_the_next_answer() -> None:
    written, answers = begun()
    answers.write(b"to HEAD")
    answers.complete()
    assert written.pieces == [b"to HEAD"]
    for piece in (b"head ", b"body"):
        answers.write(piece)
    assert written.pieces == [b"to HEAD", b"head body"]


@pytest.mark.anyio
async def test_nothing_is_written_behind_a_refusal() -> None:
    written, answers = begun()
    answers.write(b"head")
    answers.drop()
    answers.write(b"body")
    await asyncio.sleep(0)
    assert (written.pieces, answers.is_closing()) == ([], True)


def test_what_is_no_http_behind_a_head_that_is_to_be_told_to_go_on(
    hurried: Service, caplog: pytest.LogCaptureFixture
) -> None:
    """At once: the refusal is all that is written, as nothing can be behind its end."""
    head = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
    answer = everything(hurried.connect(head + b"Transfer-Encoding: chunked\r\n\r\nno size\r\n"))
    assert problem(answer)["status"] == 400
    assert answer.startswith(b"HTTP/1.1 400")
    hurried.connect(HEAD + b"\r\n").recv(2**16)  # until then, the loop has had its turns
    assert not [each for each in caplog.records if each.name == "asyncio"]


def test_an_answer_is_one_piece_for_the_client(hurried: Service) -> None:
    piece = hurried.connect(HEAD + b"\r\n").recv(2**16)
    assert piece.startswith(b"HTTP/1.1 200")
    assert piece.endswith(b"\r\n\r\nshort")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_it_is_told_when_all_of_a_body_has_come() -> None:
    """So that nobody waits for it by a clock."""
    service = Service()
    told: list[bool] = []

    @service.app.post("/told")
    async def tell(request: Request) -> Response:
        told.append(BODY_HERE in request.scope)
        await request.body()
        told.append(BODY_HERE in request.scope)
        return Response("x")

    head = b"POST /told HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n"
    with service.running():
        service.connect(head + b"\r\nbody").recv(1)
        connection = service.connect(head + b"\r\nbo")
        while len(told) < 3:
            threading.Event().wait(0.005)
        connection.sendall(b"dy")
        connection.recv(1)
    assert told == [True, True, False, True]
