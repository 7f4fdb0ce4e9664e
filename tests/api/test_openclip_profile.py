"""Profile `openclip` with CLAP over HTTP: all three modalities, with tiny random checkpoints."""

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import soundfile
from fastapi.testclient import TestClient
from PIL import Image
from tiny_models import CLAP_DIMENSION, save_clap, save_clip

from encoders.base import Encoder
from encoders.media import Limits, decode
from encoders.registry import Profile, load_profile
from memory_service.api import create_app
from memory_service.settings import Settings

TEXTS = ("a dog barks", "rain on a roof", "a door")
SIZES = (18, 34, 60)


def png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (SIZES[seed], 40, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def wav(seed: int) -> bytes:
    buffer = io.BytesIO()
    samples = np.random.default_rng(seed).standard_normal(8000 * (seed + 1))
    soundfile.write(buffer, np.cumsum(samples) / 500, 16_000, format="WAV")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    clip, clap = save_clip(folder / "clip"), save_clap(folder / "clap")
    return {"model": f"local-dir:{clip}", "clap": f"local-dir:{clap}"}


@pytest.fixture(scope="module")
def profile(names: dict[str, str]) -> Profile:
    return load_profile("openclip", **names)


@pytest.fixture(scope="module")
def client(names: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("store") / "data",
        profile="openclip",
        openclip_model=names["model"],
        clap_model=names["clap"],
    )
    with TestClient(create_app(settings=settings)) as client:
        for number, text in enumerate(TEXTS):
            files = {"image": png(number), "audio": wav(number), "text": text.encode()}
            answer = client.post(
                "/store", files=files, data={"metadata": json.dumps({"n": number})}
            )
            assert answer.status_code == 201, answer.text
        yield client


def ask(client: TestClient, query: dict[str, Any], **options: Any) -> dict[str, Any]:
    answer = client.post("/retrieve", json={"query": query, **options})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


def vectors(encoder: Encoder, contents: list[bytes]) -> Any:
    return encoder.encode([decode(encoder.modality, each, Limits()).media for each in contents])


def ranking(hits: list[dict[str, Any]]) -> dict[int, float]:
    return {hit["memory"]["metadata"]["n"]: hit["cosine"] for hit in hits}


def expected(query: Encoder, content: bytes, memory: Encoder, contents: list[bytes]) -> Any:
    """Memory number to cosine, best first."""
    cosines = vectors(memory, contents) @ vectors(query, [content])[0]
    return {int(n): pytest.approx(float(cosines[n]), abs=2e-3) for n in np.argsort(-cosines)}


def test_a_text_finds_sounds_by_clap_and_pictures_by_clip(
    client: TestClient, profile: Profile
) -> None:
    found = ask(client, {"text": "a dog"}, mode="direct")
    (hearing,) = profile.further
    sounds = expected(hearing, b"a dog", profile.encoders["audio"], [wav(n) for n in range(3)])
    assert ranking(found["results"]["audio"]) == sounds
    assert list(ranking(found["results"]["audio"])) == list(sounds)
    seeing = profile.encoders["text"]
    pictures = expected(seeing, b"a dog", profile.encoders["image"], [png(n) for n in range(3)])
    assert ranking(found["results"]["image"]) == pictures
    assert found["spaces"] == {
        "image": seeing.space.id,
        "text": seeing.space.id,
        "audio": hearing.space.id,
        "sensor": seeing.space.id,
    }


def test_a_sound_finds_texts_by_clap(client: TestClient, profile: Profile) -> None:
    found = ask(client, {"audio": base64_of(wav(1))}, mode="direct")
    texts = [text.encode() for text in TEXTS]
    wanted = expected(profile.encoders["audio"], wav(1), profile.further[0], texts)
    assert ranking(found["results"]["text"]) == wanted
    assert found["results"]["image"] == []
    assert found["spaces"]["image"] is None


def test_a_picture_finds_texts_by_clip_and_sounds_over_the_episode(
    client: TestClient, profile: Profile
) -> None:
    found = ask(client, {"image": base64_of(png(2))})
    assert found["results"]["text"][0]["memory"]["text"] == TEXTS[2]
    assert found["results"]["audio"][0]["memory"]["metadata"] == {"n": 2}
    assert [way["path"] for way in found["results"]["audio"][0]["reached_by"]] == ["associative"]


def test_a_vector_names_its_space(client: TestClient, profile: Profile) -> None:
    vector = vectors(profile.further[0], [b"a door"])[0].tolist()
    refused = client.post("/retrieve", json={"query": {"vector": vector}})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_vector")
    spaces = refused.json()["accepted"]
    assert spaces == [profile.encoders["text"].space.id, profile.further[0].space.id]
    by_vector = ask(client, {"vector": vector, "space": spaces[1]}, mode="direct")
    by_text = ask(client, {"text": "a door"}, mode="direct")
    assert ranking(by_vector["results"]["audio"]) == ranking(by_text["results"]["audio"])
    misplaced = client.post("/retrieve", json={"query": {"text": "x", "space": spaces[1]}})
    assert misplaced.json()["code"] == "invalid_input"


def test_models_and_stats_tell_of_both(client: TestClient, profile: Profile) -> None:
    models = client.get("/models").json()
    assert [(each["modality"], each["dimension"]) for each in models["encoders"]] == [
        ("image", CLAP_DIMENSION),
        ("text", CLAP_DIMENSION),
        ("audio", CLAP_DIMENSION),
        ("sensor", CLAP_DIMENSION),
        ("text", CLAP_DIMENSION),
    ]
    licences = [each["licence"] for each in models["weights"]]
    assert licences == ["mit", "apache-2.0"]
    assert all(each["size_bytes"] > each["parameters"] > 0 for each in models["weights"])
    stats = client.get("/stats").json()
    assert stats["memories"] == 9
    assert [each["count"] for each in stats["sub_memories"]] == [3] * 4


def test_nothing_is_generated(client: TestClient) -> None:
    answer = client.post("/generate", json={"query": {"text": "a dog"}})
    assert answer.json()["code"] == "modality_unavailable"
