"""Bodies that do not end, are too slow, or too many at a time; batches that hold their place."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from asgi import Sender, scope
from fastapi import FastAPI

from memory_service.api import batch_lines, batch_places, create_app, uploads
from memory_service.api.uploads import Room
from memory_service.errors import Overloaded
from memory_service.settings import Settings

pytestmark = pytest.mark.anyio
NDJSON = "application/x-ndjson"
LINE = b'{"items": [{"modality": "text", "text": "a hen"}]}\n'


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Asking:
    """Requests to an app, some of them still on their way."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self.tasks: list[asyncio.Task[None]] = []

    def begin(
        self, path: str, sender: Sender, key: str | None = None, **headers: str
    ) -> asyncio.Task[None]:
        if key is not None:
            headers["authorization"] = f"Bearer {key}"
        given = scope(self.app, "POST", path, **headers)
        task = asyncio.create_task(self.app(given, sender.receive, sender.send))
        self.tasks.append(task)
        return task

    async def ask(self, path: str, sender: Sender, *given: Any, **headers: str) -> Sender:
        await self.begin(path, sender, *given, **headers)
        return sender

    def metric(self, name: str) -> float:
        text = self.app.state.metrics.text().decode().splitlines()
        return sum(float(each.split()[-1]) for each in text if each.startswith(name))


@pytest.fixture
def serving(settings: Settings) -> Callable[..., Any]:
    @asynccontextmanager
    async def serving(**given: Any) -> AsyncIterator[Asking]:
        app = create_app(settings=settings.model_copy(update=given))
        asking = Asking(app)
        async with app.router.lifespan_context(app):
            yield asking
            for each in asking.tasks:
                each.cancel()

    return serving


async def until(true: Callable[[], object]) -> None:
    for _ in range(1000):
        if true():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never happened")


