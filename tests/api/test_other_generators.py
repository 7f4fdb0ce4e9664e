"""Generators of the settings, over HTTP: a chat endpoint, unCLIP and AudioLDM."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from chat_endpoint import ChatEndpoint, chatting, message
from fastapi.testclient import TestClient
from PIL import Image
from problem_answers import assert_problem
from tiny_models import save_clap, save_clip
from tiny_pipelines import save_audioldm, save_unclip

from memory_service.api import create_app
from memory_service.settings import Settings


@pytest.fixture
def endpoint() -> Iterator[ChatEndpoint]:
    with chatting() as endpoint:
        yield endpoint


@pytest.fixture
def talking(endpoint: ChatEndpoint, tmp_path: Path) -> Iterator[TestClient]:
    settings = Settings(
        data_dir=tmp_path / "data",
        profile="fake",
        text_generator="chat:tiny",
        chat_base_url=endpoint.url,
        chat_api_key="sesame",
    )
    with TestClient(create_app(settings=settings)) as client:
        for text in ("the fox barks", "the goose sleeps"):
            client.post(
                "/store", json={"items": [{"modality": "text", "text": text}]}
            ).raise_for_status()
        yield client


def identical(client: TestClient, answer: Any) -> list[bool]:
    replayed = client.post(f"/generations/{answer.json()['id']}/replay")
    assert replayed.status_code == 200, replayed.text
    return [each["identical"] for each in replayed.json()["outputs"]]


def test_a_chat_answers_from_the_memories(talking: TestClient, endpoint: ChatEndpoint) -> None:
    endpoint.answer = lambda body: message("It was the fox [1].")
    answer = talking.post(
        "/generate", json={"query": {"text": "the fox barks"}, "output": "text", "seed": 5}
    )
    assert answer.status_code == 201, answer.text
    (output,) = answer.json()["outputs"]
    assert output["text"] == "It was the fox [1]."
    assert output["generator"]["name"] == "chat tiny"
    asked = endpoint.requests[0][2]["messages"][1]["content"]
    assert asked.endswith("the fox barks")
    first = asked.split("[1] ")[1].split("\n")[0]
    cited = output["details"]["citations"][0]["memory_id"]
    assert talking.get(f"/memories/{cited}").json()["text"] == first
    assert identical(talking, answer) == [True]
    endpoint.answer = lambda body: message("It was the goose [2].")
    assert identical(talking, answer) == [False]


def test_other_outputs_are_the_profile_s_own(talking: TestClient, endpoint: ChatEndpoint) -> None:
    answer = talking.post(
        "/generate", json={"query": {"text": "the fox barks"}, "output": ["image", "text"]}
    )
    names = [each["generator"]["name"] for each in answer.json()["outputs"]]
    assert names == ["fake-image", "chat tiny"]
    assert [each[1]["Authorization"] for each in endpoint.requests] == ["Bearer sesame"]


def test_a_chat_that_fails_is_told_and_leaves_nothing(
    talking: TestClient, endpoint: ChatEndpoint
) -> None:
    endpoint.answer = lambda body: (503, b"loading the model")
    answer = talking.post("/generate", json={"query": {"text": "fox"}, "output": "text"})
    assert_problem(answer, 502, "generator_failed")
    assert "answered 503: loading the model" in answer.json()["detail"]
    assert "sesame" not in answer.text + str(talking.get("/models").json())


@pytest.fixture(scope="module")
def hubbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Tiny random CLIP, CLAP, unCLIP and AudioLDM, all from local folders."""
    folder = tmp_path_factory.mktemp("models")
    settings = Settings(
        data_dir=folder / "data",
        profile="openclip",
        openclip_model=f"local-dir:{save_clip(folder / 'clip')}",
        clap_model=f"local-dir:{save_clap(folder / 'clap')}",
        image_generator=f"unclip:local-dir:{save_unclip(folder / 'unclip')}",
        audio_generator=f"audioldm:local-dir:{save_audioldm(folder / 'audioldm')}",
        generator_steps=2,
    )
    with TestClient(create_app(settings=settings)) as client:
        files = {"image": _png(), "audio": _wav(), "text": b"a barking fox"}
        client.post("/store", files=files).raise_for_status()
        yield client


def _png() -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _wav() -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).standard_normal(8000) / 10
    soundfile.write(buffer, noise, 16_000, format="WAV")
    return buffer.getvalue()


def ask(client: TestClient, output: Any) -> Any:
    return client.post("/generate", json={"query": {"text": "a fox"}, "output": output, "seed": 3})


@pytest.mark.parametrize("output", ["image", "audio"])
def test_pipelines_make_media_and_replay(hubbed: TestClient, output: str) -> None:
    answer = ask(hubbed, output)
    assert answer.status_code == 201, answer.text
    (made,) = answer.json()["outputs"]
    assert made["generator"]["name"].startswith({"image": "unclip", "audio": "audioldm"}[output])
    content = hubbed.get(f"/generations/{answer.json()['id']}/content").content
    if output == "image":
        assert Image.open(io.BytesIO(content)).size == (16, 16)
    else:
        samples, rate = soundfile.read(io.BytesIO(content))
        assert (len(samples), rate) == (40_960, 16_000)
    assert identical(hubbed, answer) == [True]


def test_spaces_that_differ_are_asked_for_apart(hubbed: TestClient) -> None:
    answer = ask(hubbed, ["image", "audio"])
    assert_problem(answer, 422, "modality_unavailable")
    assert "Together can be asked for: image; audio" in answer.json()["detail"]
    accepted = answer.json()["accepted"]
    assert accepted == [["image"], ["audio"]]
    assert answer.json()["found"].keys() == {"image", "audio"}
    for group in accepted:
        assert ask(hubbed, group).status_code == 201


def test_the_models_name_their_generators(hubbed: TestClient) -> None:
    assert set(hubbed.get("/models").json()["generators"]) == {"image", "audio"}
