"""Each call of the API as data: the request to send, and how to read its answer.

Sync and async client differ only in who sends.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx

from memory_service.client import arguments, results
from memory_service.client.failures import ServiceError, raise_for_problem

T = TypeVar("T")


@dataclass(frozen=True)
class Operation(Generic[T]):
    """`read` gets an answer that is no error."""

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    body: Mapping[str, Any] = field(default_factory=dict)  # json=, data=, files=, params=

    def answer(self, response: httpx.Response) -> T:
        """Raise `ServiceError` for an error or for what is not this API's answer."""
        raise_for_problem(response)
        try:
            return self.read(response)
        except (KeyError, TypeError, ValueError, AttributeError) as cause:
            raise ServiceError(
                "unexpected_answer",
                response.status_code,
                f"{response.url} does not answer like a memory service: {cause!r}",
            ) from cause


def _from_json(read: Callable[[results.Json], T]) -> Callable[[httpx.Response], T]:
    return lambda response: read(response.json())


def _object(response: httpx.Response) -> Mapping[str, Any]:
    answer = response.json()
    if not isinstance(answer, dict):
        raise TypeError("not a JSON object")
    return answer


def store(given: arguments.StoreArguments) -> Operation[results.Stored]:
    arguments.require_known(given, arguments.StoreArguments)
    files = arguments.uploads(given)
    if not files:  # a form without a file would not go as multipart
        body: Mapping[str, Any] = {"json": {"items": []}}
    else:
        body = {"files": files, "data": _store_fields(given)}
    return Operation("POST", "/store", _from_json(results.Stored.read), body)


def _store_fields(given: Mapping[str, Any]) -> dict[str, str]:
    names = ("namespace", "if_duplicate", "expires_at", "ttl_s")
    fields = {name: str(given[name]) for name in names if given.get(name) is not None}
    if given.get("metadata") is not None:
        fields["metadata"] = json.dumps(dict(given["metadata"]))
    return fields


def retrieve(given: arguments.RetrieveArguments) -> Operation[results.Retrieval]:
    arguments.require_known(given, arguments.RetrieveArguments)
    body = {"json": _query(given, "modalities")}
    return Operation("POST", "/retrieve", _from_json(results.Retrieval.read), body)


def generate(given: arguments.GenerateArguments) -> Operation[results.Generation]:
    arguments.require_known(given, arguments.GenerateArguments)
    body = {"json": _query(given, *GENERATE_OPTIONS)}
    return Operation("POST", "/generate", _from_json(results.Generation.read), body)


GENERATE_OPTIONS = (
    "output",
    "creativity",
    "seed",
    "fusion",
    "text_mode",
    "audio_mode",
    "max_similarity",
    "explain",
)
QUERY_OPTIONS = (
    "namespace",
    "mode",
    "k",
    "filter",
    "context_weight",
    "recency_weight",
    "strength_weight",
    "reinforce",
)


def _query(given: Mapping[str, Any], *more: str) -> dict[str, Any]:
    options = {name: given.get(name) for name in (*QUERY_OPTIONS, *more)}
    chosen = {name: value for name, value in options.items() if value is not None}
    return {"query": arguments.query_parts(given), **chosen}


def memory(memory_id: str) -> Operation[results.Memory]:
    return Operation("GET", f"/memories/{_segment(memory_id)}", _from_json(results.Memory.read))


def change(memory_id: str, changes: Mapping[str, Any]) -> Operation[results.Memory]:
    path = f"/memories/{_segment(memory_id)}"
    return Operation("PATCH", path, _from_json(results.Memory.read), {"json": dict(changes)})


def settings(namespace: str) -> Operation[Mapping[str, Any]]:
    return Operation("GET", f"/namespaces/{_segment(namespace)}/settings", _object)


def configure(namespace: str, values: Mapping[str, Any]) -> Operation[Mapping[str, Any]]:
    path = f"/namespaces/{_segment(namespace)}/settings"
    return Operation("PUT", path, _object, {"json": dict(values)})


def sweep() -> Operation[int]:
    return Operation("POST", "/sweep", _from_json(lambda answer: int(answer["deleted"])))


def consolidate(
    namespace: str | None,
    modalities: Sequence[str] | None,
    threshold: float | None,
    dry_run: bool,
) -> Operation[results.Job]:
    given = {"namespace": namespace, "threshold": threshold, "dry_run": dry_run}
    body: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if modalities is not None:
        body["modalities"] = list(modalities)
    return Operation("POST", "/consolidate", _from_json(results.Job.read), {"json": body})


