"""POST /store/batch: each line an answer of its own, while the body is still coming."""

import base64
import json
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from fastapi.testclient import TestClient
from problem_answers import OGG, PNG, assert_problem, state

from memory_service.api import batch_places, batches, create_app
from memory_service.bootstrap import build
from memory_service.client import Client
from memory_service.errors import Overloaded
from memory_service.services.storing import Outcome, Prepared, Storing
from memory_service.settings import Settings

NDJSON = {"content-type": "application/x-ndjson"}
VECTOR = base64.b64encode(np.eye(1, 384, dtype="<f4").tobytes()).decode()


def note(words: str, **options: Any) -> dict:
    return {"items": [{"modality": "text", "text": words}], **options}


def lines(*bodies: Any) -> bytes:
    return b"".join(
        (each if isinstance(each, bytes) else json.dumps(each).encode()) + b"\n" for each in bodies
    )


def post(client: TestClient, body: bytes | Iterable[bytes]) -> list[dict]:
    answer = client.post("/store/batch", content=body, headers=NDJSON)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def test_lines_are_answered_as_store_would(client: TestClient) -> None:
    picture = {"modality": "image", "data": base64.b64encode(PNG).decode()}
    bodies = [
        note("a fox", metadata={"n": 1}, namespace="zoo", ttl_s=100),
        {"items": [picture, note("a tiger")["items"][0]]},
        note("a tiger", if_duplicate="skip"),
        note("a fox", namespace="zoo", if_duplicate="skip"),
    ]
    answers = post(client, lines(*bodies))
    assert [(each["index"], each["status"]) for each in answers] == [
        (0, 201),
        (1, 201),
        (2, 201),  # the episode of the tiger has a picture, too
        (3, 200),
    ]
    assert [each["duplicate"] for each in answers] == [False, False, False, True]
    assert answers[3]["episode"]["id"] == answers[0]["episode"]["id"]
    single = client.post("/store", json=bodies[1]).json()
    assert answers[1]["episode"].keys() == single["episode"].keys()
    for memory in answers[1]["episode"]["memories"]:
        assert client.get(f"/memories/{memory['id']}").json().items() >= memory.items()
    assert client.get(answers[1]["episode"]["memories"][0]["links"]["content"]).content == PNG


BAD: dict[str, tuple[Any, int, str]] = {
    "no JSON": (b"{", 400, "malformed_json"),
    "no object": ([], 422, "invalid_input"),
    "no items": ({"items": []}, 422, "invalid_input"),
    "misspelt": ({**note("a"), "namspace": "a"}, 422, "invalid_input"),
    "not base64": ({"items": [{"modality": "image", "data": "%"}]}, 422, "invalid_input"),
    "a sound": (
        {"items": [{"modality": "image", "data": base64.b64encode(OGG).decode()}]},
        415,
        "unsupported_media",
    ),
    "long text": (note("x" * 2_001), 413, "too_large"),
    "not utf-8": (b'{"items": [{"modality": "text", "text": "\xff"}]}', 400, "malformed_json"),
    "space": (
        {"items": [{"modality": "text", "text": "a", "vector": VECTOR, "space": "?"}]},
        409,
        "space_mismatch",
    ),
    "vector": (
        {"items": [{"modality": "text", "text": "a", "vector": [1, 2], "space": "fake"}]},
        422,
        "invalid_vector",
    ),
    "vector of words": (
        {"items": [{"modality": "text", "text": "a", "vector": ["1"], "space": "fake"}]},
        422,
        "invalid_input",
    ),
}


def test_a_bad_line_does_not_fail_the_others(client: TestClient) -> None:
    bad = [body for body, _, _ in BAD.values()]
    mixed = [each for n, body in enumerate(bad) for each in (note(f"note {n}"), body)]
    answers = post(client, lines(*mixed))
    assert [each["index"] for each in answers] == list(range(2 * len(bad)))
    assert {each["status"] for each in answers[::2]} == {201}
    for answer, (name, (_, status, code)) in zip(answers[1::2], BAD.items(), strict=True):
        assert (answer["status"], answer["code"]) == (status, code), name
        assert answer["type"] == f"/errors/{code}"
        assert answer["title"]
        assert answer["detail"]
    assert len(client.get("/memories").json()["memories"]) == len(bad)


def test_blank_lines_do_not_count_and_the_last_needs_no_end(client: TestClient) -> None:
    body = b"\n \r\n" + lines(note("one")) + b"\n\n" + lines(note("two"))[:-1]
    assert [(each["index"], each["status"]) for each in post(client, body)] == [(0, 201), (1, 201)]


