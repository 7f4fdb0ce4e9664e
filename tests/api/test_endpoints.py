"""Every endpoint does what it says, over httpx, with the fake profile."""

import base64
import io
import json
import re

import numpy as np
import pytest
import soundfile
from fastapi.testclient import TestClient
from openapi_spec_validator import validate
from PIL import Image

from memory_service.api import create_app
from memory_service.api.schemas import RetrievalOut
from memory_service.settings import Settings


def test_store_in_one_request(client: TestClient, tiger: dict[str, bytes]) -> None:
    files = {"image": tiger["image"], "audio": tiger["audio"]}
    answer = client.post("/store", files=files, data={"text": "A tiger.", "metadata": '{"n": 1}'})
    assert answer.status_code == 201
    episode = answer.json()["episode"]
    assert answer.headers["location"] == f"/episodes/{episode['id']}"
    assert {m["modality"] for m in episode["memories"]} == {"image", "text", "audio"}
    assert all(m["metadata"] == {"n": 1} for m in episode["memories"])
    assert client.get(answer.headers["location"]).json() == episode


def test_store_json_with_base64_and_data_uri(client: TestClient, tiger: dict[str, bytes]) -> None:
    picture, sound = (base64.b64encode(tiger[kind]).decode() for kind in ("image", "audio"))
    items = [
        {"modality": "image", "data": f"data:image/png;base64,{picture}"},
        {"modality": "audio", "data": sound},
        {"modality": "text", "text": "A tiger."},
    ]
    answer = client.post("/store", json={"items": items})
    assert answer.status_code == 201
    kinds = [memory["media_type"] for memory in answer.json()["episode"]["memories"]]
    assert kinds == ["image/png", "audio/ogg", "text/plain"]


def test_content_is_the_bytes_that_were_stored(
    client: TestClient, stored: dict, tiger: dict[str, bytes]
) -> None:
    for memory in stored["memories"]:
        answer = client.get(memory["links"]["content"])
        assert answer.content == tiger[memory["modality"]]
        assert answer.headers["content-type"].startswith(memory["media_type"])
        assert answer.headers["etag"] == f'"{memory["sha256"]}"'
        again = client.get(
            memory["links"]["content"], headers={"if-none-match": answer.headers["etag"]}
        )
        assert (again.status_code, again.content) == (304, b"")


def test_storing_twice_keeps_or_skips(
    client: TestClient, stored: dict, tiger: dict[str, bytes]
) -> None:
    skipped = client.post("/store", files=tiger, data={"if_duplicate": "skip"})
    assert skipped.status_code == 200
    assert skipped.json()["duplicate"] is True
    assert skipped.json()["episode"]["id"] == stored["id"]
    kept = client.post("/store", files=tiger)
    assert kept.status_code == 201
    assert kept.json()["episode"]["id"] != stored["id"]
    assert client.get("/stats").json()["memories"] == 6


def test_retrieve_finds_and_says_how(client: TestClient, stored: dict) -> None:
    text = next(m["text"] for m in stored["memories"] if m["modality"] == "text")
    found = client.post("/retrieve", json={"query": {"text": text}, "k": 3}).json()
    assert set(found["results"]) == {"image", "text", "audio", "sensor"}
    (hit,) = found["results"]["text"]
    assert hit["cosine"] == pytest.approx(1.0, abs=1e-2)
    sound = found["results"]["audio"][0]
    associative = next(r for r in sound["reached_by"] if r["path"] == "associative")
    assert associative["via"] == hit["memory"]["id"]
    assert 0 <= sound["score"] <= 1
    assert found["timings_ms"]["total"] > 0
    assert found["familiarity"]["text"] == pytest.approx(1.0, abs=1e-2)


def test_a_retrieval_has_the_members_of_its_schema(client: TestClient, stored: dict) -> None:
    answer = client.post("/retrieve", json={"query": {"text": "a tiger"}})
    found = RetrievalOut.model_validate_json(answer.content, strict=True)
    assert found.model_dump(mode="json") == answer.json()


def test_retrieve_by_multipart_and_by_vector(
    client: TestClient, stored: dict, tiger: dict[str, bytes]
) -> None:
    fields = {"modalities": "image, audio", "k": "1", "filter": '{"place": "jungle"}'}
    found = client.post("/retrieve", files={"image": tiger["image"]}, data=fields).json()
    assert set(found["results"]) == {"image", "audio"}
    assert found["results"]["image"][0]["cosine"] == pytest.approx(1.0, abs=1e-2)

    vector = np.random.default_rng(0).standard_normal(384).astype("<f4")
    packed = base64.b64encode(vector.tobytes()).decode()
    answers = [
        client.post("/retrieve", json={"query": {"vector": each}}).json()["results"]
        for each in (packed, vector.tolist())
    ]
    assert answers[0] == answers[1]


