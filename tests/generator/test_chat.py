"""Texts by a chat endpoint: a local one of the same contract."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from chat_endpoint import ChatEndpoint, chatting, message

from generator.base import Condition, Neighbour
from generator.chat import ChatGenerator
from generator.errors import BackendFailed

VECTOR = np.array([1, 0], np.float32)


@pytest.fixture
def endpoint() -> Iterator[ChatEndpoint]:
    with chatting() as endpoint:
        yield endpoint


def generator(endpoint: ChatEndpoint, **options: object) -> ChatGenerator:
    return ChatGenerator(endpoint.url, "tiny", space_id="s", **options)  # type: ignore[arg-type]


def condition(*texts: str, question: str = "") -> Condition:
    """The later a text, the heavier it is; a picture comes along."""
    neighbours = [Neighbour(f"t{at}", "text", VECTOR, text) for at, text in enumerate(texts)]
    neighbours.append(Neighbour("p", "image", VECTOR, object()))
    weights = np.array([*range(1, len(texts) + 1), 9], np.float32)
    return Condition(VECTOR, VECTOR, tuple(neighbours), weights / weights.sum(), question)


def test_memories_go_along_numbered_the_heaviest_first(endpoint: ChatEndpoint) -> None:
    generator(endpoint).generate(
        condition("a goose", "a fox", question="Who barks?"), seed=7, creativity=0.4
    )
    ((path, headers, body),) = endpoint.requests
    assert path == "/v1/chat/completions"
    assert "Authorization" not in headers
    assert (body["model"], body["temperature"], body["seed"]) == ("tiny", 0.4, 7)
    system, user = body["messages"]
    assert system["role"] == "system"
    assert user["content"] == "Memories:\n[1] a fox\n[2] a goose\n\nWho barks?"


def test_the_answer_cites_its_memories(endpoint: ChatEndpoint) -> None:
    endpoint.answer = lambda body: message(
        " The fox [1], not the goose [2, 1] or the hen [5]. ", model="tiny-1", usage={"total": 9}
    )
    made = generator(endpoint).generate(condition("a goose", "a fox"), seed=1, creativity=0)
    assert made.media == "The fox [1], not the goose [2, 1] or the hen [5]."
    assert made.details == {
        "citations": [{"number": 1, "memory_id": "t1"}, {"number": 2, "memory_id": "t0"}],
        "unknown_citations": [5],
        "model": "tiny-1",
        "usage": {"total": 9},
    }


def test_without_question_or_texts_it_is_asked_all_the_same(endpoint: ChatEndpoint) -> None:
    generator(endpoint).generate(condition(), seed=1, creativity=0)
    ((_, _, body),) = endpoint.requests
    assert "no memories with a text" in body["messages"][1]["content"]
    assert "Describe" in body["messages"][1]["content"]


def test_a_key_is_sent_and_never_told(endpoint: ChatEndpoint) -> None:
    made = generator(endpoint, api_key="sesame")
    endpoint.answer = lambda body: (401, b'{"error": "wrong key"}')
    with pytest.raises(BackendFailed, match="answered 401") as failure:
        made.generate(condition("x"), seed=1, creativity=0)
    assert endpoint.requests[0][1]["Authorization"] == "Bearer sesame"
    assert "sesame" not in str(failure.value) + made.name + made.fingerprint


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((500, b"out of memory"), "answered 500: out of memory"),
        ((200, b"no json"), "could not be asked"),
        ((200, b"[]"), "no JSON object"),
        ((200, b'{"choices": []}'), "answered no message"),
        (message(None), "empty message"),
        (message("  "), "empty message"),
    ],
)
def test_answers_that_cannot_be_used(
    endpoint: ChatEndpoint, answer: tuple[int, bytes], told: str
) -> None:
    endpoint.answer = lambda body: answer
    with pytest.raises(BackendFailed, match=told):
        generator(endpoint).generate(condition("x"), seed=1, creativity=0)


def test_nobody_there_or_too_slow(endpoint: ChatEndpoint) -> None:
    nobody = ChatGenerator("http://127.0.0.1:9/v1", "tiny", space_id="s")
    with pytest.raises(BackendFailed, match="could not be asked"):
        nobody.generate(condition("x"), seed=1, creativity=0)
    given_up = threading.Event()
    endpoint.answer = lambda body: (given_up.wait(10), message("too late"))[1]
    with pytest.raises(BackendFailed, match="did not answer in time"):
        generator(endpoint, timeout_s=0.05).generate(condition("x"), seed=1, creativity=0)
    given_up.set()


def test_other_models_and_addresses_are_other_fingerprints(endpoint: ChatEndpoint) -> None:
    one, same = generator(endpoint), generator(endpoint, api_key="k")
    other = ChatGenerator(endpoint.url, "larger", space_id="s")
    assert one.fingerprint == same.fingerprint
    assert one.fingerprint != other.fingerprint


def test_long_texts_are_cut(endpoint: ChatEndpoint) -> None:
    generator(endpoint).generate(condition("x" * 5000), seed=2**63, creativity=1)
    sent = json.dumps(endpoint.requests[0][2])
    assert "x" * 2000 in sent
    assert "x" * 2001 not in sent
