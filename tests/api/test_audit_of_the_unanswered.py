"""What is committed is in the audit log whether anybody waits for the answer or not."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asgi import Sender, scope
from fastapi import FastAPI
from fastapi.testclient import TestClient
from turnable_clock import TurnableClock

from memory_service.api import create_app, turns, views
from memory_service.app import Application
from memory_service.bootstrap import build
from memory_service.records import Episode, StoreOrder, Upload
from memory_service.settings import Settings
from memory_service.storage.audit import AuditLog
from memory_service.trail import MOST, AuditTrail

ITEM = {"items": [{"modality": "text", "text": "a hen"}]}


class Held:
    """A method that does its work, and returns only when it is let go."""

    def __init__(self, owner: Any, name: str) -> None:
        self.done, self.open = threading.Event(), threading.Event()
        self._real: Callable[..., Any] = getattr(owner, name)
        setattr(owner, name, self)

    def __call__(self, *given: Any, **named: Any) -> Any:
        made = self._real(*given, **named)
        self.done.set()
        assert self.open.wait(20)
        return made


@pytest.fixture
def hold() -> Iterator[Callable[[Any, str], Held]]:
    made: list[Held] = []

    def hold(owner: Any, name: str) -> Held:
        made.append(Held(owner, name))
        return made[-1]

    yield hold
    for each in made:
        each.open.set()


def entries(app: FastAPI, request_id: str, count: int) -> list[dict[str, Any]]:
    """The lines of a request, the oldest first, as soon as there are so many."""
    for _ in range(500):
        found = app.state.application.audit.latest(100, {"request_id": request_id})
        if len(found) >= count:
            return list(reversed(found))
        threading.Event().wait(0.01)
    raise AssertionError(found)


def store(application: Application, text: bytes, **more: Any) -> Episode:
    return application.memory.store([Upload("text", text)], **more).episode


def test_a_delete_that_runs_into_its_time_limit(settings: Settings, hold: Any) -> None:
    with TestClient(create_app(settings=settings)) as client:
        stored = client.post("/store", json=ITEM).json()["episode"]["memories"][0]["id"]
    app = create_app(settings=settings.model_copy(update={"request_timeout_s": 0.3}))
    with TestClient(app) as client:
        held = hold(app.state.application.memory, "forget")
        headers = {"X-Request-Id": "late"}
        answer = client.delete(f"/memories/{stored}", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (504, "timed_out")
        (line,) = entries(app, "late", 1)
        assert (line["status"], line["memories"]) == (504, [stored])
        held.open.set()


def test_what_is_committed_after_the_answer_has_a_line_of_its_own(
    settings: Settings, hold: Any
) -> None:
    with TestClient(create_app(settings=settings)) as client:
        stored = client.post("/store", json=ITEM).json()["episode"]["memories"][0]["id"]
    app = create_app(settings=settings.model_copy(update={"request_timeout_s": 0.3}))
    with TestClient(app) as client:
        removal, begun = app.state.application.store.removal, threading.Event()
        real = removal.memory

        def slow(*given: Any) -> Any:
            assert begun.wait(20)
            return real(*given)

        removal.memory = slow
        answer = client.delete(f"/memories/{stored}", headers={"X-Request-Id": "later"})
        assert answer.status_code == 504
        (line,) = entries(app, "later", 1)
        assert (line["status"], "memories" in line) == (504, False)
        begun.set()
        _, line = entries(app, "later", 2)
        assert (line["status"], line["memories"]) == (None, [stored])
        assert (line["method"], line["route"]) == ("DELETE", "/memories/{memory_id}")
        assert client.get(f"/memories/{stored}").status_code == 404


@pytest.mark.anyio
@pytest.mark.parametrize("method", ["DELETE", "POST"])
async def test_whose_client_hangs_up(
    settings: Settings, hold: Any, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(turns, "WATCH_AFTER_S", 0.01)
    app = create_app(settings=settings)
    async with app.router.lifespan_context(app):
        application = app.state.application
        stored = await asyncio.to_thread(store, application, b"an owl")
        if method == "DELETE":
            held = hold(application.memory, "forget")
            sender = Sender()
            given = scope(app, method, f"/memories/{stored.memories[0].id}", x_request_id="gone")
        else:
            held = hold(application.storing, "store")
            sender = Sender([b'{"items": [{"modality": "text", "text": "a hen"}]}'])
            given = scope(app, method, "/store", x_request_id="gone", content_length="50")
        asking = asyncio.create_task(app(given, sender.receive, sender.send))
        assert await asyncio.to_thread(held.done.wait, 20)
        sender.leave.set()
        await asking
        assert sender.status is None  # nobody was answered
        (line,) = await asyncio.to_thread(entries, app, "gone", 1)
        assert line["status"] == 499
        known = {each.id for each in (await asyncio.to_thread(application.memory.list))[0]}
        if method == "DELETE":
            assert line["memories"] == [stored.memories[0].id]
            assert not known
        else:
            assert set(line["memories"]) == known - {stored.memories[0].id}
            assert len(line["episodes"]) == 1


def given(number: int) -> dict[str, Any]:
    """The body of a store that is written together with others."""
    item = {"modality": "text", "text": "a hen", "space": "fake", "vector": [1.0] * 384}
    return {"items": [item], "metadata": {"number": number}, "if_duplicate": "skip"}


def test_what_is_stored_together_is_noted_by_one_write_before_it_is_answered(
    client: TestClient, hold: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    app: Any = client.app
    held = hold(app.state.application.storing, "store_all")
    answers: dict[str, Any] = {}
    noted: list[list[Any]] = []
    real = AuditLog.add

    def add(log: AuditLog, *entries: Any, owed: bool = True) -> None:
        assert not {each["request_id"] for each in entries} & set(answers)
        noted.append([(each["request_id"], each["status"]) for each in entries])
        real(log, *entries, owed=owed)

    monkeypatch.setattr(AuditLog, "add", add)

    def store(name: str, body: dict[str, Any]) -> None:
        answers[name] = client.post("/store", json=body, headers={"X-Request-Id": name})

    bodies = {name: given(number) for number, name in enumerate("abcd")}
    bodies["d"]["namespace"] = "no name"
    threads = {each[0]: threading.Thread(target=store, args=each) for each in bodies.items()}
    threads["a"].start()
    assert held.done.wait(20)
    for name in "bcd":
        threads[name].start()
        while app.state.writes._next.qsize() < "abcd".index(name):
            threading.Event().wait(0.005)
    held.open.set()
    for each in threads.values():
        each.join()
    assert noted == [[("a", 201)], [("b", 200), ("c", 200)], [("d", 422)]]
    found = {each["request_id"]: each for each in client.get("/audit").json()["entries"]}
    assert found["a"]["episodes"] == [answers["a"].json()["episode"]["id"]]
    assert {name: each.status_code for name, each in answers.items()} == {
        name: each["status"] for name, each in found.items()
    }


def test_an_answer_that_fails_once_its_store_is_noted_is_noted_as_well(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "stored", lambda stored: {}["nothing"])
    answer = client.post("/store", json=given(0), headers={"X-Request-Id": "broken"})
    assert answer.status_code == 500
    done, failed = entries(client.app, "broken", 2)  # type: ignore[arg-type]
    assert (done["status"], len(done["episodes"])) == (201, 1)
    assert (failed["status"], "episodes" in failed) == (500, False)


def test_a_store_of_a_group_that_runs_into_its_time_limit(settings: Settings, hold: Any) -> None:
    app = create_app(settings=settings.model_copy(update={"request_timeout_s": 0.3}))
    with TestClient(app) as client:
        held = hold(app.state.application.storing, "store_all")
        headers = {"X-Request-Id": "late"}
        answer = client.post("/store", json=given(0), headers=headers)
        assert answer.status_code == 504
        (line,) = entries(app, "late", 1)
        assert (line["status"], "episodes" in line) == (504, False)
        held.open.set()
        _, line = entries(app, "late", 2)
        assert (line["status"], len(line["episodes"])) == (None, 1)


def test_expiry_leaves_lines(tmp_path: Path) -> None:
    clock = TurnableClock()
    settings = Settings(data_dir=tmp_path / "data", profile="fake", upkeep_s=0.02)
    with build(settings, clock) as application:
        stored = store(application, b"for a while", ttl_s=5.0)
        clock.turn(10.0)
        for _ in range(500):
            if found := application.audit.latest(10, {"by": "expiry"}):  # type: ignore[union-attr]
                break
            threading.Event().wait(0.01)
        (line,) = found
        assert line["memories"] == [stored.memories[0].id]
        assert line["namespaces"] == ["default"]
        assert line["request_id"] is None
        with TestClient(create_app(application)) as client:
            assert client.get("/audit").json()["entries"][0]["by"] == "expiry"


def test_many_ids_take_several_lines(client: TestClient) -> None:
    application = client.app.state.application  # type: ignore[attr-defined]
    orders = [StoreOrder([Upload("text", b"note %d" % number)]) for number in range(600)]
    application.storing.write(application.storing.prepare(orders))
    answer = client.request("DELETE", "/memories", json={"all": True, "expected": 600})
    assert answer.status_code == 200
    found = client.get("/audit").json()["entries"]
    deleted = [each for line in found for each in line.get("memories", [])]
    assert sorted(deleted) == sorted(answer.json()["memory_ids"])
    assert [each["status"] for each in found] == [200, None, None]
    assert max(len(each.get("memories", [])) for each in found) <= MOST


def test_a_trail() -> None:
    late: list[dict[str, list[str]]] = []
    trail = AuditTrail(late.append)
    trail.told({"memories": ["a", "b"], "receipts": ()})
    trail.told({"memories": ["b", "c"]})
    assert trail.end() == {"memories": ["a", "b", "c"]}
    assert trail.end() == {}
    assert late == []
    trail.told({"memories": ["d"]})
    assert late == [{"memories": ["d"]}]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
