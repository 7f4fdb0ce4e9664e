"""Requests that are broken before any route sees them, over a real socket."""

import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from memory_service.api import create_app
from memory_service.bootstrap import build
from memory_service.cli.server import Server
from memory_service.settings import Settings

HOST = b"Host: 127.0.0.1\r\n"
JSON = b"Content-Type: application/json\r\n"
RAW = {
    "nothing": b"",
    "blanks": b"\r\n" * 50,
    "noise": bytes(range(256)) * 40,
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /stats\r\n",
    "HTTP/9.9": b"GET /stats HTTP/9.9\r\n" + HOST + b"\r\n",
    "no host": b"GET /stats HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /stats HTTP/1.1\r\n" + HOST * 2 + b"\r\n",
    "another host": b"GET /stats HTTP/1.1\r\nHost: example.org\r\n\r\n",
    "a host of noise": b"GET /stats HTTP/1.1\r\nHost: [::\xff\x00]]:99999\r\n\r\n",
    "an unknown method": b"BREW /stats HTTP/1.1\r\n" + HOST + b"\r\n",
    "a method of 10 kB": b"G" * 10_000 + b" / HTTP/1.1\r\n" + HOST + b"\r\n",
    "a path of 200 kB": b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "a path of broken escapes": b"GET /memories/%ff%00%zz HTTP/1.1\r\n" + HOST + b"\r\n",
    "a path out of the folder": b"GET /docs-assets/../../etc/passwd HTTP/1.1\r\n" + HOST + b"\r\n",
    "escapes out of the folder": b"GET /docs-assets/%2e%2e%2fx HTTP/1.1\r\n" + HOST + b"\r\n",
    "an escape of NUL": b"GET /docs-assets/%00 HTTP/1.1\r\n" + HOST + b"\r\n",
    "an absolute URL": b"GET http://example.org/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "a query of noise": b"GET /memories?after=%ff%fe&limit=\xff HTTP/1.1\r\n" + HOST + b"\r\n",
    "ten thousand headers": b"GET /stats HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 10_000 + b"\r\n",
    "a header of 200 kB": b"GET /stats HTTP/1.1\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
    "a header without colon": b"GET /stats HTTP/1.1\r\n" + HOST + b"no colon\r\n\r\n",
    "a header folded": b"GET /stats HTTP/1.1\r\n" + HOST + b"X: y\r\n z\r\n\r\n",
    "a header with NUL": b"GET /stats HTTP/1.1\r\n" + HOST + b"X: \0\r\n\r\n",
    "a length of words": b"POST /store HTTP/1.1\r\n"
    + HOST
    + JSON
    + b"Content-Length: ten\r\n\r\n{}",
    "a length below 0": b"POST /store HTTP/1.1\r\n" + HOST + JSON + b"Content-Length: -1\r\n\r\n{}",
    "a length of 30 digits": b"POST /store HTTP/1.1\r\n"
    + HOST
    + b"Content-Length: "
    + b"9" * 30
    + b"\r\n\r\n{}",
    "two lengths": b"POST /store HTTP/1.1\r\n"
    + HOST
    + b"Content-Length: 2\r\nContent-Length: 3\r\n"
    b"\r\n{}",
    "length and chunks": b"POST /store HTTP/1.1\r\n" + HOST + JSON + b"Content-Length: 2\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "chunks of noise": b"POST /store HTTP/1.1\r\n"
    + HOST
    + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a chunk of 16^16 bytes": b"POST /store HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n"
    b"\r\nffffffffffffffff\r\n{}",
    "a body that stops": b"POST /store HTTP/1.1\r\n" + HOST + JSON + b"Content-Length: 99\r\n\r\n{",
    "a form that stops": b"POST /store HTTP/1.1\r\n" + HOST + b"Content-Type: multipart/form-data; "
    b"boundary=b\r\nContent-Length: 999\r\n\r\n--b\r\nContent-Disposition: form-data; name=",
    "an unknown coding": b"POST /store HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: cow\r\n\r\n{}",
    "expect": b"POST /store HTTP/1.1\r\n" + HOST + JSON + b"Expect: 200-ok\r\nContent-Length: 2\r\n"
    b"\r\n{}",
    "an upgrade": b"GET /stats HTTP/1.1\r\n"
    + HOST
    + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n",
    "two requests, the second broken": b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n\0\0\0\r\n\r\n",
}


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The service as `serve` runs it, in a thread."""
    folder: Path = tmp_path_factory.mktemp("wire")
    settings = Settings(data_dir=folder / "data", profile="fake", port=0)
    with build(settings) as application:
        server = Server(create_app(application, hosts=["127.0.0.1"]), settings, application)
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            threading.Event().wait(0.005)
        yield server.servers[0].sockets[0].getsockname()[1]
        server.should_exit = True
        thread.join()


def answered(port: int, content: bytes) -> bytes:
    """What comes back until the service ends the connection, or we do."""
    found = b""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        try:
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65_536):
                found += piece
        except TimeoutError:
            raise
        except OSError:  # it did not want to read all of that
            pass
    return found


@pytest.mark.parametrize("name", RAW)
def test_the_service_goes_on(port: int, name: str) -> None:
    answer = answered(port, RAW[name])
    statuses = [
        int(line.split()[1]) for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.")
    ]
    assert all(status < 500 for status in statuses), statuses
    assert len(re.findall(rb"(?i)content-type: application/problem\+json", answer)) == sum(
        status >= 400 for status in statuses
    )
    assert b"uvicorn" not in answer
    with httpx.Client(transport=httpx.HTTPTransport()) as client:
        assert client.get(f"http://127.0.0.1:{port}/stats").json()["memories"] == 0
