"""Time series over HTTP: stored, found by all modalities, refused when broken, never generated."""

import base64
import io
import json

import numpy as np
import pytest
from fastapi.testclient import TestClient

HOUR = np.linspace(0, 1, 60)
WARMING = "time,temperature [°C]\n" + "".join(
    f"2026-05-01T10:{minute:02d}:00Z,{5 + 30 * share:.2f}\n" for minute, share in enumerate(HOUR)
)
DAMP = json.dumps(
    {
        "series": {"humidity": (40 + 50 * HOUR).tolist()},
        "interval_s": 60,
        "units": {"humidity": "%"},
    }
)


@pytest.fixture
def greenhouse(client: TestClient, tiger: dict[str, bytes]) -> dict:
    """An episode of four modalities, and a series beside it."""
    files = {**tiger, "sensor": ("log.csv", WARMING.encode(), "text/csv")}
    answer = client.post("/store", files=files)
    assert answer.status_code == 201, answer.text
    cellar = {"sensor": DAMP.encode(), "text": b"The cellar"}
    assert client.post("/store", files=cellar).status_code == 201
    return answer.json()["episode"]


def test_it_comes_back_as_it_was_stored(client: TestClient, greenhouse: dict) -> None:
    (memory,) = (each for each in greenhouse["memories"] if each["modality"] == "sensor")
    assert memory["media_type"] == "text/csv"
    content = client.get(f"/memories/{memory['id']}/content")
    assert content.content == WARMING.encode()
    assert content.headers["content-type"].startswith("text/csv")
    listed = client.get("/memories", params={"modality": "sensor"}).json()["memories"]
    assert [each["media_type"] for each in listed] == ["text/csv", "application/json"]


@pytest.mark.parametrize("part", ["text", "image", "audio", "sensor"])
@pytest.mark.usefixtures("greenhouse")
def test_every_modality_leads_to_it(client: TestClient, tiger: dict[str, bytes], part: str) -> None:
    media = {**tiger, "sensor": WARMING.encode(), "text": b"temperature rising quickly"}[part]
    value = media.decode() if part == "text" else base64.b64encode(media).decode()
    body = {"query": {part: value}, "modalities": ["sensor"], "k": 1}
    found = client.post("/retrieve", json=body).json()["results"]["sensor"]
    assert [hit["memory"]["media_type"] for hit in found] == ["text/csv"]
    by_form = client.post("/retrieve", files={part: media}, data={"modalities": "sensor", "k": "1"})
    assert by_form.json()["results"]["sensor"][0]["memory"] == found[0]["memory"]


def test_it_leads_to_the_others(client: TestClient, greenhouse: dict) -> None:
    found = client.post("/retrieve", files={"sensor": WARMING.encode()}).json()["results"]
    assert found["sensor"][0]["cosine"] == pytest.approx(1.0, abs=1e-3)
    assert found["image"][0]["memory"]["episode_id"] == greenhouse["id"]
    assert found["image"][0]["reached_by"][-1]["via_modality"] == "sensor"


def test_it_can_be_generated_from_but_not_into(client: TestClient, greenhouse: dict) -> None:
    query = {"sensor": base64.b64encode(WARMING.encode()).decode()}
    made = client.post("/generate", json={"query": query, "output": "image", "k": 1})
    assert made.status_code == 201
    assert {share["episode_id"] for share in made.json()["memories"]} == {greenhouse["id"]}
    refused = client.post("/generate", json={"query": query, "output": "sensor"})
    assert refused.status_code == 422
    assert refused.json()["code"] == "modality_unavailable"


@pytest.mark.parametrize(
    ("content", "status", "code", "detail"),
    [
        (b"temperature\n1\nwarm\n", 422, "invalid_media", "value 2 of 'temperature'"),
        (b"a,b\n1,2\n3\n", 422, "invalid_media", "row 3 has 1 cells"),
        (b"a\n1\nnan\n", 422, "invalid_media", "NaN"),
        (b"a\n" + b"1\n" * 900_000, 413, "too_large", ""),
        (b"", 422, "invalid_media", "empty"),
        (b"\x89PNG\r\n\x1a\n", 415, "unsupported_media", "accepted: CSV or JSON"),
    ],
)
def test_what_is_broken_is_refused_and_nothing_stored(
    client: TestClient,
    content: bytes,
    status: int,
    code: str,
    detail: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("encoders.sensor.series.MOST_VALUES", 1000)
    answer = client.post("/store", files={"text": b"beside it", "sensor": io.BytesIO(content)})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert detail in answer.json()["detail"]
    assert client.get("/stats").json()["memories"] == 0


def test_the_contract_names_it(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    part = document["components"]["schemas"]["QueryPartIn"]
    assert {"image", "text", "audio", "sensor", "vector", "space", "weight"} == set(
        part["properties"]
    )
    form = document["paths"]["/store"]["post"]["requestBody"]["content"]["multipart/form-data"]
    assert "sensor" in form["schema"]["properties"]
    (encoder,) = (
        each for each in client.get("/models").json()["encoders"] if each["modality"] == "sensor"
    )
    assert encoder["accepted"] == ["text/csv", "application/json"]
    misspelt = client.post("/retrieve", json={"query": {"sensors": "x"}})
    assert misspelt.status_code == 422
    assert "sensors" in misspelt.json()["detail"]
