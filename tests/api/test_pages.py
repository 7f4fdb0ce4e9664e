"""What a browser sees: the way to the document, and the pages of errors."""

import pytest
from fastapi.testclient import TestClient
from problem_answers import assert_problem

from memory_service.api import create_app
from memory_service.app import Application
from memory_service.settings import Settings


def test_the_root_leads_to_the_document(client: TestClient) -> None:
    answer = client.get("/", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (307, "/docs")
    assert "swagger-ui" in client.get("/").text


def test_the_type_of_an_error_can_be_read(client: TestClient) -> None:
    type = client.get("/memories/nobody").json()["type"]
    told = client.get(type).json()
    assert (told["code"], told["status"], told["title"]) == ("not_found", 404, "Not found")
    assert "no such memory" in told["meaning"]
    page = client.get(type, headers={"Accept": "text/html,*/*;q=0.8"})
    assert page.headers["content-type"].startswith("text/html")
    assert told["meaning"] in page.text


def test_an_error_that_there_is_not(client: TestClient) -> None:
    assert_problem(client.get("/errors/nothing"), 404, "not_found")


@pytest.mark.parametrize("path", ["/docs", "/", "/errors/not_found"])
def test_pages_where_keys_are_asked_for(settings: Settings, path: str) -> None:
    """Errors can be read by anyone; the document of a service that others reach needs a key."""
    asking = settings.model_copy(update={"auth": "required", "host": "0.0.0.0"})
    with TestClient(create_app(settings=asking), raise_server_exceptions=False) as client:
        application: Application = client.app.state.application  # type: ignore[attr-defined]
        _, key = application.keys.create("reader", "read")
        bare = client.get(path, follow_redirects=False)
        assert bare.status_code == (200 if path.startswith("/errors") else 401)
        kept = client.get(path, headers={"Authorization": f"Bearer {key}"}, follow_redirects=False)
        assert kept.status_code == (307 if path == "/" else 200)
