"""Keys of another namespace try every operation of the OpenAPI document, whatever that has by now:
nothing is told of what is in the namespace, and nothing there changes."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from memory_service.api import create_app
from memory_service.settings import Settings

HOME = "homestead"
WORD = "zanzibar"
ITEM = {
    "items": [{"modality": "text", "text": f"a {WORD} hen"}],
    "metadata": {"hideout": WORD},
    "namespace": HOME,
}
_MINE = "IN (SELECT sequence FROM memories WHERE namespace = ?)"
_MADE = "IN (SELECT id FROM generations WHERE namespace = ?)"
STATE = {
    **{
        table: f"SELECT * FROM {table} WHERE namespace = ?"
        for table in (
            "memories",
            "episodes",
            "traces",
            "generations",
            "receipts",
            "idempotency_keys",
        )
    },
    **{table: f"SELECT * FROM {table} WHERE sequence {_MINE}" for table in ("vectors", "recalls")},
    **{
        table: f"SELECT * FROM {table} WHERE generation_id {_MADE}"
        for table in ("generation_memories", "generation_outputs", "generation_effects")
    },
    "lineage": f"SELECT * FROM lineage WHERE member {_MINE}",
    "namespaces": "SELECT * FROM namespaces WHERE name = ?",
    "jobs": "SELECT * FROM jobs WHERE parameters ->> 'namespace' = ?",
}
METHODS = ("get", "post", "put", "patch", "delete")
QUERY = {"query": {"text": "a hen"}, "namespace": HOME}


@dataclass
class Attack:
    """One request; `sent` is what it says itself, and may be told back."""

    method: str
    path: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def sent(self) -> str:
        return f"{self.path} {self.options!r}"


class Home:
    """A service with a namespace of which nobody else is to know anything."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self.app: Any = client.app
        self.application = self.app.state.application
        self.keys = self.application.keys
        self.owner, self._owner = self.keys.create("owner", "admin", namespaces=[HOME])
        self.ids = self._fill()
        self.secrets = {HOME, WORD, "hideout", self.owner.id, *self._names()}

    def ask(self, method: str, path: str, key: str | None = None, **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key or self._owner}", **more.pop("headers", {})}
        return self.client.request(method, path, headers=headers, **more)

    def _fill(self) -> dict[str, str]:
        stored = [self.ask("POST", "/store", json=ITEM).json()["episode"] for _ in range(3)]
        made = self.ask("POST", "/generate", json={**QUERY, "output": "text"}).json()
        receipt = self.ask("DELETE", f"/episodes/{stored[2]['id']}").json()
        self.ask("PUT", f"/namespaces/{HOME}/settings", json={"half_life_s": 1234.5})
        job = self.ask("POST", "/consolidate", json={"namespace": HOME}).json()
        for _, thread in list(self.application.jobs._runs.values()):
            thread.join(20)
        return {
            "memory_id": stored[0]["memories"][0]["id"],
            "episode_id": stored[0]["id"],
            "generation_id": made["id"],
            "receipt_id": receipt["id"],
            "job_id": job["id"],
            "name": job["id"],
            "namespace": HOME,
            "key_id": self.owner.id,
            "role": "old",
        }

    def _names(self) -> set[str]:
        """Ids and hashes of all that is there, but those of the models, which all share."""
        rows = self.state()
        shared = {each.fingerprint for each in self.application.profile.encoders}
        return {
            value
            for table in ("memories", "generations", "receipts", "jobs")
            for row in rows[table]
            for value in row
            if isinstance(value, str) and re.fullmatch(r"[0-9a-f-]{32,}", value)
            if value not in shared
        }

    def state(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of the catalog that is about the namespace, and all keys."""
        found = {
            name: [tuple(row) for row in self.application.store.catalog.select(query, (HOME,))]
            for name, query in STATE.items()
        }
        found["keys"] = [(each.id, each.revoked_at) for each in self.keys.list()]
        return found


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("home") / "data"
    settings = Settings(data_dir=folder, profile="fake", auth="required", upkeep_s=3600)
    with TestClient(create_app(settings=settings), raise_server_exceptions=False) as client:
        yield Home(client)


def attacks(document: dict[str, Any], ids: dict[str, str]) -> Iterator[Attack]:
    for path, operations in document["paths"].items():
        for method in METHODS:
            if method not in operations:
                continue
            operation = operations[method]
            parameters = operation.get("parameters", ())
            named = {each["name"] for each in parameters if each["in"] == "query"}
            # A parameter that is new is tried with all that there is to know.
            places = [each["name"] for each in parameters if each["in"] == "path"]
            tried = (
                [{each: ids[each] for each in places}]
                if set(places) <= ids.keys()
                else [dict.fromkeys(places, each) for each in ids.values()]
            )
            queries: list[dict[str, str]] = [{}, *({each: HOME} for each in named)]
            queries += [{each: ids["memory_id"]} for each in named]
            for values in tried:
                for query in queries:
                    for body in bodies(operation):
                        options = {**body, "params": {**body.get("params", {}), **query}}
                        yield Attack(method.upper(), path.format(**values), options)


def bodies(operation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    content = operation.get("requestBody", {}).get("content", {})
    if not content:
        yield {}
    for kind, described in content.items():
        if kind == "application/json":
            for each in ({}, {"namespace": HOME}, QUERY, ITEM, {"all": True, "expected": 2}):
                yield {"json": each}
            for example in described.get("examples", {}).values():
                yield {"json": example["value"]}
                yield {"json": {**example["value"], "namespace": HOME}}
        elif kind == "multipart/form-data":
            yield {"files": {"text": b"a hen"}, "data": {"namespace": HOME}}
            yield {"files": {"text": b"a hen"}}
        else:
            own = {"items": [{"modality": "text", "text": "a goose"}]}
            headers = {"Content-Type": kind}
            yield {"content": f"{json.dumps(ITEM)}\n{json.dumps(own)}", "headers": headers}
            yield {"content": bytes(4 * 384), "headers": headers, "params": {"namespace": HOME}}


def test_what_is_foreign_is_answered_as_what_is_not_there(home: Home) -> None:
    """Byte for byte, but for the id."""
    _, key = home.keys.create("curious", "admin", namespaces=["elsewhere"])
    asked = set()
    for path, operations in home.client.get("/openapi.json").json()["paths"].items():
        for method in operations:
            for place in re.findall(
                r"{(memory_id|episode_id|generation_id|receipt_id|job_id|name)}", path
            ):
                own = home.ids[place]
                unknown = own[:-1] + ("0" if own[-1] != "0" else "1")
                answers = [
                    home.ask(method.upper(), path.format(**{place: each}), key, json={})
                    for each in (own, unknown)
                ]
                assert [each.status_code for each in answers] == [404, 404], (method, path)
                foreign, missing = (each.text for each in answers)
                assert foreign == missing.replace(unknown, own), (method, path)
                assert answers[0].json()["kind"]
                asked.add((method, path))
    assert len(asked) >= 17


@pytest.mark.parametrize("scope", ["read", "write", "admin"])
def test_no_operation_tells_or_changes_anything(home: Home, scope: str) -> None:
    _, key = home.keys.create(f"stranger {scope}", scope, namespaces=["elsewhere"])
    before, asked = home.state(), set()
    for attack in attacks(home.client.get("/openapi.json").json(), home.ids):
        answer = home.ask(attack.method, attack.path, key, **attack.options)
        told = answer.text + repr(dict(answer.headers))
        leaked = {each for each in home.secrets if each in told and each not in attack.sent}
        assert not leaked, (attack, answer.status_code, leaked)
        assert answer.status_code < 500 or answer.status_code == 503, (attack, answer.text)
        asked.add((attack.method, attack.path))
    for _, thread in list(home.application.jobs._runs.values()):
        thread.join(20)
    assert len(asked) >= 40
    assert home.state() == before
