"""What a generation tells of itself over HTTP: effects, novelty, agreement, manifests."""

import base64

import pytest
from fastapi.testclient import TestClient
from problem_answers import assert_problem

from memory_service import manifest

TIGER = {"query": {"text": "A tiger."}, "seed": 5, "k": 2}


def generate(client: TestClient, **more: object) -> dict:
    answer = client.post("/generate", json={**TIGER, **more})
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_explained_at_once_or_later(client: TestClient, stored: dict) -> None:
    at_once = generate(client, output=["image", "text"], explain=True)
    plain = generate(client, output=["image", "text"])
    assert [share["effect"] for share in plain["memories"]] == [None] * len(plain["memories"])
    later = client.post(f"/generations/{plain['id']}/explain").json()
    for one, other in zip(at_once["memories"], later["memories"], strict=True):
        assert other["effects"].keys() == {"image", "text"}
        assert other["effects"] == pytest.approx(one["effects"], abs=2e-3)
        mean = sum(other["effects"].values()) / 2
        assert other["effect"] == pytest.approx(mean)
    assert all(output["effect_of_all"] is not None for output in later["outputs"])
    assert client.get(f"/generations/{plain['id']}").json()["memories"] == later["memories"]
    replayed = client.post(f"/generations/{plain['id']}/replay").json()["outputs"]
    assert all(output["identical"] for output in replayed)


def test_as_a_form(client: TestClient, stored: dict, tiger: dict[str, bytes]) -> None:
    fields = {"output": "image", "explain": "true", "max_similarity": "0.99", "creativity": "1"}
    made = client.post("/generate", files={"image": tiger["image"]}, data=fields).json()
    assert made["memories"][0]["effect"] is not None
    assert made["outputs"][0]["draws"][-1]["similarity"] <= 0.99
    assert made["query"] == [{"modality": "image", "text": None, "weight": 1.0}]


def test_the_answer_tells_what_is_new_and_what_agrees(client: TestClient, stored: dict) -> None:
    made = generate(client, output=["image", "text", "audio"])
    assert made["query"] == [{"modality": "text", "text": "A tiger.", "weight": 1.0}]
    assert made["agreement"].keys() == {"image-text", "image-audio", "text-audio"}
    measures = [output["media_novelty"]["measure"] for output in made["outputs"]]
    assert measures == ["1 - SSIM", "share of words not quoted", "log-mel distance"]
    for output in made["outputs"]:
        says = manifest.read(base64.b64decode(output["data"]))
        if output["modality"] == "text":
            assert says is None
            assert output["media_sha256"] == output["sha256"]
        else:
            assert says
            assert (says["generation_id"], says["seed"]) == (made["id"], 5)
            assert output["media_sha256"] != output["sha256"]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [(None, "text/html; charset=utf-8"), ("text/html,*/*;q=0.8", "text/html; charset=utf-8"),
     ("image/png", "image/png")],
)  # fmt: skip
def test_a_card(client: TestClient, stored: dict, accept: str | None, kind: str) -> None:
    made = generate(client, output=["image", "text", "audio"], explain=True)
    headers = {} if accept is None else {"accept": accept}
    answer = client.get(f"/generations/{made['id']}/card", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == kind
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script" not in policy
    if kind == "image/png":
        assert answer.content.startswith(b"\x89PNG")
    else:
        assert made["id"] in answer.text
        assert "<script" not in answer.text


def test_a_card_that_cannot_be_shown(client: TestClient, stored: dict) -> None:
    path = f"/generations/{generate(client)['id']}/card"
    assert_problem(client.get(path, headers={"accept": "video/mp4"}), 406, "not_acceptable")
    assert_problem(client.get("/generations/nobody/card"), 404, "not_found")


def test_an_answer_is_quoted(client: TestClient, tiger: dict[str, bytes]) -> None:
    words = "The tiger hunts deer at night. It swims well."
    client.post("/store", files={"image": tiger["image"]}, data={"text": words})
    question = [{"text": "What does the tiger hunt at night?"}]
    question.append({"image": base64.b64encode(tiger["image"]).decode()})
    made = generate(client, query=question, output="text", text_mode="answer")
    (output,) = made["outputs"]
    assert output["text"] == "The tiger hunts deer at night."
    details = output["details"]
    assert words[details["start"] : details["end"]] == output["text"]
    assert client.get(f"/memories/{details['memory_id']}").json()["text"] == words
    assert made["modes"] == {"text": "answer"}


def test_modes_are_checked(client: TestClient, stored: dict) -> None:
    for wrong in ({"text_mode": "poem"}, {"audio_mode": "song"}, {"text_mode": "tags"}):
        problem = client.post("/generate", json={**TIGER, "output": "image", **wrong})
        assert_problem(problem, 422, "invalid_input")


def test_the_same_seed_makes_the_same_media(client: TestClient, stored: dict) -> None:
    first, again = (generate(client, output=["image", "audio"])["outputs"] for _ in range(2))
    assert [each["media_sha256"] for each in first] == [each["media_sha256"] for each in again]
    assert [each["sha256"] for each in first] != [each["sha256"] for each in again]


def test_what_cannot_be_new_enough_is_refused(client: TestClient, stored: dict) -> None:
    body = {**TIGER, "output": "text", "max_similarity": 0.0}
    problem = assert_problem(client.post("/generate", json=body), 409, "too_similar")
    assert len(problem["draws"]) == 8
    assert problem["accepted"] == 0.0
    for wrong in ({"max_similarity": 2}, {"max_similarity": 0.5, "creativity": 0}):
        assert_problem(client.post("/generate", json={**TIGER, **wrong}), 422, "invalid_input")


def test_models_and_records_name_the_same_generators(client: TestClient, stored: dict) -> None:
    told = client.get("/models").json()["generator_models"]
    by_modality = {each["modality"]: each["fingerprint"] for each in told}
    made = client.post("/generate", json={**TIGER, "output": ["image", "text", "audio"]}).json()
    assert {
        each["modality"]: each["generator"]["fingerprint"] for each in made["outputs"]
    } == by_modality


def test_all_candidates_are_told(client: TestClient, stored: dict) -> None:
    body = {**TIGER, "output": "image", "candidates": 3, "creativity": 0.9, "seed": 4}
    made = client.post("/generate", json=body).json()
    (output,) = made["outputs"]
    assert sum(draw["taken"] for draw in output["draws"]) == 1
    best = max(output["draws"], key=lambda draw: draw["score"])
    assert best["taken"]
    assert (best["seed"], len(output["draws"])) == (output["seed"], 3)
    found = client.post(f"/generations/{made['id']}/replay").json()
    assert [each["identical"] for each in found["outputs"]] == [True]
    assert client.get(f"/generations/{made['id']}").json()["outputs"][0]["draws"] == output["draws"]
    assert client.post("/generate", json={**body, "candidates": 9}).status_code == 422
