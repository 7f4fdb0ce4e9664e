"""The real app, real weights, real media: store, retrieve, generate, delete. No fakes."""

import base64
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from fastapi.testclient import TestClient
from PIL import Image

from memory_service.api import create_app
from memory_service.settings import Settings

SAMPLES = Path(__file__).parents[2] / "samples/tuxpaint-stamps"
STAMPS = {
    "tiger": "animals/mammals/cats/tiger",
    "cow": "animals/mammals/bovines/cow",
    "owl": "animals/birds/owl",
    "violin": "hobbies/music/string/violin",
    "apple": "food/fruit/apple_red",
    "kettle": "household/kettle",
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("bundled") / "data"
    with TestClient(create_app(settings=Settings(data_dir=folder, profile="bundled"))) as client:
        yield client


@pytest.fixture(scope="module")
def episodes(client: TestClient) -> dict[str, dict]:
    stored = {}
    for name, stem in STAMPS.items():
        path = SAMPLES / stem
        files = {
            "image": path.with_suffix(".png").read_bytes(),
            "audio": path.with_suffix(".ogg").read_bytes(),
            "text": path.with_suffix(".txt").read_bytes(),
        }
        answer = client.post("/store", files=files, data={"metadata": f'{{"name": "{name}"}}'})
        assert answer.status_code == 201, answer.text
        stored[name] = answer.json()["episode"]
    return stored


def names(hits: list[dict]) -> list[str]:
    return [hit["memory"]["metadata"]["name"] for hit in hits]


@pytest.mark.parametrize(
    ("query", "name"),
    [("a big striped cat", "tiger"), ("a musical instrument", "violin"), ("a fruit", "apple")],
)
def test_a_text_finds_picture_and_sound(
    client: TestClient, episodes: dict, query: str, name: str
) -> None:
    results = client.post("/retrieve", json={"query": {"text": query}, "k": 3}).json()["results"]
    assert names(results["text"])[0] == name
    assert names(results["image"])[0] == name
    assert name in names(results["audio"])[:2]


def test_a_text_finds_most_pictures_without_their_episodes(
    client: TestClient, episodes: dict
) -> None:
    body = {"modalities": ["image"], "mode": "direct", "k": 2}
    found = [
        name
        in names(
            client.post("/retrieve", json={**body, "query": {"text": f"a {name}"}}).json()[
                "results"
            ]["image"]
        )
        for name in STAMPS
    ]
    assert sum(found) >= 5


def test_a_sound_finds_its_picture_through_the_episode(client: TestClient, episodes: dict) -> None:
    sound = (SAMPLES / STAMPS["cow"]).with_suffix(".ogg").read_bytes()
    answer = client.post("/retrieve", files={"audio": sound}, data={"modalities": "image,text"})
    results = answer.json()["results"]
    assert names(results["image"])[0] == "cow"
    ways = {reach["path"] for reach in results["image"][0]["reached_by"]}
    assert "associative" in ways


def test_generation_follows_the_memory_and_replays(client: TestClient, episodes: dict) -> None:
    made = {}
    for name in ("apple", "tiger"):
        body = {
            "query": {"text": f"a {name}"},
            "output": ["image", "text", "audio"],
            "seed": 1,
            "creativity": 0.2,
            "k": 2,
        }
        answer = client.post("/generate", json=body)
        assert answer.status_code == 201, answer.text
        made[name] = answer.json()
    for record in made.values():
        image, text, audio = record["outputs"]
        picture = Image.open(io.BytesIO(base64.b64decode(image["data"])))
        assert picture.size == (64, 64)
        assert np.asarray(picture).std() > 5  # not one flat colour
        assert text["text"].strip()
        samples, rate = soundfile.read(io.BytesIO(base64.b64decode(audio["data"])))
        assert 1.0 <= len(samples) / rate <= 4.2
        assert np.abs(samples).max() > 0.1
        assert len({share["memory_id"] for share in record["memories"]}) >= 2
        replayed = client.post(f"/generations/{record['id']}/replay").json()["outputs"]
        assert all(output["identical"] for output in replayed)
    for output in range(3):
        first, second = (made[name]["outputs"][output] for name in made)
        assert first["sha256"] != second["sha256"]


def test_forgetting_is_complete(client: TestClient, episodes: dict) -> None:
    kettle = episodes["kettle"]
    receipt = client.delete(f"/episodes/{kettle['id']}").json()
    assert len(receipt["blobs_removed"]) == 3
    found = client.post("/retrieve", json={"query": {"text": "a kettle"}, "k": 10}).json()
    assert all("kettle" not in names(hits) for hits in found["results"].values())


PLAYED = (
    "animals/birds/rooster",
    "vehicles/emergency/firetruck",
    "animals/mammals/bovines/cow",
    "hobbies/music/percussion/drumkit",
    "animals/mammals/dogs/dog",
    "hobbies/music/string/cello",
    "household/kettle",
    "animals/birds/owl",
)


def a_minute_of(stems: Sequence[str]) -> tuple[bytes, dict[str, tuple[float, float]]]:
    """The sounds with silence between them as Ogg, and from when to when each is heard."""
    rate, at = 22_050, 0.0
    pieces, places = [], {}
    for stem in stems:
        samples, own_rate = soundfile.read((SAMPLES / stem).with_suffix(".ogg"), always_2d=True)
        sound = soxr.resample(samples.mean(axis=1), own_rate, rate)
        slot = np.zeros(int(7.5 * rate))
        slot[rate : rate + len(sound)] = sound[: len(slot) - rate]
        places[stem] = (at + 1.0, at + 1.0 + min(len(sound) / rate, 6.5))
        pieces.append(slot)
        at += 7.5
    file = io.BytesIO()
    soundfile.write(file, np.concatenate(pieces), rate, format="OGG", subtype="VORBIS")
    return file.getvalue(), places


def test_a_minute_of_sounds_is_found_by_each_of_them(tmp_path: Path) -> None:
    content, places = a_minute_of(PLAYED)
    settings = Settings(data_dir=tmp_path / "data", profile="bundled")
    bodies = {stem: {"audio": (SAMPLES / stem).with_suffix(".ogg").read_bytes()} for stem in PLAYED}

    def ask(service: TestClient) -> dict[str, list[dict]]:
        form = {"modalities": "audio", "mode": "direct"}
        return {
            stem: service.post("/retrieve", files=body, data=form).json()["results"]["audio"]
            for stem, body in bodies.items()
        }

    with TestClient(create_app(settings=settings)) as first:
        answer = first.post("/store", files={"audio": content})
        assert answer.status_code == 201, answer.text
        (memory,) = answer.json()["episode"]["memories"]
        other = (SAMPLES / "animals/insects/bee.ogg").read_bytes()
        assert first.post("/store", files={"audio": other}).status_code == 201
        assert first.get("/stats").json()["memories"] == 2
        found = ask(first)
    for stem, hits in found.items():
        assert hits[0]["memory"]["id"] == memory["id"], stem
        assert len(hits) == 2  # each memory once
        assert hits[1]["segment"] is None
        start, end = places[stem]
        told = hits[0]["segment"]
        assert told["end_s"] - told["start_s"] == pytest.approx(2.0)
        assert min(told["end_s"], end) - max(told["start_s"], start) > 0, stem
    with TestClient(create_app(settings=settings)) as second:
        assert ask(second) == found
        told = found[PLAYED[0]][0]["segment"]
        part = second.get(memory["links"]["content"], params=told)
        assert part.headers["content-type"] == "audio/wav"
        assert soundfile.info(io.BytesIO(part.content)).duration == pytest.approx(2.0, abs=1e-3)
        assert second.get(memory["links"]["content"]).content == content
        late = second.get(memory["links"]["content"], params={"start_s": 61, "end_s": 62})
        assert (late.status_code, late.json()["code"]) == (422, "invalid_input")
        second.delete(f"/memories/{memory['id']}")
        assert all(
            [hit["memory"]["id"] for hit in hits] == [found[PLAYED[0]][1]["memory"]["id"]]
            for hits in ask(second).values()
        )
