"""What the client sends, and how it reads answers, problems and silence."""

import asyncio
import base64
import inspect
import json
from email.message import Message
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import answers
import httpx
import numpy as np
import pytest

from memory_service.client import (
    AsyncClient,
    Client,
    Draw,
    MediaNovelty,
    Segment,
    ServiceError,
    operations,
)


def client(answer: Any, seen: list[httpx.Request] | None = None, status: int = 200) -> Client:
    def handle(request: httpx.Request) -> httpx.Response:
        if seen is not None:
            seen.append(request)
        return httpx.Response(status, json=answer)

    return Client("http://memory", transport=httpx.MockTransport(handle))


def form(request: httpx.Request) -> list[tuple[str, str | None, bytes]]:
    """(name, file name, content) of each multipart field."""
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    message: Message = BytesParser().parsebytes(head + request.content)
    return [
        (
            str(part.get_param("name", header="content-disposition")),
            part.get_filename(),
            part.get_payload(decode=True),
        )
        for part in message.get_payload()
    ]


def test_store_sends_one_form(tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(b"picture")
    (tmp_path / "cat.txt").write_bytes(b"from a file")
    seen: list[httpx.Request] = []
    stored = client(answers.STORED, seen).store(
        image=str(tmp_path / "cat.png"),
        text=["A cat", tmp_path / "cat.txt"],
        audio=b"sound",
        metadata={"place": "farm"},
        if_duplicate="skip",
    )
    assert (seen[0].method, seen[0].url.path) == ("POST", "/store")
    assert form(seen[0]) == [
        ("if_duplicate", None, b"skip"),
        ("metadata", None, b'{"place": "farm"}'),
        ("image", "cat.png", b"picture"),
        ("text", "text.txt", b"A cat"),
        ("text", "cat.txt", b"from a file"),
        ("audio", "audio", b"sound"),
    ]
    assert stored.episode.memories[0].text == "A cat"
    assert not stored.duplicate


def test_a_store_with_vectors_goes_as_json() -> None:
    seen: list[httpx.Request] = []
    vectors = {"text": np.eye(2, 3)}
    client(answers.STORED, seen).store(
        text=["a", b"\xff"], image=b"picture", vectors=vectors, spaces="s", ttl_s=5.0
    )
    packed = [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in vectors["text"]]
    assert json.loads(seen[0].content) == {
        "items": [
            {"modality": "image", "data": base64.b64encode(b"picture").decode()},
            {"modality": "text", "text": "a", "vector": packed[0], "space": "s"},
            {"modality": "text", "data": "/w==", "vector": packed[1], "space": "s"},
        ],
        "ttl_s": 5.0,
    }


@pytest.mark.parametrize(
    "given",
    [
        {"text": "a", "vectors": {"text": np.eye(2)}},
        {"text": "a", "vectors": {"image": np.eye(1)}},
    ],
)
def test_vectors_that_fit_nothing(given: Any) -> None:
    with pytest.raises(ValueError, match="vectors"):
        client(answers.STORED).store(**given)


REFUSED = {"index": 1, "status": 422, "code": "invalid_media", "detail": "a broken picture"}


def batch_service(requests: list[list[dict]]) -> httpx.MockTransport:
    """Stores what has an even number in its request, and refuses the others."""

    def handle(request: httpx.Request) -> httpx.Response:
        assert request.headers["content-type"] == "application/x-ndjson"
        requests.append([json.loads(line) for line in request.content.splitlines()])
        lines = [
            {"index": number, **({**REFUSED, "index": number} if number % 2 else answers.BATCHED)}
            for number in range(len(requests[-1]))
        ]
        return httpx.Response(200, content="\n".join(map(json.dumps, lines)))

    return httpx.MockTransport(handle)


def test_a_batch_is_few_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "BATCH_LINES", 3)
    requests: list[list[dict]] = []
    episodes: Any = [{"text": f"note {n}", "spaces": {"text": "s"}} for n in range(5)]
    episodes[1]["vectors"] = {"text": [0.0, 1.0]}
    with Client("http://memory", transport=batch_service(requests)) as memory:
        found = list(memory.store_batch(episodes))
    assert [len(lines) for lines in requests] == [3, 2]
    assert requests[0][1]["items"][0]["space"] == "s"
    assert [each.index for each in found] == [0, 1, 2, 3, 4]
    assert [each.status for each in found] == [201, 422, 201, 201, 422]
    assert found[0].stored is not None
    assert found[0].stored.episode.id == "e1"
    assert found[4].error is not None
    assert found[4].error.code == "invalid_media"


def test_a_batch_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "BATCH_BYTES", 1_000)
    requests: list[list[dict]] = []
    texts = ["a", "b", "long" * 1_000, "c"]
    with Client("http://memory", transport=batch_service(requests)) as memory:
        assert len(list(memory.store_batch({"text": each} for each in texts))) == 4
    assert [len(lines) for lines in requests] == [2, 1, 1]