def undo_consolidation(name: str) -> Operation[tuple[str, ...]]:
    read = _from_json(lambda answer: tuple(answer["prototype_ids"]))
    return Operation("POST", f"/consolidate/{_segment(name)}/undo", read)


def memories(
    namespace: str | None, modality: str | None, after: str | None, limit: int | None
) -> Operation[results.Page]:
    given = {"namespace": namespace, "modality": modality, "after": after, "limit": limit}
    params = {name: value for name, value in given.items() if value is not None}
    read = _from_json(results.Page.read)
    return Operation("GET", "/memories", read, {"params": params})


def content(memory_id: str, start_s: float | None, end_s: float | None) -> Operation[bytes]:
    given = {"start_s": start_s, "end_s": end_s}
    params = {name: value for name, value in given.items() if value is not None}
    path = f"/memories/{_segment(memory_id)}/content"
    return Operation("GET", path, lambda response: response.content, {"params": params})


def forget(memory_id: str) -> Operation[results.Forgotten]:
    path = f"/memories/{_segment(memory_id)}"
    return Operation("DELETE", path, _from_json(results.Forgotten.read))


def episode(episode_id: str) -> Operation[results.Episode]:
    return Operation("GET", f"/episodes/{_segment(episode_id)}", _from_json(results.Episode.read))


def forget_episode(episode_id: str) -> Operation[results.Forgotten]:
    path = f"/episodes/{_segment(episode_id)}"
    return Operation("DELETE", path, _from_json(results.Forgotten.read))


def generation(generation_id: str) -> Operation[results.Generation]:
    path = f"/generations/{_segment(generation_id)}"
    return Operation("GET", path, _from_json(results.Generation.read))


def generation_content(generation_id: str, output: str | None) -> Operation[bytes]:
    path = f"/generations/{_segment(generation_id)}/content"
    params = {} if output is None else {"output": output}
    return Operation("GET", path, lambda response: response.content, {"params": params})


def explain(generation_id: str) -> Operation[results.Generation]:
    path = f"/generations/{_segment(generation_id)}/explain"
    return Operation("POST", path, _from_json(results.Generation.read))


def replay(generation_id: str) -> Operation[Mapping[str, bool]]:
    def read(answer: results.Json) -> Mapping[str, bool]:
        return {output["id"]: bool(output["identical"]) for output in answer["outputs"]}

    return Operation("POST", f"/generations/{_segment(generation_id)}/replay", _from_json(read))


def stats() -> Operation[Mapping[str, Any]]:
    return Operation("GET", "/stats", _object)


def models() -> Operation[Mapping[str, Any]]:
    return Operation("GET", "/models", _object)


def reembed(
    profile: str, dry_run: bool, switch: bool, accept_failures: bool
) -> Operation[results.Job]:
    body = {
        "profile": profile,
        "dry_run": dry_run,
        "switch": switch,
        "accept_failures": accept_failures,
    }
    return Operation("POST", "/reembed", _from_json(results.Job.read), {"json": body})


def rollback() -> Operation[results.Job]:
    return Operation("POST", "/reembed", _from_json(results.Job.read), {"json": {"rollback": True}})


def spaces() -> Operation[Mapping[str, Any]]:
    return Operation("GET", "/reembed", _object)


def drop_vectors(role: str) -> Operation[Mapping[str, Any]]:
    return Operation("DELETE", f"/reembed/{_segment(role)}", _object)


def jobs(limit: int | None) -> Operation[tuple[results.Job, ...]]:
    def read(answer: results.Json) -> tuple[results.Job, ...]:
        return tuple(results.Job.read(job) for job in answer["jobs"])

    params = {} if limit is None else {"limit": limit}
    return Operation("GET", "/jobs", _from_json(read), {"params": params})


def job(job_id: str) -> Operation[results.Job]:
    return Operation("GET", f"/jobs/{_segment(job_id)}", _from_json(results.Job.read))


def cancel_job(job_id: str) -> Operation[results.Job]:
    return Operation("DELETE", f"/jobs/{_segment(job_id)}", _from_json(results.Job.read))


def ready() -> Operation[bool]:
    return Operation("GET", "/readyz", lambda response: True)


def _segment(name: str) -> str:
    """A path segment: no name can lead to another route. Raises ValueError for no name."""
    if not name:
        raise ValueError("an id is needed")
    return quote(name, safe="")