def test_filter_keeps_what_does_not_fit_out(client: TestClient, stored: dict) -> None:
    body = {"query": {"text": "A tiger."}, "filter": {"place": "ocean"}}
    found = client.post("/retrieve", json=body).json()
    assert found["results"] == {"image": [], "text": [], "audio": [], "sensor": []}


def test_namespaces_do_not_see_each_other(client: TestClient, stored: dict) -> None:
    body = {"query": {"text": "A tiger."}, "namespace": "other"}
    assert not any(client.post("/retrieve", json=body).json()["results"].values())


def test_generate_several_outputs_with_provenance(client: TestClient, stored: dict) -> None:
    body = {"query": {"text": "A tiger."}, "output": ["image", "text", "audio"], "seed": 5}
    answer = client.post("/generate", json=body)
    assert answer.status_code == 201
    made = answer.json()
    assert made["seed"] == 5
    assert sum(share["weight"] for share in made["memories"]) == pytest.approx(1.0, abs=1e-4)
    ids = {memory["id"] for memory in stored["memories"]}
    assert {share["memory_id"] for share in made["memories"]} <= ids
    image, text, audio = made["outputs"]
    Image.open(io.BytesIO(base64.b64decode(image["data"]))).verify()
    assert base64.b64decode(text["data"]).decode() == text["text"]
    assert soundfile.info(io.BytesIO(base64.b64decode(audio["data"]))).duration > 0.1
    assert image["nearest_memory_id"] in ids
    for output in made["outputs"]:
        content = client.get(output["links"]["content"])
        assert content.content == base64.b64decode(output["data"])
        assert content.headers["content-type"].startswith(output["media_type"])
    record = client.get(f"/generations/{made['id']}").json()
    assert [o["sha256"] for o in record["outputs"]] == [o["sha256"] for o in made["outputs"]]
    assert client.get(f"/generations/{made['id']}/content?output=smell").status_code == 404


@pytest.mark.parametrize(
    ("output", "kind"), [("image", "image/png"), ("audio", "audio/wav"), ("text", "text/plain")]
)
def test_generate_answers_the_media_itself(
    client: TestClient, stored: dict, output: str, kind: str
) -> None:
    body = {"query": {"text": "A tiger."}, "output": output}
    answer = client.post("/generate", json=body, headers={"accept": f"{kind}, */*;q=0.1"})
    assert answer.headers["content-type"].startswith(kind)
    made = client.get(answer.headers["location"]).json()
    assert made["id"] == answer.headers["generation-id"]
    assert client.get(f"/generations/{made['id']}/content").content == answer.content


def test_a_generation_replays_until_its_memories_are_forgotten(
    client: TestClient, stored: dict
) -> None:
    made = client.post("/generate", json={"query": {"text": "A tiger."}}).json()
    replayed = client.post(f"/generations/{made['id']}/replay").json()
    assert replayed["outputs"] == [{"id": made["outputs"][0]["id"], "identical": True}]
    client.delete(f"/episodes/{stored['id']}")
    assert client.post(f"/generations/{made['id']}/replay").status_code == 404
    record = client.get(f"/generations/{made['id']}").json()
    assert all(share["deleted"] for share in record["memories"])


def test_delete_really_deletes(client: TestClient, settings: Settings, stored: dict) -> None:
    picture = next(m for m in stored["memories"] if m["modality"] == "image")
    receipt = client.delete(f"/memories/{picture['id']}").json()
    assert receipt["memory_ids"] == [picture["id"]]
    assert receipt["blobs_removed"] == [picture["sha256"]]
    assert client.get(f"/memories/{picture['id']}").status_code == 404
    assert not list((settings.data_dir / "blobs").rglob(picture["sha256"]))
    probe = client.post("/retrieve", json={"query": {"text": "A tiger."}}).json()
    assert probe["results"]["image"] == []
    rest = client.delete(f"/episodes/{stored['id']}").json()
    assert rest["episode_ids"] == [stored["id"]]
    assert client.get("/stats").json() == {"sub_memories": [], "memories": 0}


