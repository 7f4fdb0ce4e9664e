"""Every route of the OpenAPI document with no key, with each scope, and with a foreign key."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient

from memory_service.api import create_app
from memory_service.settings import Settings

SCOPES = ("read", "write", "admin")
QUERY = {"query": {"text": "a fox"}, "namespace": "home"}


@dataclass(frozen=True)
class Case:
    """`scope`: the least that is let in, None for anybody; `ok`: what it gets; `foreign`: what a
    key of scope admin gets that is bound to another namespace."""

    scope: str | None
    foreign: int
    ok: int = 200
    request: dict[str, Any] = field(default_factory=dict)


ITEM = {"items": [{"modality": "text", "text": "a hen"}], "namespace": "home"}
# 403: the namespace or the whole store is named; 404: to others, an id here is that of nothing.
CASES = {
    "POST /store": Case("write", 403, 201, {"json": ITEM}),
    # Each line has a status of its own: see below.
    "POST /store/batch": Case(
        "write",
        200,
        200,
        {"content": json.dumps(ITEM), "headers": {"Content-Type": "application/x-ndjson"}},
    ),
    "POST /retrieve": Case("read", 403, 200, {"json": QUERY}),
    "POST /embed": Case("read", 200, 200, {"json": {"items": ITEM["items"]}}),  # stores nothing
    "POST /generate": Case("write", 403, 201, {"json": {**QUERY, "output": "text"}}),
    "GET /memories": Case("read", 403, 200, {"params": {"namespace": "home"}}),
    "DELETE /memories": Case(
        "write", 403, 200, {"json": {"namespace": "home", "all": True, "dry_run": True}}
    ),
    "GET /memories/{memory_id}": Case("read", 404),
    "PATCH /memories/{memory_id}": Case("write", 404, 200, {"json": {"metadata": {"a": 1}}}),
    "DELETE /memories/{memory_id}": Case("write", 404),
    "GET /memories/{memory_id}/content": Case("read", 404),
    "GET /memories/{memory_id}/thumbnail": Case("read", 404, 404),  # a text has none
    "GET /episodes/{episode_id}": Case("read", 404),
    "DELETE /episodes/{episode_id}": Case("write", 404),
    "GET /generations": Case("read", 403, 200, {"params": {"namespace": "home"}}),
    "GET /generations/{generation_id}": Case("read", 404),
    "DELETE /generations/{generation_id}": Case("write", 404),
    "GET /generations/{generation_id}/content": Case("read", 404),
    "GET /generations/{generation_id}/card": Case("read", 404),
    "POST /generations/{generation_id}/explain": Case("write", 404),
    "POST /generations/{generation_id}/replay": Case("read", 404),
    "GET /namespaces": Case("read", 200),  # without those of others: see below
    "GET /namespaces/{namespace}": Case("read", 403),
    "DELETE /namespaces/{namespace}": Case("admin", 403),
    "GET /receipts": Case("read", 200),  # without those of others: see below
    "GET /receipts/{receipt_id}": Case("read", 404),
    "GET /namespaces/{namespace}/settings": Case("read", 403),
    "PUT /namespaces/{namespace}/settings": Case("admin", 403, 200, {"json": {}}),
    "POST /sweep": Case("admin", 403),
    "POST /consolidate": Case("admin", 403, 202, {"json": {"namespace": "home"}}),
    "POST /consolidate/{name}/undo": Case("admin", 404),
    "POST /evaluate": Case("admin", 403, 202, {"json": {"namespace": "home"}}),
    "GET /evaluate/{job_id}/report": Case("read", 404, 404),  # it is no job of that kind
    "POST /backup": Case("admin", 403, 409, {"json": {}}),  # no folder is set
    "POST /reembed": Case("admin", 403, 409, {"json": {"rollback": True}}),
    "GET /reembed": Case("admin", 403),
    "DELETE /reembed/{role}": Case("admin", 403),
    "GET /jobs": Case("read", 200),  # without those of others: see below
    "GET /jobs/{job_id}": Case("read", 404),
    "DELETE /jobs/{job_id}": Case("admin", 404, 409),
    "POST /keys": Case("admin", 403, 201, {"json": {"name": "n", "scope": "read"}}),
    "GET /keys": Case("admin", 403),
    "DELETE /keys/{key_id}": Case("admin", 403),
    "GET /audit": Case("admin", 403),
    "GET /models": Case("read", 200),
    "GET /stats": Case("read", 200),
    "GET /livez": Case(None, 200),
    "GET /readyz": Case(None, 200),
    "GET /metrics": Case("read", 403),
}


def test_the_table_has_every_route_and_no_other() -> None:
    """A new route needs a line here, and one in memory_service/api/permissions.py."""
    paths = create_app(settings=Settings(profile="fake")).openapi()["paths"]
    assert CASES.keys() == {
        f"{verb.upper()} {path}" for path, verbs in paths.items() for verb in verbs
    }


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("guarded") / "data"
    settings = Settings(data_dir=folder, profile="fake", auth="required")
    with TestClient(create_app(settings=settings), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def keys(guarded: TestClient) -> dict[str, str]:
    made = guarded.app.state.application.keys.create  # type: ignore[attr-defined]
    found = {scope: made(scope, scope)[1] for scope in SCOPES}
    found["foreign"] = made("foreign", "admin", namespaces=["elsewhere"])[1]
    found["own"] = made("own", "admin", namespaces=["home"])[1]
    found["two"] = made("two", "write", namespaces=["home", "garden"])[1]
    return found


@pytest.fixture
def ask(guarded: TestClient, keys: dict[str, str]) -> Any:
    def ask(who: str | None, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {} if who is None else {"Authorization": f"Bearer {keys[who]}"}
        headers |= more.pop("headers", {})
        return guarded.request(method, path, headers=headers, **more)

    return ask


@pytest.fixture
def names(guarded: TestClient, ask: Any) -> dict[str, str]:
    """What the parameters of paths stand for, all in namespace home."""
    episode = ask("write", "POST", "/store", json=ITEM).json()["episode"]
    made = ask("write", "POST", "/generate", json={**QUERY, "output": "text"}).json()
    job = ask("admin", "POST", "/consolidate", json={"namespace": "home", "dry_run": True}).json()
    application = guarded.app.state.application  # type: ignore[attr-defined]
    for _, thread in list(application.jobs._runs.values()):
        thread.join(10)
    key, _ = application.keys.create("to be revoked", "read")
    more = ask("write", "POST", "/store", json=ITEM).json()["episode"]
    receipt = ask("write", "DELETE", f"/episodes/{more['id']}").json()
    return {
        "memory_id": episode["memories"][0]["id"],
        "episode_id": episode["id"],
        "generation_id": made["id"],
        "job_id": job["id"],
        "name": job["id"],
        "namespace": "home",
        "role": "old",
        "receipt_id": receipt["id"],
        "key_id": key.id,
    }


@pytest.mark.parametrize("route", CASES)
def test_who_is_let_in(route: str, ask: Any, names: dict[str, str]) -> None:
    case = CASES[route]
    method, path = route.split()
    path = path.format(**names)

    def status(who: str | None) -> int:
        return int(ask(who, method, path, **case.request).status_code)

    assert status(None) == (200 if case.scope is None else 401)
    assert status("foreign") == case.foreign
    needed = SCOPES.index(case.scope or "read")
    assert [status(each) for each in SCOPES[:needed]] == [403] * needed
    # Last, as it may delete what the others were refused.
    assert status(SCOPES[needed]) == case.ok


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer mem_1_2",
        "Bearer ",
        "Basic bWVt",
        "Bearer {key}x",
        "{key}",
        "Bearer m\xe4m_1_2",
    ],
)
def test_a_key_that_is_none(guarded: TestClient, keys: dict[str, str], header: str) -> None:
    given = header.format(key=keys["admin"]).encode("latin-1")
    answer = guarded.get("/stats", headers={"Authorization": given})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert keys["admin"] not in answer.text


def test_a_path_that_is_not_there_needs_a_key_too(guarded: TestClient, ask: Any) -> None:
    assert guarded.get("/nowhere").status_code == 401
    assert ask("read", "GET", "/nowhere").status_code == 404
    assert guarded.get("/livez/../stats").status_code == 401


def test_a_key_works_until_it_is_revoked_or_expires(guarded: TestClient, ask: Any) -> None:
    body = {"name": "short", "scope": "read"}
    made = ask("admin", "POST", "/keys", json=body).json()
    headers = {"Authorization": f"Bearer {made['key']}"}
    assert guarded.get("/stats", headers=headers).status_code == 200
    listed = ask("admin", "GET", "/keys")
    assert made["key"] not in listed.text
    assert made["id"] in [each["id"] for each in listed.json()["keys"]]
    gone = ask("admin", "DELETE", f"/keys/{made['id']}").json()
    assert gone["revoked_at"] is not None
    assert guarded.get("/stats", headers=headers).status_code == 401
    assert ask("admin", "DELETE", "/keys/none").status_code == 404
    past = ask("admin", "POST", "/keys", json={**body, "expires_at": 1.0})
    assert (past.status_code, past.json()["code"]) == (422, "invalid_input")


def test_only_a_hash_is_kept(guarded: TestClient, keys: dict[str, str]) -> None:
    folder = guarded.app.state.application.settings.data_dir  # type: ignore[attr-defined]
    secret = keys["admin"].split("_", 2)[2].encode()
    for file in folder.glob("keys.sqlite3*"):
        assert secret not in file.read_bytes()
        assert file.stat().st_mode & 0o077 == 0


def test_a_bound_key_sees_only_its_own(ask: Any, names: dict[str, str]) -> None:
    ask("admin", "POST", "/store", json={**ITEM, "namespace": "elsewhere"})
    begun(ask, "admin")  # of the whole store
    for who, own in (("foreign", {"elsewhere"}), ("own", {"home"})):
        listed = ask(who, "GET", "/memories", params={"limit": 1000}).json()["memories"]
        assert {each["namespace"] for each in listed} == own
        held = ask(who, "GET", "/namespaces").json()["namespaces"]
        assert {each["namespace"] for each in held} == own
        stats = ask(who, "GET", "/stats").json()
        assert {each["namespace"] for each in stats["sub_memories"]} == own
        assert stats["memories"] == sum(not each["prototype"] for each in listed)
        jobs = ask(who, "GET", "/jobs").json()["jobs"]
        assert {each["parameters"]["namespace"] for each in jobs} <= own
    assert names["job_id"] in [each["id"] for each in ask("own", "GET", "/jobs").json()["jobs"]]
    everything = ask("read", "GET", "/memories", params={"limit": 1000}).json()["memories"]
    assert {each["namespace"] for each in everything} >= {"home", "elsewhere"}


def test_lines_of_a_batch_for_other_namespaces_are_refused(ask: Any) -> None:
    lines = [ITEM, {"items": ITEM["items"]}, {**ITEM, "namespace": "elsewhere"}]
    body = "\n".join(json.dumps(each) for each in lines)
    kind = {"Content-Type": "application/x-ndjson"}
    answer = ask("own", "POST", "/store/batch", content=body, headers=kind)
    told = [json.loads(line) for line in answer.text.splitlines()]
    assert [each["status"] for each in told] == [201, 201, 403]
    assert "foreign_namespace" in answer.text
    listed = ask("own", "GET", "/memories", params={"limit": 1000}).json()["memories"]
    assert {each["namespace"] for each in listed} == {"home"}


def begun(ask: Any, who: str) -> httpx.Response:
    """A consolidation, once no other one is in its way."""
    for _ in range(500):
        answer: httpx.Response = ask(who, "POST", "/consolidate", json={"dry_run": True})
        if answer.status_code != 409:
            return answer
        time.sleep(0.02)
    raise AssertionError(answer.text)


def test_what_a_bound_key_means_without_saying_it(ask: Any) -> None:
    body = {"items": ITEM["items"]}
    assert ask("own", "POST", "/store", json=body).json()["episode"]["namespace"] == "home"
    form = ask("own", "POST", "/store", files={"text": b"a hen"})
    assert form.json()["episode"]["namespace"] == "home"
    assert ask("own", "POST", "/retrieve", json={"query": {"text": "hen"}}).status_code == 200
    job = begun(ask, "own")
    assert job.json()["parameters"]["namespace"] == "home"
    counted = ask("own", "DELETE", "/memories", json={"all": True, "dry_run": True})
    assert counted.json()["expected"] >= 2
    refused = ask("two", "POST", "/store", json=body)  # `default` is neither of them
    assert (refused.status_code, refused.json()["code"]) == (403, "foreign_namespace")
    assert refused.json()["accepted"] == ["garden", "home"]
    raw = np.ones(32, "<f4").tobytes()
    kind = {"Content-Type": "application/octet-stream"}
    params = {"namespace": "x"}
    refused = ask("two", "POST", "/retrieve", content=raw, headers=kind, params=params)
    assert (refused.status_code, refused.json()["code"]) == (403, "foreign_namespace")
    refused = ask("two", "POST", "/retrieve", files={"text": b"hen"}, data={"namespace": "x"})
    assert refused.status_code == 403


def test_a_key_that_is_sent_counts_where_none_is_asked_for(client: TestClient) -> None:
    assert client.get("/stats").status_code == 200
    keys = client.app.state.application.keys  # type: ignore[attr-defined]
    _, text = keys.create("reader", "read")
    headers = {"Authorization": f"Bearer {text}"}
    assert client.get("/stats", headers=headers).status_code == 200
    assert client.post("/sweep", headers=headers).json()["code"] == "insufficient_scope"
    assert client.get("/stats", headers={"Authorization": "Bearer mem_x_y"}).status_code == 401


@pytest.mark.parametrize(
    ("given", "status", "docs", "metrics"),
    [
        ({}, 200, 200, 200),
        ({"auth": "required"}, 401, 200, 401),
        ({"host": "192.0.2.1"}, 401, 401, 401),
        ({"host": "192.0.2.1", "auth": "open"}, 200, 200, 200),
        ({"host": "192.0.2.1", "open_metrics": True}, 401, 401, 200),
    ],
)
def test_where_keys_are_asked_for(
    settings: Settings, given: dict[str, Any], status: int, docs: int, metrics: int
) -> None:
    app = create_app(settings=settings.model_copy(update=given))
    with TestClient(app) as client:
        assert client.get("/stats").status_code == status
        assert {client.get(path).status_code for path in ("/livez", "/readyz")} == {200}
        paths = ("/docs", "/openapi.json", "/docs-assets/swagger-ui.css")
        assert {client.get(path).status_code for path in paths} == {docs}
        assert client.get("/metrics").status_code == metrics


def test_the_contract_says_which_routes_ask_for_a_key() -> None:
    document = create_app(settings=Settings(profile="fake")).openapi()
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for path, operations in document["paths"].items():
        for verb, operation in operations.items():
            asks = CASES[f"{verb.upper()} {path}"].scope is not None
            assert ("security" in operation, "401" in operation["responses"]) == (asks, asks)
