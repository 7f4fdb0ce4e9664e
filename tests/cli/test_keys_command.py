"""`keys` on a data folder, beside a running service, and by its address."""

import json
import re
from pathlib import Path

import httpx
import pytest
import typer
from click.testing import Result
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from memory_service.api import create_app
from memory_service.cli import app
from memory_service.cli.serve import _require_key
from memory_service.client import Client, ServiceError
from memory_service.settings import Settings

WIDE = {"COLUMNS": "200", "NO_COLOR": "1"}


def invoke(*arguments: str, **env: str) -> Result:
    return CliRunner().invoke(app, ["keys", *arguments], env={**WIDE, **env})


def test_a_key_made_beside_a_running_service_opens_it(tmp_path: Path) -> None:
    folder = ("--data-dir", str(tmp_path / "data"))
    settings = Settings(data_dir=tmp_path / "data", profile="fake", auth="required")
    with TestClient(create_app(settings=settings)) as service:
        made = invoke(
            "create",
            "--name",
            "camera",
            "--scope",
            "write",
            "-n",
            "yard",
            "--expires",
            "30d",
            *folder,
        )
        assert made.exit_code == 0, made.output
        assert "it is not told again" in made.stderr
        key = made.stdout.strip()
        headers = {"Authorization": f"Bearer {key}"}
        assert service.get("/stats", headers=headers).status_code == 200
        assert service.post("/sweep", headers=headers).status_code == 403

        listed = invoke("list", *folder)
        assert re.search(r"camera +│ write +│ yard +│ +│ valid until", listed.stdout)
        assert key not in listed.stdout
        (kept,) = json.loads(invoke("list", "--json", *folder).stdout)["keys"]
        assert kept["namespaces"] == ["yard"]
        revoked = invoke("revoke", kept["id"], *folder)
        assert revoked.stdout.startswith(f"revoked {kept['id']} (camera)")
        assert service.get("/stats", headers=headers).status_code == 401
        assert "revoked 20" in invoke("list", *folder).stdout


def test_limits_of_a_key(tmp_path: Path) -> None:
    folder = ("--data-dir", str(tmp_path / "data"))
    made = ("create", "--scope", "read", *folder)
    limits = ("--requests-per-s", "0.001", "--bytes-per-min", "2000")
    slow = invoke(*made, "--name", "slow", *limits).stdout.strip()
    free = invoke(*made, "--name", "free", "--requests-per-s", "0").stdout.strip()
    settings = Settings(
        data_dir=tmp_path / "data", profile="fake", auth="required", request_burst=1
    )
    with TestClient(create_app(settings=settings)) as service:
        for key, statuses in ((slow, [200, 429]), (free, [200, 200])):
            headers = {"Authorization": f"Bearer {key}"}
            assert [service.get("/stats", headers=headers).status_code for _ in "12"] == statuses
    listed = invoke("list", *folder).stdout
    assert re.search(r"slow +│ read +│ all +│ 0.001/s, 2,000 B/min +│ valid", listed)
    assert re.search(r"free +│ read +│ all +│ any/s +│ valid", listed)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["create", "--name", "a", "--scope", "all"], "scope must be one of: read, write, admin"),
        (["create", "--name", " ", "--scope", "read"], "a key needs a name"),
        (["create", "--name", "a", "--scope", "read", "--expires", "soon"], "30d"),
        (["create", "--name", "a", "--scope", "read", "--expires", "2001-01-01"], "in the future"),
        (["create", "--name", "a", "--scope", "read", "-n", "a/b"], "not a name of a namespace"),
        (
            ["create", "--name", "a", "--scope", "read", "--requests-per-s", "-1"],
            "requests_per_s must be a number from 0",
        ),
        (["revoke", "nothing"], "there is no key 'nothing'"),
        (["list", "--url", "http://127.0.0.1:1"], "either --data-dir or --url"),
    ],
)
def test_a_mistake_is_one_clear_line(tmp_path: Path, arguments: list[str], says: str) -> None:
    result = invoke(*arguments, "--data-dir", str(tmp_path / "data"))
    assert result.exit_code == 1
    assert says in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_client_sends_its_key(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    app = create_app(settings=settings.model_copy(update={"auth": "required"}))
    with TestClient(app) as service:

        def forward(request: httpx.Request) -> httpx.Response:
            answer = service.request(
                request.method,
                request.url.path,
                headers=dict(request.headers),
                content=request.read(),
            )
            return httpx.Response(answer.status_code, json=answer.json())

        transport = httpx.MockTransport(forward)
        _, text = app.state.application.keys.create("boss", "admin")
        with Client("http://testserver", api_key=text, transport=transport) as client:
            made = client.create_key("reader", "read", namespaces=["home"], bytes_per_min=9)
            assert (made["namespaces"], made["bytes_per_min"]) == (["home"], 9)
            assert [each["name"] for each in client.api_keys()] == ["boss", "reader"]
            assert not any("key" in each for each in client.api_keys())
            monkeypatch.setenv("MEMORY_SERVICE_API_KEY", made["key"])
            with Client("http://testserver", transport=transport) as reader:
                assert reader.stats()["memories"] == 0
                assert client.revoke_key(made["id"])["revoked_at"] is not None
                with pytest.raises(ServiceError) as caught:
                    reader.stats()
            assert (caught.value.status, caught.value.code) == (401, "unauthorized")
    with pytest.raises(ValueError, match="API key"):
        Client("http://testserver", api_key="two words")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", profile="fake")


def test_serve_starts_where_there_is_a_key(tmp_path: Path, settings: Settings) -> None:
    remote = settings.model_copy(update={"host": "192.0.2.1"})
    with pytest.raises(typer.Exit):
        _require_key(remote)
    invoke("create", "--name", "a", "--scope", "read", "--data-dir", str(tmp_path / "data"))
    _require_key(remote)