def test_memories_are_listed_in_pages(client: TestClient) -> None:
    for number in range(5):
        item = {"modality": "text", "text": f"number {number}"}
        client.post("/store", json={"items": [item], "metadata": {"odd": bool(number % 2)}})
    seen, cursor = [], None
    while True:
        query = {"limit": 2, "modality": "text"} | ({"after": cursor} if cursor else {})
        page = client.get("/memories", params=query).json()
        seen += [memory["text"] for memory in page["memories"]]
        if (cursor := page["next"]) is None:
            break
    assert seen == [f"number {number}" for number in range(5)]
    odd = client.get("/memories", params={"filter": json.dumps({"odd": True})}).json()
    assert len(odd["memories"]) == 2


def test_operations(client: TestClient, stored: dict) -> None:
    assert client.get("/livez").json() == client.get("/readyz").json() == {"status": "ok"}
    models = client.get("/models").json()
    assert models["profile"] == "fake"
    assert {encoder["modality"] for encoder in models["encoders"]} == {
        "image",
        "text",
        "audio",
        "sensor",
    }
    metrics = client.get("/metrics").text
    assert (
        'memory_service_memories{modality="image",namespace="default",space="fake"} 1.0' in metrics
    )
    assert 'route="/store",status="201"' in metrics
    assert 'call="store",stage="encode"' in metrics


def test_headers_of_every_answer(client: TestClient) -> None:
    answer = client.get("/livez", headers={"x-request-id": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"
    assert answer.headers["x-content-type-options"] == "nosniff"
    strange = client.get("/livez", headers={"x-request-id": "a b\tc"})
    assert strange.headers["x-request-id"] != "a b\tc"
    assert "access-control-allow-origin" not in strange.headers


def test_openapi_is_valid_and_its_examples_work(client: TestClient, stored: dict) -> None:
    document = client.get("/openapi.json").json()
    validate(document)
    for path in ("/store", "/retrieve", "/generate"):
        body = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        for example in body["examples"].values():
            answer = client.post(path, json=example["value"])
            assert answer.status_code in (200, 201), answer.text
    assert "problem+json" in json.dumps(document["paths"]["/store"])


def test_the_docs_page_needs_no_other_host(client: TestClient) -> None:
    page = client.get("/docs").text
    assert "http://" not in page.replace("http://testserver", "")
    assert "https://" not in page
    loaded = re.findall(r'(?:src|href)="(/docs-assets/[^"]+)"', page)
    assert len(loaded) == 3
    assert [client.get(each).status_code for each in loaded] == [200] * 3


def test_the_docs_page_can_show_the_version_of_openapi_that_it_is_given(client: TestClient) -> None:
    assert client.get("/openapi.json").json()["openapi"].startswith("3.1.")
    assert "isOAS31" in client.get("/docs-assets/swagger-ui-bundle.js").text  # not in Swagger UI 4


def test_everything_acknowledged_is_there_after_a_restart(
    settings: Settings, tiger: dict[str, bytes]
) -> None:
    with TestClient(create_app(settings=settings)) as first:
        episode = first.post("/store", files=tiger).json()["episode"]
        before = first.post("/retrieve", json={"query": {"text": "A tiger."}}).json()
    with TestClient(create_app(settings=settings)) as second:
        assert second.get(f"/episodes/{episode['id']}").json() == episode
        after = second.post("/retrieve", json={"query": {"text": "A tiger."}}).json()
    assert after["results"] == before["results"]


def test_models_names_every_limit_as_what_it_is(client: TestClient, settings: Settings) -> None:
    limits = client.get("/models").json()["limits"]
    named = {name for name in Settings.model_fields if name.startswith(("max_", "queue_"))}
    assert {name: limits[name] for name in named} == settings.model_dump(include=named)
    assert {name for name, limit in limits.items() if isinstance(limit, float)} == {
        "max_audio_s",
        "max_part_s",
    }
    assert limits["max_body_bytes"] == client.app.state.body_limit  # type: ignore[attr-defined]
    assert client.get("/memories", params={"limit": limits["max_list"]}).status_code == 200
    assert client.get("/memories", params={"limit": limits["max_list"] + 1}).status_code == 422


def test_a_generation_names_the_part_of_a_long_sound(client: TestClient) -> None:
    sounds = io.BytesIO()
    time = np.arange(20 * 8000) / 8000
    soundfile.write(sounds, 0.3 * np.sin(time * (300 + 100 * time)), 8000, format="FLAC")
    assert client.post("/store", files={"audio": sounds.getvalue()}).status_code == 201
    query = {"audio": base64.b64encode(sounds.getvalue()).decode()}
    made = client.post("/generate", json={"query": query, "output": "audio"}).json()
    (share,) = made["memories"]
    assert share["segment"]["end_s"] - share["segment"]["start_s"] == 2.0
    assert client.get(f"/generations/{made['id']}").json()["memories"] == [share]