def test_a_batch_of_the_async_client() -> None:
    async def run() -> list[int]:
        async with AsyncClient("http://memory", transport=batch_service([])) as memory:
            return [each.status async for each in memory.store_batch([{"text": "a"}] * 2)]

    assert asyncio.run(run()) == [201, 422]


def test_answers_that_are_too_few() -> None:
    short = httpx.MockTransport(lambda request: httpx.Response(200, content=b"{}\n"))
    with (
        Client("http://memory", transport=short) as memory,
        pytest.raises(ServiceError, match="2 lines were sent, 1 answered"),
    ):
        list(memory.store_batch([{"text": "a"}, {"text": "b"}]))


def test_idempotency_keys() -> None:
    seen: list[httpx.Request] = []
    client(answers.STORED, seen).store(text="a", idempotency_key="k1")
    assert ("idempotency_key", None, b"k1") in form(seen[0])
    client(answers.GENERATION, seen).generate(text="a", idempotency_key="k2")
    assert seen[1].headers["idempotency-key"] == "k2"
    assert "idempotency_key" not in json.loads(seen[1].content)
    with Client("http://memory", transport=batch_service(requests := [])) as memory:
        list(memory.store_batch([{"text": "a", "idempotency_key": "k3"}]))
    assert requests[0][0]["idempotency_key"] == "k3"


def test_other_modalities_go_by_name() -> None:
    seen: list[httpx.Request] = []
    client(answers.STORED, seen).store(sensor=b"a,b", media={"depth": [b"far", b"near"]})
    assert [(name, content) for name, _, content in form(seen[0])] == [
        ("sensor", b"a,b"),
        ("depth", b"far"),
        ("depth", b"near"),
    ]
    client(answers.RETRIEVAL, seen).retrieve(media={"depth": b"far"}, weights={"depth": 2.0})
    far = base64.b64encode(b"far").decode()
    assert json.loads(seen[1].content) == {"query": [{"depth": far, "weight": 2.0}]}
    with pytest.raises(TypeError, match="given twice: text"):
        client(answers.STORED).store(text="a", media={"text": b"b"})


def test_retrieve_sends_every_part_with_its_weight() -> None:
    seen: list[httpx.Request] = []
    found = client(answers.RETRIEVAL, seen).retrieve(
        text="a cat",
        image=b"picture",
        vector=np.array([1.0, 0.5]),
        weights={"text": 2.0, "vector": 0.5},
        modalities=["text", "audio"],
        k=3,
        mode=None,
    )
    assert json.loads(seen[0].content) == {
        "query": [
            {"image": base64.b64encode(b"picture").decode()},
            {"text": "a cat", "weight": 2.0},
            {
                "vector": base64.b64encode(np.array([1, 0.5], "<f4").tobytes()).decode(),
                "weight": 0.5,
            },
        ],
        "k": 3,
        "modalities": ["text", "audio"],
    }
    hit = found.hits["text"][0]
    assert (hit.score, hit.reached_by[0].via_modality) == (0.9, "audio")
    assert hit.reached_by[0].segment == Segment(61.0, 63.0)
    assert hit.segment is None
    assert found.hits["audio"] == ()


def test_generate_reads_the_media() -> None:
    seen: list[httpx.Request] = []
    made = client(answers.GENERATION, seen).generate(text="a", output=["text"], seed=7)
    assert json.loads(seen[0].content)["output"] == ["text"]
    assert made.outputs[0].content == b"a cow"
    assert made.memories[0].weight == 1.0
    assert (made.outputs[0].sha256, made.outputs[0].seed) == ("00", None)


def test_generations_tell_all_that_the_service_says() -> None:
    draw = {"seed": 9, "similarity": 0.5, "nearest_memory_id": "m1", "score": 0.7, "taken": True}
    novelty = {"measure": "1 - SSIM", "value": 0.25, "memory_id": "m1"}
    output = {
        **answers.GENERATION["outputs"][0],
        "seed": 9,
        "draws": [{**draw, "round": 1}],
        "media_novelty": novelty,
        "effect_of_all": 0.1,
        "media_sha256": "11",
    }
    options = {"k": 4, "mode": "auto"}
    listed = {**answers.GENERATION, "outputs": [output], "options": options}
    seen: list[httpx.Request] = []
    service = client({"generations": [listed], "next": "g1"}, seen)
    page = service.generations(namespace="zoo", limit=1)
    assert (seen[0].url.path, seen[0].url.query) == ("/generations", b"namespace=zoo&limit=1")
    (made,) = page.generations
    assert (page.next, made.options, made.created_at) == ("g1", options, 1.0)
    (one,) = made.outputs
    assert one.draws == (Draw(9, 0.5, "m1", 0.7, True, 1),)
    assert one.media_novelty == MediaNovelty("1 - SSIM", 0.25, "m1")
    assert (one.seed, one.effect_of_all, one.sha256, one.media_sha256) == (9, 0.1, "00", "11")