@pytest.mark.parametrize("body", [b"", b"\n\n \n"])
def test_no_line_at_all(client: TestClient, body: bytes) -> None:
    answer = client.post("/store/batch", content=body, headers=NDJSON)
    assert_problem(answer, 400, "malformed_json")


def test_another_type(client: TestClient) -> None:
    answer = client.post("/store/batch", json=note("a"))
    assert assert_problem(answer, 415, "unsupported_content_type")["accepted"] == [
        "application/x-ndjson"
    ]
    untyped = client.post("/store/batch", content=lines(note("a")))
    assert untyped.status_code == 200


def test_vectors_are_taken_and_found(client: TestClient) -> None:
    item = {"modality": "text", "text": "a fox", "vector": VECTOR, "space": "fake"}
    numbers = {**item, "text": "an owl", "vector": [0.0, 2.0, *[0.0] * 382]}
    answers = post(client, lines({"items": [item]}, {"items": [numbers]}))
    assert [each["status"] for each in answers] == [201, 201]
    found = client.post("/retrieve", json={"query": {"vector": VECTOR}, "mode": "direct"}).json()
    hits = [(hit["memory"]["text"], round(hit["cosine"], 3)) for hit in found["results"]["text"]]
    assert hits == [("a fox", 1.0), ("an owl", 0.0)]
    single = client.post("/store", json={"items": [item]})
    assert single.status_code == 201


def test_a_line_that_is_too_long_is_left_out(settings: Settings) -> None:
    settings = settings.model_copy(update={"max_upload_bytes": 1000})
    with TestClient(create_app(settings=settings)) as client:
        limit = client.app.state.body_limit  # type: ignore[attr-defined]
        long = b'{"items": "' + b"x" * limit + b'"}'
        chunks = [lines(note("one"))[:10], lines(note("one"))[10:]]
        chunks += [long[n : n + 100_000] for n in range(0, len(long), 100_000)]
        chunks += [b"\n" + lines(note("two"))[:-1], b"\n", long]
        answers = post(client, iter(chunks))
    assert [each["status"] for each in answers] == [201, 413, 201, 413]
    assert answers[1]["found"] > limit == answers[1]["accepted"]


def test_a_body_longer_than_any_other_may_be(settings: Settings) -> None:
    """In groups, of which few are there at a time."""
    settings = settings.model_copy(update={"max_upload_bytes": 1000})
    body = (lines(note(f"{number} " + "x" * 950)) for number in range(1_100))
    with TestClient(create_app(settings=settings)) as client:
        answers = post(client, body)
        assert client.app.state.body_limit < 1_100 * 980  # type: ignore[attr-defined]
        assert client.get("/stats").json()["memories"] == 1_100
    assert [each["index"] for each in answers] == list(range(1_100))
    assert {each["status"] for each in answers} == {201}


