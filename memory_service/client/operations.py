"""Each call of the API as data: the request to send, and how to read its answer.

Sync and async client differ only in who sends.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx

from memory_service.client import arguments, results
from memory_service.client.failures import ServiceError, raise_for_problem

T = TypeVar("T")

# Of one request of a batch, unless a single line has more. Such a request is sent before its answer
# is read: with bodies without end, either side could wait for the other to read.
BATCH_LINES = 100
BATCH_BYTES = 4 * 2**20


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
    if given.get("vectors"):  # forms have no place for them
        json_body = {"json": arguments.store_body(given)}
        return Operation("POST", "/store", _from_json(results.Stored.read), json_body)
    files = arguments.uploads(given)
    if not files:  # a form without a file would not go as multipart
        body: Mapping[str, Any] = {"json": {"items": []}}
    else:
        body = {"files": files, "data": _store_fields(given)}
    return Operation("POST", "/store", _from_json(results.Stored.read), body)


def _store_fields(given: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: json.dumps(dict(value)) if name == "metadata" else str(value)
        for name, value in arguments.store_options(given).items()
    }


def store_lines(lines: Sequence[bytes], first: int) -> Operation[tuple[results.BatchAnswer, ...]]:
    """Lines that `store_line` made, as one request; their answers are counted from `first` on."""

    def read(response: httpx.Response) -> tuple[results.BatchAnswer, ...]:
        answers = [json.loads(line) for line in response.content.splitlines()]
        if len(answers) != len(lines):
            raise ValueError(f"{len(lines)} lines were sent, {len(answers)} answered")
        return tuple(results.BatchAnswer.read(each, first) for each in answers)

    headers = {"Content-Type": "application/x-ndjson"}
    body = {"content": b"".join(lines), "headers": headers}
    return Operation("POST", "/store/batch", read, body)


def store_line(given: arguments.StoreArguments) -> bytes:
    arguments.require_known(given, arguments.StoreArguments)
    return json.dumps(arguments.store_body(given)).encode() + b"\n"


def store_requests(
    episodes: Iterable[arguments.StoreArguments],
) -> Iterator[Operation[tuple[results.BatchAnswer, ...]]]:
    """Few requests of many lines each, made as they are asked for."""
    lines: list[bytes] = []
    first = size = 0
    for episode in episodes:
        line = store_line(episode)
        if lines and (len(lines) == BATCH_LINES or size + len(line) > BATCH_BYTES):
            yield store_lines(lines, first)
            first += len(lines)
            lines, size = [], 0
        lines.append(line)
        size += len(line)
    if lines:
        yield store_lines(lines, first)


def retrieve(given: arguments.RetrieveArguments) -> Operation[results.Retrieval]:
    arguments.require_known(given, arguments.RetrieveArguments)
    body = {"json": _query(given, "modalities")}
    return Operation("POST", "/retrieve", _from_json(results.Retrieval.read), body)


def embed(given: arguments.EmbedArguments) -> Operation[tuple[results.Embedded, ...]]:
    arguments.require_known(given, arguments.EmbedArguments)

    def read(answer: results.Json) -> tuple[results.Embedded, ...]:
        return tuple(results.Embedded.read(each) for each in answer["embeddings"])

    body = {"json": arguments.embed_body(given)}
    return Operation("POST", "/embed", _from_json(read), body)


def generate(given: arguments.GenerateArguments) -> Operation[results.Generation]:
    arguments.require_known(given, arguments.GenerateArguments)
    body: dict[str, Any] = {"json": _query(given, *GENERATE_OPTIONS)}
    if (key := given.get("idempotency_key")) is not None:
        body["headers"] = {"Idempotency-Key": key}
    return Operation("POST", "/generate", _from_json(results.Generation.read), body)


GENERATE_OPTIONS = (
    "output",
    "creativity",
    "seed",
    "fusion",
    "text_mode",
    "audio_mode",
    "max_similarity",
    "candidates",
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


def evaluate(body: Mapping[str, Any]) -> Operation[results.Job]:
    return Operation("POST", "/evaluate", _from_json(results.Job.read), {"json": dict(body)})


def evaluation_page(job_id: str) -> Operation[str]:
    return Operation("GET", f"/evaluate/{_segment(job_id)}/report", lambda response: response.text)


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


def thumbnail(memory_id: str) -> Operation[bytes]:
    path = f"/memories/{_segment(memory_id)}/thumbnail"
    return Operation("GET", path, lambda response: response.content)


def forget(memory_id: str, how: arguments.ForgetArguments) -> Operation[results.Forgotten]:
    return _forget(f"/memories/{_segment(memory_id)}", how)


def _forget(path: str, how: arguments.ForgetArguments, **more: Any) -> Operation[results.Forgotten]:
    arguments.require_known(how, arguments.ForgetArguments)
    given = {**how, **more}
    params = {name: value for name, value in given.items() if value is not None}
    return Operation("DELETE", path, _from_json(results.Forgotten.read), {"params": params})


def _selection(
    filter: Mapping[str, Any] | None, namespace: str, modality: str | None, all: bool
) -> dict[str, Any]:
    chosen = {"filter": filter, "namespace": namespace, "modality": modality}
    return {**{name: each for name, each in chosen.items() if each is not None}, "all": all}


def count_matching(
    filter: Mapping[str, Any] | None, namespace: str, modality: str | None, all: bool
) -> Operation[int]:
    body = {**_selection(filter, namespace, modality, all), "dry_run": True}
    read = _from_json(lambda answer: int(answer["expected"]))
    return Operation("DELETE", "/memories", read, {"json": body})


def forget_matching(
    filter: Mapping[str, Any] | None,
    namespace: str,
    modality: str | None,
    all: bool,
    expected: int,
    how: arguments.ForgetArguments,
) -> Operation[results.Forgotten]:
    arguments.require_known(how, arguments.ForgetArguments)
    body = {**_selection(filter, namespace, modality, all), "expected": expected, **how}
    return Operation("DELETE", "/memories", _from_json(results.Forgotten.read), {"json": body})


def namespaces() -> Operation[tuple[Mapping[str, Any], ...]]:
    return Operation("GET", "/namespaces", _from_json(lambda answer: tuple(answer["namespaces"])))


def namespace(name: str) -> Operation[Mapping[str, Any]]:
    return Operation("GET", f"/namespaces/{_segment(name)}", _object)


def forget_namespace(
    name: str, expected: int | None, how: arguments.ForgetArguments
) -> Operation[results.Forgotten]:
    return _forget(f"/namespaces/{_segment(name)}", how, expected=expected)


def receipt(receipt_id: str) -> Operation[results.Forgotten]:
    path = f"/receipts/{_segment(receipt_id)}"
    return Operation("GET", path, _from_json(results.Forgotten.read))


def episode(episode_id: str) -> Operation[results.Episode]:
    return Operation("GET", f"/episodes/{_segment(episode_id)}", _from_json(results.Episode.read))


def forget_episode(episode_id: str, how: arguments.ForgetArguments) -> Operation[results.Forgotten]:
    return _forget(f"/episodes/{_segment(episode_id)}", how)


def generation(generation_id: str) -> Operation[results.Generation]:
    path = f"/generations/{_segment(generation_id)}"
    return Operation("GET", path, _from_json(results.Generation.read))


def generations(
    namespace: str | None, after: str | None, limit: int | None
) -> Operation[results.GenerationPage]:
    given = {"namespace": namespace, "after": after, "limit": limit}
    params = {name: value for name, value in given.items() if value is not None}
    read = _from_json(results.GenerationPage.read)
    return Operation("GET", "/generations", read, {"params": params})


def forget_generation(
    generation_id: str, how: arguments.ForgetArguments
) -> Operation[results.Forgotten]:
    return _forget(f"/generations/{_segment(generation_id)}", how)


def generation_content(generation_id: str, output: str | None) -> Operation[bytes]:
    path = f"/generations/{_segment(generation_id)}/content"
    params = {} if output is None else {"output": output}
    return Operation("GET", path, lambda response: response.content, {"params": params})


def card(generation_id: str, picture: bool) -> Operation[bytes]:
    path = f"/generations/{_segment(generation_id)}/card"
    headers = {"Accept": "image/png" if picture else "text/html"}
    return Operation("GET", path, lambda response: response.content, {"headers": headers})


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


def backup(name: str, with_access: bool) -> Operation[results.Job]:
    body = {"name": name, "with_access": with_access}
    return Operation("POST", "/backup", _from_json(results.Job.read), {"json": body})


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


def create_key(
    name: str,
    scope: str,
    namespaces: Sequence[str] | None,
    expires_at: float | None,
    requests_per_s: float | None,
    bytes_per_min: int | None,
) -> Operation[Mapping[str, Any]]:
    body: dict[str, Any] = {"name": name, "scope": scope, "expires_at": expires_at}
    body["namespaces"] = None if namespaces is None else list(namespaces)
    body |= {"requests_per_s": requests_per_s, "bytes_per_min": bytes_per_min}
    return Operation("POST", "/keys", _object, {"json": body})


def api_keys() -> Operation[Sequence[Mapping[str, Any]]]:
    def read(answer: results.Json) -> Sequence[Mapping[str, Any]]:
        return tuple(dict(key) for key in answer["keys"])

    return Operation("GET", "/keys", _from_json(read))


def revoke_key(key_id: str) -> Operation[Mapping[str, Any]]:
    return Operation("DELETE", f"/keys/{_segment(key_id)}", _object)


def ready() -> Operation[bool]:
    return Operation("GET", "/readyz", lambda response: True)


def _segment(name: str) -> str:
    """A path segment: no name can lead to another route. Raises ValueError for no name."""
    if not name:
        raise ValueError("an id is needed")
    return quote(name, safe="")