def test_embed() -> None:
    space = {"id": "s", "fingerprint": "f"}
    answer = {"modality": "text", "media_type": "text/plain", "space": space, "vector": [0.6, 0.8]}
    seen: list[httpx.Request] = []
    (found,) = client({"embeddings": [answer]}, seen).embed(text="a cat", image=b"x", space="s")
    assert json.loads(seen[0].content) == {
        "items": [{"modality": "image", "data": "eA=="}, {"modality": "text", "text": "a cat"}],
        "space": "s",
    }
    assert (found.modality, found.space, found.vector.dtype) == ("text", "s", np.float32)
    assert found.vector.tolist() == pytest.approx([0.6, 0.8])


def test_reembed_and_jobs() -> None:
    seen: list[httpx.Request] = []
    service = client(answers.JOB, seen)
    job = service.reembed("bundled", switch=False)
    assert json.loads(seen[0].content) == {
        "profile": "bundled",
        "dry_run": False,
        "switch": False,
        "accept_failures": False,
    }
    assert (job.id, job.state, job.progress["eta_s"]) == ("j1", "running", 3.5)
    assert service.job("j1") == service.cancel_job("j1") == job
    assert client({"jobs": [answers.JOB]}, seen).jobs(limit=1) == (job,)
    assert client({"spaces": []}, seen).spaces() == {"spaces": []}
    assert client({"dropped": 2}, seen).drop_vectors("old") == {"dropped": 2}
    assert [(each.method, each.url.raw_path) for each in seen] == [
        ("POST", b"/reembed"),
        ("GET", b"/jobs/j1"),
        ("DELETE", b"/jobs/j1"),
        ("GET", b"/jobs?limit=1"),
        ("GET", b"/reembed"),
        ("DELETE", b"/reembed/old"),
    ]


def test_how_memories_live() -> None:
    seen: list[httpx.Request] = []
    client(answers.RETRIEVAL, seen).retrieve(text="a", strength_weight=0.5, reinforce=False)
    assert json.loads(seen[0].content) == {
        "query": [{"text": "a"}],
        "strength_weight": 0.5,
        "reinforce": False,
    }
    client(answers.STORED, seen).store(text="a", ttl_s=60)
    assert ("ttl_s", None, b"60") in form(seen[1])
    strong = {**answers.MEMORY, "strength": {"value": 2.0}, "prototype": True}
    memory = client(strong, seen).memory("m1")
    assert (memory.strength, memory.prototype, memory.lineage) == ({"value": 2.0}, True, None)
    client(answers.MEMORY, seen).change("m1", metadata={"a": None}, expires_at=None)
    service = client({"half_life_s": None}, seen)
    assert service.settings("zoo") == service.configure("zoo", half_life_s=None)
    assert client({"deleted": 3}, seen).sweep() == 3
    job = client(answers.JOB, seen).consolidate(modalities=["image"], threshold=0.9)
    assert job.id == "j1"
    assert client({"prototype_ids": ["p"]}, seen).undo_consolidation("j1") == ("p",)
    told = [(each.method, each.url.path, each.content) for each in seen[3:]]
    assert [(method, path, json.loads(body or b"{}")) for method, path, body in told] == [
        ("PATCH", "/memories/m1", {"metadata": {"a": None}, "expires_at": None}),
        ("GET", "/namespaces/zoo/settings", {}),
        ("PUT", "/namespaces/zoo/settings", {"half_life_s": None}),
        ("POST", "/sweep", {}),
        ("POST", "/consolidate", {"modalities": ["image"], "threshold": 0.9, "dry_run": False}),
        ("POST", "/consolidate/j1/undo", {}),
    ]


