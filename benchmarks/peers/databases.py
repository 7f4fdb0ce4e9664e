"""What is asked of the service and of its peer, as bytes of requests, made before the clock runs.

Both store the same vectors with the same texts and metadata, and both answer ids, texts, metadata
and likeness of ten hits.
"""

from __future__ import annotations

import base64
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import closing
from typing import Any
from urllib.parse import urlencode

import numpy as np
import numpy.typing as npt
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.peers.load import Answer, Connection, request
from benchmarks.peers.servers import Server

Vector = npt.NDArray[np.float32]
K = 10
SHARE = 20  # one of so many buckets is asked for: 5 %


def bucket(number: int) -> int:
    return number % SHARE


class Database(ABC):
    """One collection of one server. Memories are known by the number that they are stored with."""

    name: str

    def __init__(self, server: Server, collection: str) -> None:
        self.server = server
        self.collection = collection

    @abstractmethod
    def add(self, numbers: Sequence[int], texts: Sequence[str], vectors: Vector) -> bytes:
        """Store one or several at once; durable when answered."""

    @abstractmethod
    def query(self, vector: Vector, only: int | None = None) -> bytes:
        """The K nearest, of one bucket where `only` says which."""

    @abstractmethod
    def found(self, answer: Answer) -> list[int]:
        """The numbers that a query was answered with, best first."""


class Ours(Database):
    name = "simmim"

    def __init__(self, server: Server, collection: str, *, reinforce: bool = False) -> None:
        super().__init__(server, collection)
        text = next(
            each for each in server.ask("GET", "/models")["encoders"] if each["modality"] == "text"
        )
        self._space = text["space"]
        self._parameters: dict[str, Any] = {
            "namespace": collection,
            "modalities": "text",
            "mode": "direct",
            "k": K,
            "reinforce": str(reinforce).lower(),
        }

    def _line(self, number: int, text: str, vector: Vector) -> bytes:
        item = {"modality": "text", "text": text, "space": self._space}
        item["vector"] = base64.b64encode(vector.astype("<f4").tobytes()).decode()
        metadata = {"number": number, "bucket": bucket(number)}
        body = {"items": [item], "namespace": self.collection, "metadata": metadata}
        return json.dumps(body).encode()

    def add(self, numbers: Sequence[int], texts: Sequence[str], vectors: Vector) -> bytes:
        lines = list(map(self._line, numbers, texts, vectors))
        if len(lines) == 1:
            return request("POST", "/store", lines[0])
        return request("POST", "/store/batch", b"\n".join(lines), "application/x-ndjson")

    def query(self, vector: Vector, only: int | None = None) -> bytes:
        given = dict(self._parameters)
        if only is not None:
            given["filter"] = json.dumps({"bucket": only})
        body = vector.astype("<f4").tobytes()
        return request("POST", f"/retrieve?{urlencode(given)}", body, "application/octet-stream")

    def query_as_list(self, vector: Vector) -> bytes:
        body = {**self._parameters, "modalities": ["text"], "reinforce": False}
        body["query"] = {"vector": vector.tolist()}
        return request("POST", "/retrieve", json.dumps(body).encode())

    def index_bytes(self) -> int:
        """That all indexes of the server take, by its own account."""
        with closing(Connection(self.server.port)) as connection:
            told = connection.ask(request("GET", "/metrics")).body.decode()
        return sum(
            int(sample.value)
            for family in text_string_to_metric_families(told)
            if family.name == "memory_service_index_bytes"
            for sample in family.samples
        )

    def found(self, answer: Answer) -> list[int]:
        hits = json.loads(answer.body)["results"]["text"]
        return [hit["memory"]["metadata"]["number"] for hit in hits]


class Chroma(Database):
    name = "chroma"
    ROOT = "/api/v2/tenants/default_tenant/databases/default_database/collections"

    def __init__(self, server: Server, collection: str) -> None:
        super().__init__(server, collection)
        body = {"name": collection, "get_or_create": True}
        body |= {"configuration": {"hnsw": {"space": "cosine"}}}
        self._path = f"{self.ROOT}/{server.ask('POST', self.ROOT, body)['id']}"

    def add(self, numbers: Sequence[int], texts: Sequence[str], vectors: Vector) -> bytes:
        body = {
            "ids": [str(number) for number in numbers],
            "embeddings": [_short(vector) for vector in vectors],
            "documents": list(texts),
            "metadatas": [{"number": n, "bucket": bucket(n)} for n in numbers],
        }
        return request("POST", f"{self._path}/add", json.dumps(body).encode())

    def query(self, vector: Vector, only: int | None = None) -> bytes:
        body: dict[str, Any] = {"query_embeddings": [_short(vector)], "n_results": K}
        body["include"] = ["documents", "metadatas", "distances"]
        if only is not None:
            body["where"] = {"bucket": only}
        return request("POST", f"{self._path}/query", json.dumps(body).encode())

    def found(self, answer: Answer) -> list[int]:
        return [int(id) for id in json.loads(answer.body)["ids"][0]]


def _short(vector: Vector) -> list[float]:
    """The same float32 in the fewest digits."""
    return [float(str(value)) for value in vector]