def test_each_group_has_the_whole_time_limit(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Storing.write

    def slow(self: Storing, prepared: Prepared) -> list[Outcome]:
        time.sleep(0.25)
        return write(self, prepared)

    monkeypatch.setattr(batches, "GROUP_LINES", 1)
    monkeypatch.setattr(Storing, "write", slow)
    app = create_app(settings=settings.model_copy(update={"request_timeout_s": 0.9}))
    with TestClient(app) as client:
        answers = post(client, lines(*(note(f"a fox {n}") for n in range(5))))
    assert [each["status"] for each in answers] == [201] * 5


def test_what_is_too_busy_is_waited_for(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    storing = client.app.state.application.storing  # type: ignore[attr-defined]
    real, refused = storing.prepare, []

    def busy(orders: Any) -> Any:
        if len(refused) < 2:
            refused.append(1)
            raise Overloaded("too much", retry_after_s=1)
        return real(orders)

    monkeypatch.setattr(type(storing), "prepare", lambda self, orders: busy(orders))
    monkeypatch.setattr(batches, "PAUSE_S", 0.001)
    assert [each["status"] for each in post(client, lines(note("a"), b"{"))] == [201, 400]
    monkeypatch.setattr(batches, "PATIENCE_S", -1.0)
    refused.clear()
    answers = post(client, lines(note("a"), note("b")))
    assert [(each["status"], each["code"]) for each in answers] == [(429, "overloaded")] * 2
    assert answers[0]["retry_after_s"] == 1


@contextmanager
def serving(settings: Settings) -> Iterator[tuple[str, int]]:
    """The service on a real socket, where body and answer are under way at once."""
    with build(settings) as application:
        app = create_app(application)
        server = uvicorn.Server(
            uvicorn.Config(app, port=0, log_config=None, timeout_graceful_shutdown=5)
        )
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            while not server.started:
                threading.Event().wait(0.005)
            yield server.servers[0].sockets[0].getsockname()
        finally:
            server.should_exit = True
            thread.join()


class Stream:
    """A request whose body is sent bit by bit while its answer is read."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=20)
        self.socket.sendall(
            b"POST /store/batch HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
            b"Content-Type: application/x-ndjson\r\n\r\n"
        )
        self.answer = self.socket.makefile("rb")

    def send(self, content: bytes) -> None:
        self.socket.sendall(b"%x\r\n%b\r\n" % (len(content), content))

    def line(self) -> dict:
        """The next answer; what is not JSON is of the protocol."""
        while True:
            line = self.answer.readline()
            assert line, "the connection has ended"
            if line.startswith(b"{"):
                return json.loads(line)

    def close(self) -> None:
        self.answer.close()
        self.socket.close()


def test_answers_come_while_the_body_is_under_way(settings: Settings) -> None:
    with serving(settings) as address, closing(Stream(address)) as stream:
        for number in range(3):
            stream.send(lines(note(f"note {number}")))
            answer = stream.line()  # though more may follow
            assert (answer["index"], answer["status"]) == (number, 201)
        stream.send(lines(note("three"), note("four")))
        assert [stream.line()["index"] for _ in range(2)] == [3, 4]


def test_a_broken_connection_leaves_whole_episodes(settings: Settings) -> None:
    two = {"items": [{"modality": "text", "text": "a"}, {"modality": "text", "text": "b"}]}
    with serving(settings) as address, closing(Stream(address)) as stream:
        stream.send(lines(two))
        stored = stream.line()["episode"]
        stream.send(lines(two) + json.dumps(two).encode())  # whole, but nobody said it is the end
        assert stream.line()["index"] == 1
        stream.close()
        with Client(f"http://127.0.0.1:{address[1]}") as client:
            while True:  # until the service has noticed
                if 'status="499"' in client._http.get("/metrics").text:
                    break
            memories = client.memories().memories
    assert len(memories) == 4
    assert stored["id"] in {memory.episode_id for memory in memories}


def test_who_does_not_read_is_not_read_from(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sender is held up long before the service has everything."""
    monkeypatch.setattr(batches, "GROUP_LINES", 1)
    read = 0
    real = batches.read_line

    def counted(request: Any, content: bytes, index: int) -> Any:
        nonlocal read
        read += 1
        return real(request, content, index)

    monkeypatch.setattr(batches, "read_line", counted)
    settings = settings.model_copy(update={"max_metadata_bytes": 60_000})
    body = lines(note("x", metadata={"padding": "y" * 50_000}))
    with serving(settings) as address, closing(Stream(address)) as stream:
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stream.socket.settimeout(0.5)
        sent = 0
        with suppress(TimeoutError):
            while sent < 2_000:
                stream.send(body)
                sent += 1
        stream.close()
    assert sent < 2_000
    assert read < sent


def test_few_batches_at_a_time(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_places, "MOST_AT_ONCE", 0)
    answer = client.post("/store/batch", content=lines(note("a")), headers=NDJSON)
    assert answer.headers["retry-after"] == "1"
    assert_problem(answer, 429, "overloaded")


def test_the_client_sends_few_requests_of_many_lines(settings: Settings) -> None:
    seen: list[int] = []
    with serving(settings) as address:

        class Counting(httpx.HTTPTransport):
            def handle_request(self, request: httpx.Request) -> httpx.Response:
                seen.append(request.content.count(b"\n"))
                return super().handle_request(request)

        url = f"http://127.0.0.1:{address[1]}"
        with Client(url, transport=Counting()) as client:
            episodes = ({"text": f"note {n}", "metadata": {"n": n}} for n in range(250))
            answers = list(client.store_batch(episodes))  # type: ignore[arg-type]
    assert seen == [100, 100, 50]
    assert [each.index for each in answers] == list(range(250))
    assert all(each.stored and not each.error for each in answers)
    assert [a.stored.episode.memories[0].metadata["n"] for a in answers if a.stored] == list(
        range(250)
    )


def test_state_is_as_before_where_every_line_is_bad(
    client: TestClient, settings: Settings, stored: dict
) -> None:
    before = state(client, settings)
    post(client, lines(*(body for body, _, _ in BAD.values())))
    assert state(client, settings) == before