def test_forgetting() -> None:
    seen: list[httpx.Request] = []
    service = client(answers.RECEIPT, seen)
    receipt = service.forget("m1", wait=True, descendants="erase")
    assert (receipt.id, receipt.memory_ids, receipt.clean) == ("r1", ("m1",), False)
    assert receipt.removed == {"memories": 1}
    assert service.forget_episode("e1") == service.forget_generation("g1") == receipt
    assert service.forget_namespace("zoo", expected=4, probe=True) == service.receipt("r1")
    service.forget_matching({"place": "farm"}, expected=3, keep_receipt=False)
    service.forget_matching(all=True, namespace="zoo", modality="text", expected=2)
    assert client({"dry_run": True, "expected": 3}, seen).count_matching({"a": 1}) == 3
    assert (
        client({"namespaces": [{"namespace": "zoo"}]}, seen).namespaces()[0]["namespace"] == "zoo"
    )
    client({"namespace": "zoo"}, seen).namespace("zoo")
    assert [(each.method, each.url.raw_path.decode()) for each in seen] == [
        ("DELETE", "/memories/m1?wait=true&descendants=erase"),
        ("DELETE", "/episodes/e1"),
        ("DELETE", "/generations/g1"),
        ("DELETE", "/namespaces/zoo?probe=true&expected=4"),
        ("GET", "/receipts/r1"),
        ("DELETE", "/memories"),
        ("DELETE", "/memories"),
        ("DELETE", "/memories"),
        ("GET", "/namespaces"),
        ("GET", "/namespaces/zoo"),
    ]
    base = {"namespace": "default", "all": False}
    assert [json.loads(each.content) for each in seen[5:8]] == [
        {**base, "filter": {"place": "farm"}, "expected": 3, "keep_receipt": False},
        {"namespace": "zoo", "modality": "text", "all": True, "expected": 2},
        {**base, "filter": {"a": 1}, "dry_run": True},
    ]
    with pytest.raises(TypeError, match="waiting"):
        service.forget("m1", waiting=True)  # type: ignore[call-arg]


def test_backup() -> None:
    seen: list[httpx.Request] = []
    assert client(answers.JOB, seen).backup("nightly").id == "j1"
    assert (seen[0].url.path, json.loads(seen[0].content)) == (
        "/backup",
        {"name": "nightly", "with_access": False},
    )


def test_iterate_follows_the_cursor() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        last = request.url.params.get("after") == "c1"
        page = {"memories": [answers.MEMORY], "next": None if last else "c1"}
        return httpx.Response(200, json=page)

    with Client("http://memory", transport=httpx.MockTransport(handle)) as memory:
        assert len(list(memory.iterate(modality="text"))) == 2


def test_an_id_cannot_lead_to_another_route() -> None:
    seen: list[httpx.Request] = []
    client(answers.MEMORY, seen).memory("../stats?x")
    assert seen[0].url.raw_path == b"/memories/..%2Fstats%3Fx"


def test_a_problem_becomes_a_service_error() -> None:
    problem = {"code": "not_found", "title": "Not found", "detail": "no memory m9", "status": 404}
    with pytest.raises(ServiceError) as caught:
        client(problem, status=404).memory("m9")
    assert (caught.value.code, caught.value.status) == ("not_found", 404)
    assert caught.value.detail == "no memory m9"


@pytest.mark.parametrize("answer", [[], {"other": 1}, "text"])
def test_another_kind_of_server_is_no_memory_service(answer: Any) -> None:
    with pytest.raises(ServiceError) as caught:
        client(answer).retrieve(text="a")
    assert caught.value.code == "unexpected_answer"


@pytest.mark.parametrize(
    ("cause", "code"),
    [(httpx.ConnectError("refused"), "unreachable"), (httpx.ReadTimeout("late"), "timeout")],
)
def test_silence_is_a_service_error(cause: httpx.HTTPError, code: str) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        raise cause

    memory = Client("http://memory", transport=httpx.MockTransport(handle))
    with pytest.raises(ServiceError) as caught:
        memory.stats()
    assert (caught.value.code, caught.value.status) == (code, 0)
    assert not memory.ready()


def test_the_async_client_has_the_same_calls() -> None:
    def calls(kind: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(member).parameters)
            for name, member in vars(kind).items()
            if callable(member) and not name.startswith("_")
        }

    assert calls(Client) == calls(AsyncClient)


@pytest.mark.anyio
async def test_the_async_client_sends_the_same() -> None:
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=answers.RETRIEVAL)

    transport = httpx.MockTransport(handle)
    async with AsyncClient("http://memory", transport=transport) as memory:
        found = await memory.retrieve(text="a cat", k=2)
    assert json.loads(seen[0].content) == {"query": [{"text": "a cat"}], "k": 2}
    assert found.familiarity == {"text": 0.3}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_a_misspelt_argument_is_an_error() -> None:
    service = client({})
    with pytest.raises(TypeError, match="modes"):
        service.retrieve(text="a", modes="auto")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="outputs"):
        service.generate(text="a", outputs=["audio"])  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="meta"):
        service.store(text="a", meta={})  # type: ignore[call-arg]


def test_what_cannot_be_sent_is_an_error() -> None:
    service = client({})
    with pytest.raises(ValueError, match="txt"):
        service.retrieve(text="a", weights={"txt": 5})
    with pytest.raises(ValueError, match="id"):
        service.memory("")
    with pytest.raises(ValueError, match="JSON"):
        service.generate(text="a", creativity=float("nan"))