def refused(sender: Sender, status: int, code: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(sender.body)
    assert (sender.status, told["code"]) == (status, code), told
    return told


async def test_a_key_takes_half_of_the_room(serving: Any) -> None:
    given = {"auth": "required", "max_upload_bytes": 30_000, "upload_room_bytes": 3_000_000}
    async with serving(**given) as asking:
        make = asking.app.state.application.keys.create
        one, other = (make(name, "write")[1] for name in ("one", "other"))
        size = str(1_000_000)
        first = Sender([b"{"], whole=False)
        asking.begin("/store", first, one, content_length=size)
        await until(lambda: asking.metric("memory_service_body_bytes ") == 1_000_000)
        late = await asking.ask("/store", Sender([b"{"], whole=False), one, content_length=size)
        told = refused(late, 429, "overloaded")
        assert told["found"] == 2_000_000
        assert told["accepted"] == 1_500_000
        assert dict(late.sent[0]["headers"])[b"retry-after"] == b"1"
        small = await asking.ask("/store", Sender([LINE]), one, content_length="51")
        assert small.status == 201
        asking.begin("/store", Sender([b"{"], whole=False), other, content_length=size)
        await until(lambda: asking.metric("memory_service_body_bytes ") == 2_000_000)
        assert asking.metric('memory_service_bodies_refused_total{reason="room"}') == 1
        first.leave.set()
        await asking.tasks[0]
        assert asking.metric("memory_service_body_bytes ") == 1_000_000


async def test_a_body_without_a_length_is_counted_as_it_comes(serving: Any) -> None:
    async with serving(max_upload_bytes=30_000, upload_room_bytes=1_200_000) as asking:
        pieces = [b" " * 500_000]
        asking.begin("/store", Sender(pieces, whole=False), transfer_encoding="chunked")
        await until(lambda: asking.metric("memory_service_body_bytes ") == 500_000)
        late = Sender([*pieces, b" " * 300_000], whole=False)
        refused(await asking.ask("/store", late, transfer_encoding="chunked"), 429, "overloaded")
        assert asking.metric("memory_service_body_bytes ") == 500_000


async def test_a_body_that_trickles(serving: Any) -> None:
    async with serving(upload_idle_s=0.3) as asking:
        trickle = Sender([b"{"] * 500, pause_s=0.02)
        told = refused(
            await asking.ask("/store", trickle, content_length="500"), 408, "slow_upload"
        )
        assert 3 <= told["found"] <= 20
        assert told["accepted"] == {"pause_s": 0.3, "bytes_per_s": 4096}


async def test_a_body_that_takes_too_long_in_all(serving: Any) -> None:
    async with serving(upload_timeout_s=0.3, upload_bytes_per_s=1) as asking:
        long = Sender([b"{"] * 500, pause_s=0.02)
        refused(await asking.ask("/store", long, content_length="500"), 408, "slow_upload")


async def test_a_body_that_keeps_pace_is_taken(serving: Any) -> None:
    """Longer than a pause may be, in pieces."""
    async with serving(upload_idle_s=0.2, upload_bytes_per_s=100) as asking:
        body = LINE.ljust(300)
        pieces = [body[first : first + 20] for first in range(0, 300, 20)]
        steady = await asking.ask("/store", Sender(pieces, pause_s=0.03), content_length="300")
        assert steady.status == 201


def lines(sender: Sender) -> list[dict[str, Any]]:
    return [json.loads(each) for each in sender.body.splitlines()]


async def test_a_batch_that_says_nothing_has_no_place(
    serving: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_places, "MOST_AT_ONCE", 1)
    async with serving(upload_idle_s=0.5) as asking:
        silent = [Sender([b' \n{"items'], whole=False) for _ in range(5)]
        waiting = [asking.begin("/store/batch", each, content_type=NDJSON) for each in silent]
        await asyncio.sleep(0.05)
        answered = await asking.ask("/store/batch", Sender([LINE * 2]), content_type=NDJSON)
        assert [each["status"] for each in lines(answered)] == [201, 201]
        await asyncio.gather(*waiting)
        for each in silent:
            refused(each, 408, "slow_upload")


@pytest.mark.parametrize("rest", [[], [b"{"] * 200], ids=["that stops", "whose next line trickles"])
async def test_a_batch_gives_its_place_up(
    serving: Any, monkeypatch: pytest.MonkeyPatch, rest: list[bytes]
) -> None:
    monkeypatch.setattr(batch_places, "MOST_AT_ONCE", 1)
    async with serving(upload_idle_s=0.5) as asking:
        slow = Sender([LINE, *rest], whole=False, pause_s=0.02)
        waiting = asking.begin("/store/batch", slow, content_type=NDJSON)
        await until(lambda: len(slow.sent) > 1)
        other = await asking.ask("/store/batch", Sender([LINE]), content_type=NDJSON)
        refused(other, 429, "overloaded")
        await waiting
        told = lines(slow)
        assert [each["index"] for each in told] == [0, 1]
        assert [each["status"] for each in told] == [201, 408]
        assert told[1]["code"] == "slow_upload"
        assert slow.sent[-1]["more_body"] is False
        other = await asking.ask("/store/batch", Sender([LINE]), content_type=NDJSON)
        assert [each["status"] for each in lines(other)] == [201]


async def test_bodies_that_pause_do_not_hold_up_the_end(
    serving: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "LOOK_S", 0.5)
    async with serving() as asking:
        batch, body, flowing = (
            Sender([LINE], whole=False),
            Sender([b"{"], whole=False),
            Sender([LINE[:20], LINE[20:40], LINE[40:]], pause_s=0.02),
        )
        waiting = [
            asking.begin("/store/batch", batch, content_type=NDJSON),
            asking.begin("/store", body, content_length="500"),
        ]
        await until(lambda: len(batch.sent) > 1)
        asking.app.state.draining = True
        waiting.append(asking.begin("/store", flowing, content_length="51"))
        await asyncio.wait_for(asyncio.gather(*waiting), 20)
        assert [each["status"] for each in lines(batch)] == [201, 503]
        refused(body, 503, "not_ready")
        assert flowing.status == 201


async def test_a_key_has_half_of_the_places(serving: Any) -> None:
    async with serving(auth="required") as asking:
        make = asking.app.state.application.keys.create
        one, other = (make(name, "write")[1] for name in ("one", "other"))
        for _ in range(batch_places.MOST_AT_ONCE // 2):
            open_ = Sender([LINE], whole=False)
            asking.begin("/store/batch", open_, one, content_type=NDJSON)
            await until(lambda open_=open_: len(open_.sent) > 1)
        late = await asking.ask("/store/batch", Sender([LINE]), one, content_type=NDJSON)
        assert refused(late, 429, "overloaded")["accepted"] == batch_places.MOST_AT_ONCE // 2
        taken = await asking.ask("/store/batch", Sender([LINE]), other, content_type=NDJSON)
        assert [each["status"] for each in lines(taken)] == [201]


async def test_a_long_line_without_room_is_refused_alone(
    serving: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_lines, "LONG_LINE", 1_000)
    async with serving(max_upload_bytes=30_000, upload_room_bytes=1_200_000) as asking:
        held = Sender([b"{"], whole=False)
        asking.begin("/store", held, content_length="1000000")
        await until(lambda: asking.metric("memory_service_body_bytes ") == 1_000_000)
        long = LINE.rstrip().ljust(150_000) + b"\n"
        body = [LINE, long, long.rstrip().ljust(300_000), b"\n", LINE, long]
        sender = await asking.ask("/store/batch", Sender(body, pause_s=0.2), content_type=NDJSON)
        told = lines(sender)
        assert [each["status"] for each in told] == [201, 201, 429, 201, 201]
        assert told[2]["retry_after_s"] == 1
        assert asking.metric("memory_service_body_bytes ") == 1_000_000


async def test_room_is_given_back_and_shared() -> None:
    told: list[str] = []
    room = Room(100, 50, told.append)
    room.take("a", 50)
    with pytest.raises(Overloaded):
        room.take("a", 1)
    room.take("b", 40)
    with pytest.raises(Overloaded):
        room.take("c", 11)
    room.take(None, 10)
    room.give_back("a", 50)
    room.take(None, 50)  # where no key is asked for
    assert (room.taken, told) == (100, ["room", "room"])
