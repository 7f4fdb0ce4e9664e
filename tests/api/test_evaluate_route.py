"""POST /evaluate, its job and its page."""

from collections.abc import Iterator

import pytest
from ended_jobs import finished
from fastapi.testclient import TestClient
from problem_answers import assert_problem

from memory_service.services.evaluation import judges, request, service
from memory_service.services.evaluation.lab import FEWEST, Budget

SMALL = Budget(queries=3, seeds=(0,), noised=3, repeated=1, repeats=2, timed=1, folds=3, shown=2)


@pytest.fixture(autouse=True)
def little() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "DEPTHS", {"quick": SMALL, "full": SMALL})
        patch.setattr(judges, "NETWORK", "no_such_package")  # it takes time
        yield


def test_a_namespace_is_evaluated_and_left_as_it_is(client: TestClient) -> None:
    for number in range(FEWEST):
        text = f"note {number} about <b>{'x' * number}</b>"
        client.post("/store", json={"items": [{"modality": "text", "text": text}]})
    before = client.get("/stats").json()
    answer = client.post("/evaluate", json={"depth": "quick"})
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/jobs/{answer.json()['id']}"
    assert answer.json()["kind"] == "evaluate"
    job = finished(client, answer.json())
    assert job["state"] == "succeeded", job["error"]
    assert job["result"]["figures"]["about"]["episodes"] == FEWEST
    page = client.get(job["result"]["report"])
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "<b>xx" not in page.text
    assert client.get("/stats").json() == before


def test_no_report(client: TestClient) -> None:
    assert_problem(client.get("/evaluate/nothing/report"), 404, "not_found")


@pytest.mark.parametrize(
    "wrong",
    [
        {"depth": "deep"},
        {"max_items": 1},
        {"queries": 2},
        {"queries": 1001},
        {"seed": -1},
        {"namespace": "?"},
        {"unknown": 1},
    ],
)
def test_wrong_requests(client: TestClient, wrong: dict) -> None:
    assert_problem(client.post("/evaluate", json=wrong), 422, "invalid_input")


def test_what_it_needs_is_named(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request, "NEEDED", ("no_such_library",))
    problem = assert_problem(client.post("/evaluate", json={}), 422, "modality_unavailable")
    assert "simmim[evaluation]" in problem["detail"]
