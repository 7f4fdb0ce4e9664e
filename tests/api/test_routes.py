"""What is not there, what a route does not take, and what fails inside."""

import pytest
from fastapi.testclient import TestClient
from problem_answers import assert_problem


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/memories/nobody"),
        ("GET", "/memories/nobody/content"),
        ("DELETE", "/memories/nobody"),
        ("GET", "/episodes/nobody"),
        ("DELETE", "/episodes/nobody"),
        ("GET", "/generations/nobody"),
        ("GET", "/generations/nobody/content"),
        ("POST", "/generations/nobody/replay"),
        ("POST", "/generations/nobody/explain"),
        ("GET", "/memories/..%2F..%2Fetc%2Fpasswd"),
        ("GET", "/no/such/route"),
    ],
)
def test_what_is_not_there(client: TestClient, method: str, path: str) -> None:
    assert_problem(client.request(method, path), 404, "not_found")


def test_a_method_that_a_route_does_not_take(client: TestClient) -> None:
    assert_problem(client.put("/store"), 405, "method_not_allowed")


def test_an_unexpected_failure_says_nothing_of_the_inside(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret path")

    monkeypatch.setattr(type(client.app.state.application.memory), "stats", broken)
    answer = client.get("/stats", headers={"X-Request-Id": "seven"})
    assert_problem(answer, 500, "internal_error")
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"] == "seven"


def test_head_answers_like_get_without_the_body(client: TestClient, stored: dict) -> None:
    path = f"/memories/{stored['memories'][0]['id']}/content"
    head, whole = client.head(path), client.get(path)
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["content-length"] == str(len(whole.content))
    assert client.head("/livez").status_code == 200
